//! The types of parameters and results, under the names of the `pcsc` crate.

use bitflags::bitflags;

use crate::ffi::{self, DWORD};

macro_rules! unchecked {
    ($($name:ident)+) => { $(
        impl $name {
            /// The same as the safe `from_bits_retain`.
            ///
            /// # Safety
            /// Safe for all values.
            #[deprecated = "use the safe `from_bits_retain` method instead"]
            #[allow(unsafe_code)]
            pub unsafe fn from_bits_unchecked(bits: DWORD) -> Self {
                Self::from_bits_retain(bits)
            }
        }
    )+ };
}
unchecked!(State Status Protocols);

bitflags! {
    /// A reader's state, as [`Context::get_status_change`](crate::Context::get_status_change) takes and
    /// gives it (PC/SC part 5, clause 3.2.5).
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Clone, Copy)]
    pub struct State: DWORD {
        /// The caller knows no state yet: any state is reported at once.
        const UNAWARE = ffi::SCARD_STATE_UNAWARE;
        /// The call ignores this reader.
        const IGNORE = ffi::SCARD_STATE_IGNORE;
        /// The state differs from the one that the caller passed.
        const CHANGED = ffi::SCARD_STATE_CHANGED;
        /// There is no reader of this name.
        const UNKNOWN = ffi::SCARD_STATE_UNKNOWN;
        /// The reader cannot be used.
        const UNAVAILABLE = ffi::SCARD_STATE_UNAVAILABLE;
        /// There is no card in the reader.
        const EMPTY = ffi::SCARD_STATE_EMPTY;
        /// There is a card in the reader.
        const PRESENT = ffi::SCARD_STATE_PRESENT;
        /// The card has one of the ATRs searched for (Windows only).
        const ATRMATCH = ffi::SCARD_STATE_ATRMATCH;
        /// A connection uses the card exclusively.
        const EXCLUSIVE = ffi::SCARD_STATE_EXCLUSIVE;
        /// Connections share the card.
        const INUSE = ffi::SCARD_STATE_INUSE;
        /// The card does not answer.
        const MUTE = ffi::SCARD_STATE_MUTE;
        /// The card has no power.
        const UNPOWERED = ffi::SCARD_STATE_UNPOWERED;
    }
}

bitflags! {
    /// A card's status, as [`Card::status2`](crate::Card::status2) gives it (PC/SC part 5, clause 3.2.2).
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Clone, Copy)]
    pub struct Status: DWORD {
        /// The state is unknown.
        const UNKNOWN = ffi::SCARD_UNKNOWN;
        /// There is no card in the reader.
        const ABSENT = ffi::SCARD_ABSENT;
        /// There is a card in the reader.
        const PRESENT = ffi::SCARD_PRESENT;
        /// The card does not answer.
        const SWALLOWED = ffi::SCARD_SWALLOWED;
        /// The card has power.
        const POWERED = ffi::SCARD_POWERED;
        /// The card was reset, and no protocol is selected yet.
        const NEGOTIABLE = ffi::SCARD_NEGOTIABLE;
        /// A protocol is selected.
        const SPECIFIC = ffi::SCARD_SPECIFIC;
    }
}

bitflags! {
    /// The protocols that a caller accepts.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Clone, Copy)]
    pub struct Protocols: DWORD {
        /// None, for direct connections.
        const UNDEFINED = ffi::SCARD_PROTOCOL_UNDEFINED;
        /// T=0 (ISO 7816-3, clause 10).
        const T0 = ffi::SCARD_PROTOCOL_T0;
        /// T=1 (ISO 7816-3, clause 11).
        const T1 = ffi::SCARD_PROTOCOL_T1;
        /// Raw, for direct connections.
        const RAW = ffi::SCARD_PROTOCOL_RAW;
        /// T=0 or T=1.
        const ANY = ffi::SCARD_PROTOCOL_ANY;
    }
}

/// A protocol in use.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// T=0 (ISO 7816-3, clause 10).
    T0 = pcsc_constants::SCARD_PROTOCOL_T0,
    /// T=1 (ISO 7816-3, clause 11).
    T1 = pcsc_constants::SCARD_PROTOCOL_T1,
    /// Raw.
    RAW = pcsc_constants::SCARD_PROTOCOL_RAW,
}

