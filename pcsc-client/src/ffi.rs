//! The C API's types and numbers, under the names of `winscard.h` (PC/SC part 5 and part 3).
//!
//! Numbers only: no C library stands behind this module. It is what `pcsc_sys` offers to programs
//! written for the `pcsc` crate.
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals)]

#[cfg(target_os = "macos")]
mod c_types {
    /// C's `DWORD`: 32 bits on macOS.
    pub type DWORD = u32;
    /// C's `LONG`: 32 bits on macOS.
    pub type LONG = i32;
}
#[cfg(not(target_os = "macos"))]
mod c_types {
    /// C's `DWORD`: an `unsigned long`.
    pub type DWORD = std::os::raw::c_ulong;
    /// C's `LONG`: a `long`; return codes are positive where it has 64 bits.
    pub type LONG = std::os::raw::c_long;
}
pub use c_types::{DWORD, LONG};

/// C's `ULONG`.
pub type ULONG = DWORD;
/// A context's handle.
pub type SCARDCONTEXT = LONG;
/// A card's handle.
pub type SCARDHANDLE = LONG;

macro_rules! numbers {
    (@group $docs:tt $kind:ty { $($name:ident = $value:expr,)+ }) => {
        $(numbers!(@one $docs $name: $kind = $value);)+
    };
    (@one [$(#$doc:tt)+] $name:ident: $kind:ty = $value:expr) => {
        $(#$doc)+
        pub const $name: $kind = $value as $kind;
    };
    ($($(#$doc:tt)+ $kind:ty { $($name:ident = $value:expr,)+ })+) => {
        $(numbers!(@group [$(#$doc)+] $kind { $($name = $value,)+ });)+
    };
}

numbers! {
    /// A return code; [`Error`](crate::Error) has the meaning of each.
    LONG {
        SCARD_S_SUCCESS = 0u32,
        SCARD_F_INTERNAL_ERROR = 0x8010_0001u32,
        SCARD_E_CANCELLED = 0x8010_0002u32,
        SCARD_E_INVALID_HANDLE = 0x8010_0003u32,
        SCARD_E_INVALID_PARAMETER = 0x8010_0004u32,
        SCARD_E_INVALID_TARGET = 0x8010_0005u32,
        SCARD_E_NO_MEMORY = 0x8010_0006u32,
        SCARD_F_WAITED_TOO_LONG = 0x8010_0007u32,
        SCARD_E_INSUFFICIENT_BUFFER = 0x8010_0008u32,
        SCARD_E_UNKNOWN_READER = 0x8010_0009u32,
        SCARD_E_TIMEOUT = 0x8010_000Au32,
        SCARD_E_SHARING_VIOLATION = 0x8010_000Bu32,
        SCARD_E_NO_SMARTCARD = 0x8010_000Cu32,
        SCARD_E_UNKNOWN_CARD = 0x8010_000Du32,
        SCARD_E_CANT_DISPOSE = 0x8010_000Eu32,
        SCARD_E_PROTO_MISMATCH = 0x8010_000Fu32,
        SCARD_E_NOT_READY = 0x8010_0010u32,
        SCARD_E_INVALID_VALUE = 0x8010_0011u32,
        SCARD_E_SYSTEM_CANCELLED = 0x8010_0012u32,
        SCARD_F_COMM_ERROR = 0x8010_0013u32,
        SCARD_F_UNKNOWN_ERROR = 0x8010_0014u32,
        SCARD_E_INVALID_ATR = 0x8010_0015u32,
        SCARD_E_NOT_TRANSACTED = 0x8010_0016u32,
        SCARD_E_READER_UNAVAILABLE = 0x8010_0017u32,
        SCARD_P_SHUTDOWN = 0x8010_0018u32,
        SCARD_E_PCI_TOO_SMALL = 0x8010_0019u32,
        SCARD_E_READER_UNSUPPORTED = 0x8010_001Au32,
        SCARD_E_DUPLICATE_READER = 0x8010_001Bu32,
        SCARD_E_CARD_UNSUPPORTED = 0x8010_001Cu32,
        SCARD_E_NO_SERVICE = 0x8010_001Du32,
        SCARD_E_SERVICE_STOPPED = 0x8010_001Eu32,
        SCARD_E_UNEXPECTED = 0x8010_001Fu32,
        SCARD_E_UNSUPPORTED_FEATURE = 0x8010_001Fu32,
        SCARD_E_ICC_INSTALLATION = 0x8010_0020u32,
        SCARD_E_ICC_CREATEORDER = 0x8010_0021u32,
        SCARD_E_DIR_NOT_FOUND = 0x8010_0023u32,
        SCARD_E_FILE_NOT_FOUND = 0x8010_0024u32,
        SCARD_E_NO_DIR = 0x8010_0025u32,
        SCARD_E_NO_FILE = 0x8010_0026u32,
        SCARD_E_NO_ACCESS = 0x8010_0027u32,
        SCARD_E_WRITE_TOO_MANY = 0x8010_0028u32,
        SCARD_E_BAD_SEEK = 0x8010_0029u32,
        SCARD_E_INVALID_CHV = 0x8010_002Au32,
        SCARD_E_UNKNOWN_RES_MNG = 0x8010_002Bu32,
        SCARD_E_NO_SUCH_CERTIFICATE = 0x8010_002Cu32,
        SCARD_E_CERTIFICATE_UNAVAILABLE = 0x8010_002Du32,
        SCARD_E_NO_READERS_AVAILABLE = 0x8010_002Eu32,
        SCARD_E_COMM_DATA_LOST = 0x8010_002Fu32,
        SCARD_E_NO_KEY_CONTAINER = 0x8010_0030u32,
        SCARD_E_SERVER_TOO_BUSY = 0x8010_0031u32,
        SCARD_W_UNSUPPORTED_CARD = 0x8010_0065u32,
        SCARD_W_UNRESPONSIVE_CARD = 0x8010_0066u32,
        SCARD_W_UNPOWERED_CARD = 0x8010_0067u32,
        SCARD_W_RESET_CARD = 0x8010_0068u32,
        SCARD_W_REMOVED_CARD = 0x8010_0069u32,
        SCARD_W_SECURITY_VIOLATION = 0x8010_006Au32,
        SCARD_W_WRONG_CHV = 0x8010_006Bu32,
        SCARD_W_CHV_BLOCKED = 0x8010_006Cu32,
        SCARD_W_EOF = 0x8010_006Du32,
        SCARD_W_CANCELLED_BY_USER = 0x8010_006Eu32,
        SCARD_W_CARD_NOT_AUTHENTICATED = 0x8010_006Fu32,
        SCARD_W_CACHE_ITEM_NOT_FOUND = 0x8010_0070u32,
        SCARD_W_CACHE_ITEM_STALE = 0x8010_0071u32,
        SCARD_W_CACHE_ITEM_TOO_BIG = 0x8010_0072u32,
    }

    /// A scope of a context; PC/SC Lite treats all alike.
    DWORD {
        SCARD_SCOPE_USER = 0,
        SCARD_SCOPE_TERMINAL = 1,
        SCARD_SCOPE_SYSTEM = 2,
        SCARD_SCOPE_GLOBAL = 3,
    }

    /// A transmission protocol, or a set of them.
    DWORD {
        SCARD_PROTOCOL_UNDEFINED = 0,
        SCARD_PROTOCOL_UNSET = 0,
        SCARD_PROTOCOL_T0 = 1,
        SCARD_PROTOCOL_T1 = 2,
        SCARD_PROTOCOL_RAW = 4,
        SCARD_PROTOCOL_T15 = 8,
        SCARD_PROTOCOL_ANY = 3,
    }

    /// How a reader is shared between connections.
    DWORD {
        SCARD_SHARE_EXCLUSIVE = 1,
        SCARD_SHARE_SHARED = 2,
        SCARD_SHARE_DIRECT = 3,
    }

    /// What becomes of the card at the end of a connection or of a transaction.
    DWORD {
        SCARD_LEAVE_CARD = 0,
        SCARD_RESET_CARD = 1,
        SCARD_UNPOWER_CARD = 2,
        SCARD_EJECT_CARD = 3,
    }

    /// A bit of a card's status, as `SCardStatus` gives it.
    DWORD {
        SCARD_UNKNOWN = 0x01,
        SCARD_ABSENT = 0x02,
        SCARD_PRESENT = 0x04,
        SCARD_SWALLOWED = 0x08,
        SCARD_POWERED = 0x10,
        SCARD_NEGOTIABLE = 0x20,
        SCARD_SPECIFIC = 0x40,
    }

    /// A bit of a reader's state, as `SCardGetStatusChange` takes and gives it.
    DWORD {
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

    /// A length or a time with a meaning of its own.
    DWORD {
        SCARD_AUTOALLOCATE = !0 as DWORD,
        INFINITE = 0xFFFF_FFFFu32,
    }

    /// A size of a buffer, in bytes.
    usize {
        MAX_ATR_SIZE = 33,
        SCARD_ATR_LENGTH = 33,
        ATR_BUFFER_SIZE = 33,
        MAX_READERNAME = 128,
        MAX_BUFFER_SIZE = 264,
        MAX_BUFFER_SIZE_EXTENDED = 4 + 3 + 65_536 + 3 + 2,
    }

    /// A class of attributes (PC/SC part 3, clause 3.1.4).
    ULONG {
        SCARD_CLASS_SYSTEM = 0,
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
    DWORD {
        SCARD_ATTR_VENDOR_NAME = 0x0001_0100,
        SCARD_ATTR_VENDOR_IFD_TYPE = 0x0001_0101,
        SCARD_ATTR_VENDOR_IFD_VERSION = 0x0001_0102,
        SCARD_ATTR_VENDOR_IFD_SERIAL_NO = 0x0001_0103,
        SCARD_ATTR_CHANNEL_ID = 0x0002_0110,
        SCARD_ATTR_ASYNC_PROTOCOL_TYPES = 0x0003_0120,
        SCARD_ATTR_DEFAULT_CLK = 0x0003_0121,
        SCARD_ATTR_MAX_CLK = 0x0003_0122,
        SCARD_ATTR_DEFAULT_DATA_RATE = 0x0003_0123,
        SCARD_ATTR_MAX_DATA_RATE = 0x0003_0124,
        SCARD_ATTR_MAX_IFSD = 0x0003_0125,
        SCARD_ATTR_SYNC_PROTOCOL_TYPES = 0x0003_0126,
        SCARD_ATTR_POWER_MGMT_SUPPORT = 0x0004_0131,
        SCARD_ATTR_USER_TO_CARD_AUTH_DEVICE = 0x0005_0140,
        SCARD_ATTR_USER_AUTH_INPUT_DEVICE = 0x0005_0142,
        SCARD_ATTR_CHARACTERISTICS = 0x0006_0150,
        SCARD_ATTR_CURRENT_PROTOCOL_TYPE = 0x0008_0201,
        SCARD_ATTR_CURRENT_CLK = 0x0008_0202,
        SCARD_ATTR_CURRENT_F = 0x0008_0203,
        SCARD_ATTR_CURRENT_D = 0x0008_0204,
        SCARD_ATTR_CURRENT_N = 0x0008_0205,
        SCARD_ATTR_CURRENT_W = 0x0008_0206,
        SCARD_ATTR_CURRENT_IFSC = 0x0008_0207,
        SCARD_ATTR_CURRENT_IFSD = 0x0008_0208,
        SCARD_ATTR_CURRENT_BWT = 0x0008_0209,
        SCARD_ATTR_CURRENT_CWT = 0x0008_020A,
        SCARD_ATTR_CURRENT_EBC_ENCODING = 0x0008_020B,
        SCARD_ATTR_EXTENDED_BWT = 0x0008_020C,
        SCARD_ATTR_ICC_PRESENCE = 0x0009_0300,
        SCARD_ATTR_ICC_INTERFACE_STATUS = 0x0009_0301,
        SCARD_ATTR_CURRENT_IO_STATE = 0x0009_0302,
        SCARD_ATTR_ATR_STRING = 0x0009_0303,
        SCARD_ATTR_ICC_TYPE_PER_ATR = 0x0009_0304,
        SCARD_ATTR_ESC_RESET = 0x0007_A000,
        SCARD_ATTR_ESC_CANCEL = 0x0007_A003,
        SCARD_ATTR_ESC_AUTHREQUEST = 0x0007_A005,
        SCARD_ATTR_MAXINPUT = 0x0007_A007,
        SCARD_ATTR_DEVICE_UNIT = 0x0000_0001,
        SCARD_ATTR_DEVICE_IN_USE = 0x0000_0002,
        SCARD_ATTR_DEVICE_FRIENDLY_NAME_A = 0x0000_0003,
        SCARD_ATTR_DEVICE_SYSTEM_NAME_A = 0x0000_0004,
        SCARD_ATTR_DEVICE_FRIENDLY_NAME_W = 0x0000_0005,
        SCARD_ATTR_DEVICE_SYSTEM_NAME_W = 0x0000_0006,
        SCARD_ATTR_SUPRESS_T1_IFS_REQUEST = 0x0000_0007,
        SCARD_ATTR_DEVICE_FRIENDLY_NAME = 0x0000_0003,
        SCARD_ATTR_DEVICE_SYSTEM_NAME = 0x0000_0004,
    }
}

/// The control code of a reader's function `code` (C's `SCARD_CTL_CODE`).
pub const fn SCARD_CTL_CODE(code: DWORD) -> DWORD {
    0x4200_0000 + code
}
