//! Return codes.

use core::ffi::CStr;

use crate::Named;

/// The table of return codes, passed to `$callback`: name, value, and PC/SC Lite's text where it has one.
///
/// **Not covered by semantic versioning**: for the crates of this workspace, which give the codes other
/// types.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_code {
    ($callback:ident) => {
        $callback! {
            SCARD_S_SUCCESS = 0, c"Command successful.";
            SCARD_F_INTERNAL_ERROR = 0x8010_0001, c"Internal error.";
            SCARD_E_CANCELLED = 0x8010_0002, c"Command cancelled.";
            SCARD_E_INVALID_HANDLE = 0x8010_0003, c"Invalid handle.";
            SCARD_E_INVALID_PARAMETER = 0x8010_0004, c"Invalid parameter given.";
            SCARD_E_INVALID_TARGET = 0x8010_0005, c"Invalid target given.";
            SCARD_E_NO_MEMORY = 0x8010_0006, c"Not enough memory.";
            SCARD_F_WAITED_TOO_LONG = 0x8010_0007, c"Waited too long.";
            SCARD_E_INSUFFICIENT_BUFFER = 0x8010_0008, c"Insufficient buffer.";
            SCARD_E_UNKNOWN_READER = 0x8010_0009, c"Unknown reader specified.";
            SCARD_E_TIMEOUT = 0x8010_000A, c"Command timeout.";
            SCARD_E_SHARING_VIOLATION = 0x8010_000B, c"Sharing violation.";
            SCARD_E_NO_SMARTCARD = 0x8010_000C, c"No smart card inserted.";
            SCARD_E_UNKNOWN_CARD = 0x8010_000D, c"Unknown card.";
            SCARD_E_CANT_DISPOSE = 0x8010_000E, c"Cannot dispose handle.";
            SCARD_E_PROTO_MISMATCH = 0x8010_000F, c"Card protocol mismatch.";
            SCARD_E_NOT_READY = 0x8010_0010, c"Subsystem not ready.";
            SCARD_E_INVALID_VALUE = 0x8010_0011, c"Invalid value given.";
            SCARD_E_SYSTEM_CANCELLED = 0x8010_0012, c"System cancelled.";
            SCARD_F_COMM_ERROR = 0x8010_0013, c"RPC transport error.";
            SCARD_F_UNKNOWN_ERROR = 0x8010_0014, c"Unknown error.";
            SCARD_E_INVALID_ATR = 0x8010_0015, c"Invalid ATR.";
            SCARD_E_NOT_TRANSACTED = 0x8010_0016, c"Transaction failed.";
            SCARD_E_READER_UNAVAILABLE = 0x8010_0017, c"Reader is unavailable.";
            SCARD_P_SHUTDOWN = 0x8010_0018;
            SCARD_E_PCI_TOO_SMALL = 0x8010_0019, c"PCI struct too small.";
            SCARD_E_READER_UNSUPPORTED = 0x8010_001A, c"Reader is unsupported.";
            SCARD_E_DUPLICATE_READER = 0x8010_001B, c"Reader already exists.";
            SCARD_E_CARD_UNSUPPORTED = 0x8010_001C, c"Card is unsupported.";
            SCARD_E_NO_SERVICE = 0x8010_001D, c"Service not available.";
            SCARD_E_SERVICE_STOPPED = 0x8010_001E, c"Service was stopped.";
            SCARD_E_UNEXPECTED = 0x8010_001F;
            SCARD_E_UNSUPPORTED_FEATURE = 0x8010_001F, c"Feature not supported.";
            SCARD_E_ICC_INSTALLATION = 0x8010_0020;
            SCARD_E_ICC_CREATEORDER = 0x8010_0021;
            SCARD_E_DIR_NOT_FOUND = 0x8010_0023;
            SCARD_E_FILE_NOT_FOUND = 0x8010_0024;
            SCARD_E_NO_DIR = 0x8010_0025;
            SCARD_E_NO_FILE = 0x8010_0026;
            SCARD_E_NO_ACCESS = 0x8010_0027;
            SCARD_E_WRITE_TOO_MANY = 0x8010_0028;
            SCARD_E_BAD_SEEK = 0x8010_0029;
            SCARD_E_INVALID_CHV = 0x8010_002A;
            SCARD_E_UNKNOWN_RES_MNG = 0x8010_002B;
            SCARD_E_UNKNOWN_RES_MSG = 0x8010_002B;
            SCARD_E_NO_SUCH_CERTIFICATE = 0x8010_002C;
            SCARD_E_CERTIFICATE_UNAVAILABLE = 0x8010_002D;
            SCARD_E_NO_READERS_AVAILABLE = 0x8010_002E, c"Cannot find a smart card reader.";
            SCARD_E_COMM_DATA_LOST = 0x8010_002F;
            SCARD_E_NO_KEY_CONTAINER = 0x8010_0030;
            SCARD_E_SERVER_TOO_BUSY = 0x8010_0031;
            SCARD_W_UNSUPPORTED_CARD = 0x8010_0065, c"Card is not supported.";
            SCARD_W_UNRESPONSIVE_CARD = 0x8010_0066, c"Card is unresponsive.";
            SCARD_W_UNPOWERED_CARD = 0x8010_0067, c"Card is unpowered.";
            SCARD_W_RESET_CARD = 0x8010_0068, c"Card was reset.";
            SCARD_W_REMOVED_CARD = 0x8010_0069, c"Card was removed.";
            SCARD_W_SECURITY_VIOLATION = 0x8010_006A, c"Access denied.";
            SCARD_W_WRONG_CHV = 0x8010_006B;
            SCARD_W_CHV_BLOCKED = 0x8010_006C;
            SCARD_W_EOF = 0x8010_006D;
            SCARD_W_CANCELLED_BY_USER = 0x8010_006E;
            SCARD_W_CARD_NOT_AUTHENTICATED = 0x8010_006F;
            SCARD_W_CACHE_ITEM_NOT_FOUND = 0x8010_0070;
            SCARD_W_CACHE_ITEM_STALE = 0x8010_0071;
            SCARD_W_CACHE_ITEM_TOO_BIG = 0x8010_0072;
        }
    };
}

macro_rules! codes {
    ($($name:ident = $code:literal $(, $text:literal)?;)+) => {
        $(
            /// A return code.
            pub const $name: u32 = $code;
        )+

        /// All return codes.
        pub const CODES: &[Named] = &[$((stringify!($name), $name),)+];

        /// The text of a return code, the same as in PC/SC Lite. `None` where
        /// PC/SC Lite has none.
        pub fn text(code: u32) -> Option<&'static CStr> {
            $($(
                if code == $code {
                    return Some($text);
                }
            )?)+
            None
        }
    };
}

for_each_code!(codes);