impl Protocol {
    /// The protocol for a number of the resource manager. `None` for direct connections and for unknown
    /// numbers.
    pub(crate) fn from_raw(raw: u32) -> Option<Protocol> {
        [Protocol::T0, Protocol::T1, Protocol::RAW]
            .into_iter()
            .find(|protocol| *protocol as u32 == raw)
    }
}

/// How a reader is shared with other connections.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShareMode {
    /// No other connection may use the reader.
    Exclusive = pcsc_constants::SCARD_SHARE_EXCLUSIVE,
    /// Other shared connections may use the reader.
    Shared = pcsc_constants::SCARD_SHARE_SHARED,
    /// No other connection may use the reader, and no card is needed: for commands to the reader itself.
    Direct = pcsc_constants::SCARD_SHARE_DIRECT,
}

/// What happens to the card at the end of a connection or transaction.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// Nothing.
    LeaveCard = pcsc_constants::SCARD_LEAVE_CARD,
    /// The card is reset: it loses its session, and other connections get [`Error::ResetCard`](crate::Error).
    ResetCard = pcsc_constants::SCARD_RESET_CARD,
    /// The card's power is switched off.
    UnpowerCard = pcsc_constants::SCARD_UNPOWER_CARD,
    /// The card is to be ejected. pcscd and this library eject none: the end of a connection succeeds, and
    /// the end of a transaction returns [`Error::UnsupportedFeature`](crate::Error::UnsupportedFeature).
    EjectCard = pcsc_constants::SCARD_EJECT_CARD,
}

/// A context's scope. PC/SC Lite treats all alike.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The user's.
    User = pcsc_constants::SCARD_SCOPE_USER,
    /// The terminal's.
    Terminal = pcsc_constants::SCARD_SCOPE_TERMINAL,
    /// The system's.
    System = pcsc_constants::SCARD_SCOPE_SYSTEM,
    /// The network's.
    Global = pcsc_constants::SCARD_SCOPE_GLOBAL,
}

/// A class of reader attributes (PC/SC part 3, clause 3.1.4).
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum AttributeClass {
    System = pcsc_constants::SCARD_CLASS_SYSTEM,
    VendorInfo = pcsc_constants::SCARD_CLASS_VENDOR_INFO,
    Communications = pcsc_constants::SCARD_CLASS_COMMUNICATIONS,
    Protocol = pcsc_constants::SCARD_CLASS_PROTOCOL,
    PowerMgmt = pcsc_constants::SCARD_CLASS_POWER_MGMT,
    Security = pcsc_constants::SCARD_CLASS_SECURITY,
    Mechanical = pcsc_constants::SCARD_CLASS_MECHANICAL,
    VendorDefined = pcsc_constants::SCARD_CLASS_VENDOR_DEFINED,
    IfdProtocol = pcsc_constants::SCARD_CLASS_IFD_PROTOCOL,
    IccState = pcsc_constants::SCARD_CLASS_ICC_STATE,
}

