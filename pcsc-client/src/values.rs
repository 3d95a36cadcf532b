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
    T0 = ffi::SCARD_PROTOCOL_T0 as u32,
    /// T=1 (ISO 7816-3, clause 11).
    T1 = ffi::SCARD_PROTOCOL_T1 as u32,
    /// Raw.
    RAW = ffi::SCARD_PROTOCOL_RAW as u32,
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
    Exclusive = ffi::SCARD_SHARE_EXCLUSIVE as u32,
    /// Other shared connections may use the reader.
    Shared = ffi::SCARD_SHARE_SHARED as u32,
    /// No other connection may use the reader, and no card is needed: for commands to the reader itself.
    Direct = ffi::SCARD_SHARE_DIRECT as u32,
}

/// What happens to the card at the end of a connection or transaction.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// Nothing.
    LeaveCard = ffi::SCARD_LEAVE_CARD as u32,
    /// The card is reset: it loses its session, and other connections get [`Error::ResetCard`](crate::Error).
    ResetCard = ffi::SCARD_RESET_CARD as u32,
    /// The card's power is switched off.
    UnpowerCard = ffi::SCARD_UNPOWER_CARD as u32,
    /// The card is ejected, if the reader can.
    EjectCard = ffi::SCARD_EJECT_CARD as u32,
}

/// A context's scope. PC/SC Lite treats all alike.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The user's.
    User = ffi::SCARD_SCOPE_USER as u32,
    /// The terminal's.
    Terminal = ffi::SCARD_SCOPE_TERMINAL as u32,
    /// The system's.
    System = ffi::SCARD_SCOPE_SYSTEM as u32,
    /// The network's.
    Global = ffi::SCARD_SCOPE_GLOBAL as u32,
}

/// A class of reader attributes (PC/SC part 3, clause 3.1.4).
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum AttributeClass {
    System = ffi::SCARD_CLASS_SYSTEM as u32,
    VendorInfo = ffi::SCARD_CLASS_VENDOR_INFO as u32,
    Communications = ffi::SCARD_CLASS_COMMUNICATIONS as u32,
    Protocol = ffi::SCARD_CLASS_PROTOCOL as u32,
    PowerMgmt = ffi::SCARD_CLASS_POWER_MGMT as u32,
    Security = ffi::SCARD_CLASS_SECURITY as u32,
    Mechanical = ffi::SCARD_CLASS_MECHANICAL as u32,
    VendorDefined = ffi::SCARD_CLASS_VENDOR_DEFINED as u32,
    IfdProtocol = ffi::SCARD_CLASS_IFD_PROTOCOL as u32,
    IccState = ffi::SCARD_CLASS_ICC_STATE as u32,
}

/// A reader attribute (PC/SC part 3, table 3-1).
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Attribute {
    VendorName = ffi::SCARD_ATTR_VENDOR_NAME as u32,
    VendorIfdType = ffi::SCARD_ATTR_VENDOR_IFD_TYPE as u32,
    VendorIfdVersion = ffi::SCARD_ATTR_VENDOR_IFD_VERSION as u32,
    VendorIfdSerialNo = ffi::SCARD_ATTR_VENDOR_IFD_SERIAL_NO as u32,
    ChannelId = ffi::SCARD_ATTR_CHANNEL_ID as u32,
    AsyncProtocolTypes = ffi::SCARD_ATTR_ASYNC_PROTOCOL_TYPES as u32,
    DefaultClk = ffi::SCARD_ATTR_DEFAULT_CLK as u32,
    MaxClk = ffi::SCARD_ATTR_MAX_CLK as u32,
    DefaultDataRate = ffi::SCARD_ATTR_DEFAULT_DATA_RATE as u32,
    MaxDataRate = ffi::SCARD_ATTR_MAX_DATA_RATE as u32,
    MaxIfsd = ffi::SCARD_ATTR_MAX_IFSD as u32,
    SyncProtocolTypes = ffi::SCARD_ATTR_SYNC_PROTOCOL_TYPES as u32,
    PowerMgmtSupport = ffi::SCARD_ATTR_POWER_MGMT_SUPPORT as u32,
    UserToCardAuthDevice = ffi::SCARD_ATTR_USER_TO_CARD_AUTH_DEVICE as u32,
    UserAuthInputDevice = ffi::SCARD_ATTR_USER_AUTH_INPUT_DEVICE as u32,
    Characteristics = ffi::SCARD_ATTR_CHARACTERISTICS as u32,
    CurrentProtocolType = ffi::SCARD_ATTR_CURRENT_PROTOCOL_TYPE as u32,
    CurrentClk = ffi::SCARD_ATTR_CURRENT_CLK as u32,
    CurrentF = ffi::SCARD_ATTR_CURRENT_F as u32,
    CurrentD = ffi::SCARD_ATTR_CURRENT_D as u32,
    CurrentN = ffi::SCARD_ATTR_CURRENT_N as u32,
    CurrentW = ffi::SCARD_ATTR_CURRENT_W as u32,
    CurrentIfsc = ffi::SCARD_ATTR_CURRENT_IFSC as u32,
    CurrentIfsd = ffi::SCARD_ATTR_CURRENT_IFSD as u32,
    CurrentBwt = ffi::SCARD_ATTR_CURRENT_BWT as u32,
    CurrentCwt = ffi::SCARD_ATTR_CURRENT_CWT as u32,
    CurrentEbcEncoding = ffi::SCARD_ATTR_CURRENT_EBC_ENCODING as u32,
    ExtendedBwt = ffi::SCARD_ATTR_EXTENDED_BWT as u32,
    IccPresence = ffi::SCARD_ATTR_ICC_PRESENCE as u32,
    IccInterfaceStatus = ffi::SCARD_ATTR_ICC_INTERFACE_STATUS as u32,
    CurrentIoState = ffi::SCARD_ATTR_CURRENT_IO_STATE as u32,
    AtrString = ffi::SCARD_ATTR_ATR_STRING as u32,
    IccTypePerAtr = ffi::SCARD_ATTR_ICC_TYPE_PER_ATR as u32,
    EscReset = ffi::SCARD_ATTR_ESC_RESET as u32,
    EscCancel = ffi::SCARD_ATTR_ESC_CANCEL as u32,
    EscAuthrequest = ffi::SCARD_ATTR_ESC_AUTHREQUEST as u32,
    Maxinput = ffi::SCARD_ATTR_MAXINPUT as u32,
    DeviceUnit = ffi::SCARD_ATTR_DEVICE_UNIT as u32,
    DeviceInUse = ffi::SCARD_ATTR_DEVICE_IN_USE as u32,
    DeviceFriendlyName = ffi::SCARD_ATTR_DEVICE_FRIENDLY_NAME as u32,
    DeviceSystemName = ffi::SCARD_ATTR_DEVICE_SYSTEM_NAME as u32,
    SupressT1IfsRequest = ffi::SCARD_ATTR_SUPRESS_T1_IFS_REQUEST as u32,
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
