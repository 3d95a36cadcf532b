//! The numbers of PC/SC under the names of `winscard.h` (PC/SC part 5) and `reader.h` (PC/SC parts 3 and 10).
//!
//! All are `u32`, as on the wire, whatever C's `DWORD` and `LONG` are on a system; sizes are `usize`.

#![no_std]
#![forbid(unsafe_code)]

mod codes;

pub use codes::*;

/// The name and the value of a constant.
pub type Named = (&'static str, u32);

/// The table of all constants but the return codes, passed to `$callback`: documentation, type, and names
/// with values.
///
/// **Not covered by semantic versioning**: for the crates of this workspace, which give the numbers other
/// types.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_constant {
    ($callback:ident) => {
        $callback! {
            /// A scope of a context. PC/SC Lite treats all alike.
            u32 {
                SCARD_SCOPE_USER = 0,
                SCARD_SCOPE_TERMINAL = 1,
                SCARD_SCOPE_SYSTEM = 2,
                SCARD_SCOPE_GLOBAL = 3,
            }

            /// A transmission protocol, or a set of them.
            u32 {
                SCARD_PROTOCOL_UNDEFINED = 0,
                SCARD_PROTOCOL_UNSET = 0,
                SCARD_PROTOCOL_T0 = 1,
                SCARD_PROTOCOL_T1 = 2,
                SCARD_PROTOCOL_RAW = 4,
                SCARD_PROTOCOL_T15 = 8,
                SCARD_PROTOCOL_ANY = SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1,
            }

            /// How a reader is shared between connections.
            u32 {
                SCARD_SHARE_EXCLUSIVE = 1,
                SCARD_SHARE_SHARED = 2,
                SCARD_SHARE_DIRECT = 3,
            }

            /// What is done to the card at the end of a connection or of a transaction.
            u32 {
                SCARD_LEAVE_CARD = 0,
                SCARD_RESET_CARD = 1,
                SCARD_UNPOWER_CARD = 2,
                SCARD_EJECT_CARD = 3,
            }

            /// A bit of a card's status, as `SCardStatus` gives it.
            u32 {
                SCARD_UNKNOWN = 0x01,
                SCARD_ABSENT = 0x02,
                SCARD_PRESENT = 0x04,
                SCARD_SWALLOWED = 0x08,
                SCARD_POWERED = 0x10,
                SCARD_NEGOTIABLE = 0x20,
                SCARD_SPECIFIC = 0x40,
            }

            /// A bit of a reader's state, as `SCardGetStatusChange` takes and gives it.
            u32 {
                SCARD_STATE_UNAWARE = 0x0000,
                SCARD_STATE_IGNORE = 0x0001,
                SCARD_STATE_CHANGED = 0x0002,
                SCARD_STATE_UNKNOWN = 0x0004,
                SCARD_STATE_UNAVAILABLE = 0x0008,
                SCARD_STATE_EMPTY = 0x0010,
                SCARD_STATE_PRESENT = 0x0020,
                SCARD_STATE_ATRMATCH = 0x0040,
                SCARD_STATE_EXCLUSIVE = 0x0080,
                SCARD_STATE_INUSE = 0x0100,
                SCARD_STATE_MUTE = 0x0200,
                SCARD_STATE_UNPOWERED = 0x0400,
            }

            /// A time in milliseconds: wait without limit.
            u32 {
                INFINITE = 0xFFFF_FFFF,
            }

            /// A size of a buffer, in bytes.
            usize {
                MAX_ATR_SIZE = 33,
                SCARD_ATR_LENGTH = MAX_ATR_SIZE,
                ATR_BUFFER_SIZE = MAX_ATR_SIZE,
                MAX_READERNAME = 128,
                MAX_BUFFER_SIZE = 264,
                MAX_BUFFER_SIZE_EXTENDED = 4 + 3 + 65_536 + 3 + 2,
            }

            /// A class of attributes (PC/SC part 3, clause 3.1.4).
            u32 {
                SCARD_CLASS_SYSTEM = 0x7FFF,
                SCARD_CLASS_VENDOR_INFO = 1,
                SCARD_CLASS_COMMUNICATIONS = 2,
                SCARD_CLASS_PROTOCOL = 3,
                SCARD_CLASS_POWER_MGMT = 4,
                SCARD_CLASS_SECURITY = 5,
                SCARD_CLASS_MECHANICAL = 6,
                SCARD_CLASS_VENDOR_DEFINED = 7,
                SCARD_CLASS_IFD_PROTOCOL = 8,
                SCARD_CLASS_ICC_STATE = 9,
            }

            /// A reader attribute's tag (PC/SC part 3, table 3-1).
            u32 {
                SCARD_ATTR_VENDOR_NAME = attribute(SCARD_CLASS_VENDOR_INFO, 0x0100),
                SCARD_ATTR_VENDOR_IFD_TYPE = attribute(SCARD_CLASS_VENDOR_INFO, 0x0101),
                SCARD_ATTR_VENDOR_IFD_VERSION = attribute(SCARD_CLASS_VENDOR_INFO, 0x0102),
                SCARD_ATTR_VENDOR_IFD_SERIAL_NO = attribute(SCARD_CLASS_VENDOR_INFO, 0x0103),
                SCARD_ATTR_CHANNEL_ID = attribute(SCARD_CLASS_COMMUNICATIONS, 0x0110),
                SCARD_ATTR_ASYNC_PROTOCOL_TYPES = attribute(SCARD_CLASS_PROTOCOL, 0x0120),
                SCARD_ATTR_DEFAULT_CLK = attribute(SCARD_CLASS_PROTOCOL, 0x0121),
                SCARD_ATTR_MAX_CLK = attribute(SCARD_CLASS_PROTOCOL, 0x0122),
                SCARD_ATTR_DEFAULT_DATA_RATE = attribute(SCARD_CLASS_PROTOCOL, 0x0123),
                SCARD_ATTR_MAX_DATA_RATE = attribute(SCARD_CLASS_PROTOCOL, 0x0124),
                SCARD_ATTR_MAX_IFSD = attribute(SCARD_CLASS_PROTOCOL, 0x0125),
                SCARD_ATTR_SYNC_PROTOCOL_TYPES = attribute(SCARD_CLASS_PROTOCOL, 0x0126),
                SCARD_ATTR_POWER_MGMT_SUPPORT = attribute(SCARD_CLASS_POWER_MGMT, 0x0131),
                SCARD_ATTR_USER_TO_CARD_AUTH_DEVICE = attribute(SCARD_CLASS_SECURITY, 0x0140),
                SCARD_ATTR_USER_AUTH_INPUT_DEVICE = attribute(SCARD_CLASS_SECURITY, 0x0142),
                SCARD_ATTR_CHARACTERISTICS = attribute(SCARD_CLASS_MECHANICAL, 0x0150),
                SCARD_ATTR_CURRENT_PROTOCOL_TYPE = attribute(SCARD_CLASS_IFD_PROTOCOL, 0x0201),
                SCARD_ATTR_CURRENT_CLK = attribute(SCARD_CLASS_IFD_PROTOCOL, 0x0202),
                SCARD_ATTR_CURRENT_F = attribute(SCARD_CLASS_IFD_PROTOCOL, 0x0203),
                SCARD_ATTR_CURRENT_D = attribute(SCARD_CLASS_IFD_PROTOCOL, 0x0204),
                SCARD_ATTR_CURRENT_N = attribute(SCARD_CLASS_IFD_PROTOCOL, 0x0205),
                SCARD_ATTR_CURRENT_W = attribute(SCARD_CLASS_IFD_PROTOCOL, 0x0206),
                SCARD_ATTR_CURRENT_IFSC = attribute(SCARD_CLASS_IFD_PROTOCOL, 0x0207),
                SCARD_ATTR_CURRENT_IFSD = attribute(SCARD_CLASS_IFD_PROTOCOL, 0x0208),
                SCARD_ATTR_CURRENT_BWT = attribute(SCARD_CLASS_IFD_PROTOCOL, 0x0209),
                SCARD_ATTR_CURRENT_CWT = attribute(SCARD_CLASS_IFD_PROTOCOL, 0x020A),
                SCARD_ATTR_CURRENT_EBC_ENCODING = attribute(SCARD_CLASS_IFD_PROTOCOL, 0x020B),
                SCARD_ATTR_EXTENDED_BWT = attribute(SCARD_CLASS_IFD_PROTOCOL, 0x020C),
                SCARD_ATTR_ICC_PRESENCE = attribute(SCARD_CLASS_ICC_STATE, 0x0300),
                SCARD_ATTR_ICC_INTERFACE_STATUS = attribute(SCARD_CLASS_ICC_STATE, 0x0301),
                SCARD_ATTR_CURRENT_IO_STATE = attribute(SCARD_CLASS_ICC_STATE, 0x0302),
                SCARD_ATTR_ATR_STRING = attribute(SCARD_CLASS_ICC_STATE, 0x0303),
                SCARD_ATTR_ICC_TYPE_PER_ATR = attribute(SCARD_CLASS_ICC_STATE, 0x0304),
                SCARD_ATTR_ESC_RESET = attribute(SCARD_CLASS_VENDOR_DEFINED, 0xA000),
                SCARD_ATTR_ESC_CANCEL = attribute(SCARD_CLASS_VENDOR_DEFINED, 0xA003),
                SCARD_ATTR_ESC_AUTHREQUEST = attribute(SCARD_CLASS_VENDOR_DEFINED, 0xA005),
                SCARD_ATTR_MAXINPUT = attribute(SCARD_CLASS_VENDOR_DEFINED, 0xA007),
                SCARD_ATTR_DEVICE_UNIT = attribute(SCARD_CLASS_SYSTEM, 0x0001),
                SCARD_ATTR_DEVICE_IN_USE = attribute(SCARD_CLASS_SYSTEM, 0x0002),
                SCARD_ATTR_DEVICE_FRIENDLY_NAME_A = attribute(SCARD_CLASS_SYSTEM, 0x0003),
                SCARD_ATTR_DEVICE_SYSTEM_NAME_A = attribute(SCARD_CLASS_SYSTEM, 0x0004),
                SCARD_ATTR_DEVICE_FRIENDLY_NAME_W = attribute(SCARD_CLASS_SYSTEM, 0x0005),
                SCARD_ATTR_DEVICE_SYSTEM_NAME_W = attribute(SCARD_CLASS_SYSTEM, 0x0006),
                SCARD_ATTR_SUPRESS_T1_IFS_REQUEST = attribute(SCARD_CLASS_SYSTEM, 0x0007),
                SCARD_ATTR_DEVICE_FRIENDLY_NAME = SCARD_ATTR_DEVICE_FRIENDLY_NAME_A,
                SCARD_ATTR_DEVICE_SYSTEM_NAME = SCARD_ATTR_DEVICE_SYSTEM_NAME_A,
            }
        }
    };
}

macro_rules! constants {
    ($($(#$doc:tt)+ $kind:ident { $($name:ident = $value:expr,)+ })+) => {
        $(constants!(@group [$(#$doc)+] $kind { $($name = $value,)+ });)+

        /// All constants but the return codes.
        pub const VALUES: &[Named] = &[$($((stringify!($name), $name as u32),)+)+];
    };
    (@group $docs:tt $kind:ident { $($name:ident = $value:expr,)+ }) => {
        $(constants!(@one $docs $name: $kind = $value);)+
    };
    (@one [$(#$doc:tt)+] $name:ident: $kind:ident = $value:expr) => {
        $(#$doc)+
        pub const $name: $kind = $value;
    };
}

for_each_constant!(constants);

/// T=0 or T=1, as programs from before PC/SC Lite 1.0 pass it.
pub const SCARD_PROTOCOL_ANY_OLD: u32 = 0x1000;

/// The identifier of an attribute (C's `SCARD_ATTR_VALUE`).
const fn attribute(class: u32, tag: u32) -> u32 {
    class << 16 | tag
}

/// The control code of a reader's function `code` (C's `SCARD_CTL_CODE`).
pub const fn control_code(code: u32) -> u32 {
    0x4200_0000 + code
}