/// A reader attribute (PC/SC part 3, table 3-1).
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Attribute {
    VendorName = pcsc_constants::SCARD_ATTR_VENDOR_NAME,
    VendorIfdType = pcsc_constants::SCARD_ATTR_VENDOR_IFD_TYPE,
    VendorIfdVersion = pcsc_constants::SCARD_ATTR_VENDOR_IFD_VERSION,
    VendorIfdSerialNo = pcsc_constants::SCARD_ATTR_VENDOR_IFD_SERIAL_NO,
    ChannelId = pcsc_constants::SCARD_ATTR_CHANNEL_ID,
    AsyncProtocolTypes = pcsc_constants::SCARD_ATTR_ASYNC_PROTOCOL_TYPES,
    DefaultClk = pcsc_constants::SCARD_ATTR_DEFAULT_CLK,
    MaxClk = pcsc_constants::SCARD_ATTR_MAX_CLK,
    DefaultDataRate = pcsc_constants::SCARD_ATTR_DEFAULT_DATA_RATE,
    MaxDataRate = pcsc_constants::SCARD_ATTR_MAX_DATA_RATE,
    MaxIfsd = pcsc_constants::SCARD_ATTR_MAX_IFSD,
    SyncProtocolTypes = pcsc_constants::SCARD_ATTR_SYNC_PROTOCOL_TYPES,
    PowerMgmtSupport = pcsc_constants::SCARD_ATTR_POWER_MGMT_SUPPORT,
    UserToCardAuthDevice = pcsc_constants::SCARD_ATTR_USER_TO_CARD_AUTH_DEVICE,
    UserAuthInputDevice = pcsc_constants::SCARD_ATTR_USER_AUTH_INPUT_DEVICE,
    Characteristics = pcsc_constants::SCARD_ATTR_CHARACTERISTICS,
    CurrentProtocolType = pcsc_constants::SCARD_ATTR_CURRENT_PROTOCOL_TYPE,
    CurrentClk = pcsc_constants::SCARD_ATTR_CURRENT_CLK,
    CurrentF = pcsc_constants::SCARD_ATTR_CURRENT_F,
    CurrentD = pcsc_constants::SCARD_ATTR_CURRENT_D,
    CurrentN = pcsc_constants::SCARD_ATTR_CURRENT_N,
    CurrentW = pcsc_constants::SCARD_ATTR_CURRENT_W,
    CurrentIfsc = pcsc_constants::SCARD_ATTR_CURRENT_IFSC,
    CurrentIfsd = pcsc_constants::SCARD_ATTR_CURRENT_IFSD,
    CurrentBwt = pcsc_constants::SCARD_ATTR_CURRENT_BWT,
    CurrentCwt = pcsc_constants::SCARD_ATTR_CURRENT_CWT,
    CurrentEbcEncoding = pcsc_constants::SCARD_ATTR_CURRENT_EBC_ENCODING,
    ExtendedBwt = pcsc_constants::SCARD_ATTR_EXTENDED_BWT,
    IccPresence = pcsc_constants::SCARD_ATTR_ICC_PRESENCE,
    IccInterfaceStatus = pcsc_constants::SCARD_ATTR_ICC_INTERFACE_STATUS,
    CurrentIoState = pcsc_constants::SCARD_ATTR_CURRENT_IO_STATE,
    AtrString = pcsc_constants::SCARD_ATTR_ATR_STRING,
    IccTypePerAtr = pcsc_constants::SCARD_ATTR_ICC_TYPE_PER_ATR,
    EscReset = pcsc_constants::SCARD_ATTR_ESC_RESET,
    EscCancel = pcsc_constants::SCARD_ATTR_ESC_CANCEL,
    EscAuthrequest = pcsc_constants::SCARD_ATTR_ESC_AUTHREQUEST,
    Maxinput = pcsc_constants::SCARD_ATTR_MAXINPUT,
    DeviceUnit = pcsc_constants::SCARD_ATTR_DEVICE_UNIT,
    DeviceInUse = pcsc_constants::SCARD_ATTR_DEVICE_IN_USE,
    DeviceFriendlyName = pcsc_constants::SCARD_ATTR_DEVICE_FRIENDLY_NAME,
    DeviceSystemName = pcsc_constants::SCARD_ATTR_DEVICE_SYSTEM_NAME,
    SupressT1IfsRequest = pcsc_constants::SCARD_ATTR_SUPRESS_T1_IFS_REQUEST,
}

/// The longest ATR, in bytes (ISO 7816-3, clause 8.1).
pub const MAX_ATR_SIZE: usize = ffi::MAX_ATR_SIZE;
/// Room for any short APDU (ISO 7816-4).
pub const MAX_BUFFER_SIZE: usize = ffi::MAX_BUFFER_SIZE;
/// Room for any extended APDU (ISO 7816-4).
pub const MAX_BUFFER_SIZE_EXTENDED: usize = ffi::MAX_BUFFER_SIZE_EXTENDED;

/// The control code of a reader's function `code`.
pub const fn ctl_code(code: DWORD) -> DWORD {
    ffi::SCARD_CTL_CODE(code)
}

/// The number of a value of the C interface: all of PC/SC's numbers have 32 bits, and C's type may have more.
#[allow(clippy::unnecessary_cast, reason = "DWORD has 64 bits on some systems")]
pub(crate) fn number(value: DWORD) -> u32 {
    value as u32
}
