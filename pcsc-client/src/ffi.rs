//! The C API's types and numbers, under the names of `winscard.h` (PC/SC part 5 and part 3).
//!
//! Types and numbers only: no C library is behind this module. It replaces `pcsc_sys` for programs that use
//! the `pcsc` crate.
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
    /// C's `LONG`: a `long`. Return codes are positive where it has 64 bits, negative where it has 32.
    pub type LONG = std::os::raw::c_long;
}
pub use c_types::{DWORD, LONG};

/// C's `ULONG`.
pub type ULONG = DWORD;
/// A context's handle.
pub type SCARDCONTEXT = LONG;
/// A card's handle.
pub type SCARDHANDLE = LONG;

/// The value is that of `pcsc-constants`, of the type that C has.
macro_rules! typed {
    (@group $docs:tt $kind:ty { $($name:ident,)+ }) => {
        $(typed!(@one $docs $name: $kind);)+
    };
    (@one [$(#$doc:tt)+] $name:ident: $kind:ty) => {
        $(#$doc)+
        pub const $name: $kind = pcsc_constants::$name as $kind;
    };
    ($($(#$doc:tt)+ $kind:ty { $($name:ident,)+ })+) => {
        $(typed!(@group [$(#$doc)+] $kind { $($name,)+ });)+
    };
}

typed! {
    /// A return code. [`Error`](crate::Error) has the meaning of each.
    LONG {
        SCARD_S_SUCCESS,
        SCARD_F_INTERNAL_ERROR,
        SCARD_E_CANCELLED,
        SCARD_E_INVALID_HANDLE,
        SCARD_E_INVALID_PARAMETER,
        SCARD_E_INVALID_TARGET,
        SCARD_E_NO_MEMORY,
        SCARD_F_WAITED_TOO_LONG,
        SCARD_E_INSUFFICIENT_BUFFER,
        SCARD_E_UNKNOWN_READER,
        SCARD_E_TIMEOUT,
        SCARD_E_SHARING_VIOLATION,
        SCARD_E_NO_SMARTCARD,
        SCARD_E_UNKNOWN_CARD,
        SCARD_E_CANT_DISPOSE,
        SCARD_E_PROTO_MISMATCH,
        SCARD_E_NOT_READY,
        SCARD_E_INVALID_VALUE,
        SCARD_E_SYSTEM_CANCELLED,
        SCARD_F_COMM_ERROR,
        SCARD_F_UNKNOWN_ERROR,
        SCARD_E_INVALID_ATR,
        SCARD_E_NOT_TRANSACTED,
        SCARD_E_READER_UNAVAILABLE,
        SCARD_P_SHUTDOWN,
        SCARD_E_PCI_TOO_SMALL,
        SCARD_E_READER_UNSUPPORTED,
        SCARD_E_DUPLICATE_READER,
        SCARD_E_CARD_UNSUPPORTED,
        SCARD_E_NO_SERVICE,
        SCARD_E_SERVICE_STOPPED,
        SCARD_E_UNEXPECTED,
        SCARD_E_UNSUPPORTED_FEATURE,
        SCARD_E_ICC_INSTALLATION,
        SCARD_E_ICC_CREATEORDER,
        SCARD_E_DIR_NOT_FOUND,
        SCARD_E_FILE_NOT_FOUND,
        SCARD_E_NO_DIR,
        SCARD_E_NO_FILE,
        SCARD_E_NO_ACCESS,
        SCARD_E_WRITE_TOO_MANY,
        SCARD_E_BAD_SEEK,
        SCARD_E_INVALID_CHV,
        SCARD_E_UNKNOWN_RES_MNG,
        SCARD_E_NO_SUCH_CERTIFICATE,
        SCARD_E_CERTIFICATE_UNAVAILABLE,
        SCARD_E_NO_READERS_AVAILABLE,
        SCARD_E_COMM_DATA_LOST,
        SCARD_E_NO_KEY_CONTAINER,
        SCARD_E_SERVER_TOO_BUSY,
        SCARD_W_UNSUPPORTED_CARD,
        SCARD_W_UNRESPONSIVE_CARD,
        SCARD_W_UNPOWERED_CARD,
        SCARD_W_RESET_CARD,
        SCARD_W_REMOVED_CARD,
        SCARD_W_SECURITY_VIOLATION,
        SCARD_W_WRONG_CHV,
        SCARD_W_CHV_BLOCKED,
        SCARD_W_EOF,
        SCARD_W_CANCELLED_BY_USER,
        SCARD_W_CARD_NOT_AUTHENTICATED,
        SCARD_W_CACHE_ITEM_NOT_FOUND,
        SCARD_W_CACHE_ITEM_STALE,
        SCARD_W_CACHE_ITEM_TOO_BIG,
    }

    /// A scope of a context. PC/SC Lite treats all alike.
    DWORD {
        SCARD_SCOPE_USER,
        SCARD_SCOPE_TERMINAL,
        SCARD_SCOPE_SYSTEM,
        SCARD_SCOPE_GLOBAL,
    }

    /// A transmission protocol, or a set of them.
    DWORD {
        SCARD_PROTOCOL_UNDEFINED,
        SCARD_PROTOCOL_UNSET,
        SCARD_PROTOCOL_T0,
        SCARD_PROTOCOL_T1,
        SCARD_PROTOCOL_RAW,
        SCARD_PROTOCOL_T15,
        SCARD_PROTOCOL_ANY,
    }

    /// How a reader is shared between connections.
    DWORD {
        SCARD_SHARE_EXCLUSIVE,
        SCARD_SHARE_SHARED,
        SCARD_SHARE_DIRECT,
    }

    /// What becomes of the card at the end of a connection or of a transaction.
    DWORD {
        SCARD_LEAVE_CARD,
        SCARD_RESET_CARD,
        SCARD_UNPOWER_CARD,
        SCARD_EJECT_CARD,
    }

    /// A bit of a card's status, as `SCardStatus` gives it.
    DWORD {
        SCARD_UNKNOWN,
        SCARD_ABSENT,
        SCARD_PRESENT,
        SCARD_SWALLOWED,
        SCARD_POWERED,
        SCARD_NEGOTIABLE,
        SCARD_SPECIFIC,
    }

    /// A bit of a reader's state, as `SCardGetStatusChange` takes and gives it.
    DWORD {
        SCARD_STATE_UNAWARE,
        SCARD_STATE_IGNORE,
        SCARD_STATE_CHANGED,
        SCARD_STATE_UNKNOWN,
        SCARD_STATE_UNAVAILABLE,
        SCARD_STATE_EMPTY,
        SCARD_STATE_PRESENT,
        SCARD_STATE_ATRMATCH,
        SCARD_STATE_EXCLUSIVE,
        SCARD_STATE_INUSE,
        SCARD_STATE_MUTE,
        SCARD_STATE_UNPOWERED,
    }

    /// A time in milliseconds: wait without limit.
    DWORD {
        INFINITE,
    }

    /// A size of a buffer, in bytes.
    usize {
        MAX_ATR_SIZE,
        SCARD_ATR_LENGTH,
        ATR_BUFFER_SIZE,
        MAX_READERNAME,
        MAX_BUFFER_SIZE,
        MAX_BUFFER_SIZE_EXTENDED,
    }

    /// A class of attributes (PC/SC part 3, clause 3.1.4).
    ULONG {
        SCARD_CLASS_SYSTEM,
        SCARD_CLASS_VENDOR_INFO,
        SCARD_CLASS_COMMUNICATIONS,
        SCARD_CLASS_PROTOCOL,
        SCARD_CLASS_POWER_MGMT,
        SCARD_CLASS_SECURITY,
        SCARD_CLASS_MECHANICAL,
        SCARD_CLASS_VENDOR_DEFINED,
        SCARD_CLASS_IFD_PROTOCOL,
        SCARD_CLASS_ICC_STATE,
    }

    /// A reader attribute's tag (PC/SC part 3, table 3-1).
    DWORD {
        SCARD_ATTR_VENDOR_NAME,
        SCARD_ATTR_VENDOR_IFD_TYPE,
        SCARD_ATTR_VENDOR_IFD_VERSION,
        SCARD_ATTR_VENDOR_IFD_SERIAL_NO,
        SCARD_ATTR_CHANNEL_ID,
        SCARD_ATTR_ASYNC_PROTOCOL_TYPES,
        SCARD_ATTR_DEFAULT_CLK,
        SCARD_ATTR_MAX_CLK,
        SCARD_ATTR_DEFAULT_DATA_RATE,
        SCARD_ATTR_MAX_DATA_RATE,
        SCARD_ATTR_MAX_IFSD,
        SCARD_ATTR_SYNC_PROTOCOL_TYPES,
        SCARD_ATTR_POWER_MGMT_SUPPORT,
        SCARD_ATTR_USER_TO_CARD_AUTH_DEVICE,
        SCARD_ATTR_USER_AUTH_INPUT_DEVICE,
        SCARD_ATTR_CHARACTERISTICS,
        SCARD_ATTR_CURRENT_PROTOCOL_TYPE,
        SCARD_ATTR_CURRENT_CLK,
        SCARD_ATTR_CURRENT_F,
        SCARD_ATTR_CURRENT_D,
        SCARD_ATTR_CURRENT_N,
        SCARD_ATTR_CURRENT_W,
        SCARD_ATTR_CURRENT_IFSC,
        SCARD_ATTR_CURRENT_IFSD,
        SCARD_ATTR_CURRENT_BWT,
        SCARD_ATTR_CURRENT_CWT,
        SCARD_ATTR_CURRENT_EBC_ENCODING,
        SCARD_ATTR_EXTENDED_BWT,
        SCARD_ATTR_ICC_PRESENCE,
        SCARD_ATTR_ICC_INTERFACE_STATUS,
        SCARD_ATTR_CURRENT_IO_STATE,
        SCARD_ATTR_ATR_STRING,
        SCARD_ATTR_ICC_TYPE_PER_ATR,
        SCARD_ATTR_ESC_RESET,
        SCARD_ATTR_ESC_CANCEL,
        SCARD_ATTR_ESC_AUTHREQUEST,
        SCARD_ATTR_MAXINPUT,
        SCARD_ATTR_DEVICE_UNIT,
        SCARD_ATTR_DEVICE_IN_USE,
        SCARD_ATTR_DEVICE_FRIENDLY_NAME_A,
        SCARD_ATTR_DEVICE_SYSTEM_NAME_A,
        SCARD_ATTR_DEVICE_FRIENDLY_NAME_W,
        SCARD_ATTR_DEVICE_SYSTEM_NAME_W,
        SCARD_ATTR_SUPRESS_T1_IFS_REQUEST,
        SCARD_ATTR_DEVICE_FRIENDLY_NAME,
        SCARD_ATTR_DEVICE_SYSTEM_NAME,
    }
}

/// A length: the library allocates the buffer.
pub const SCARD_AUTOALLOCATE: DWORD = DWORD::MAX;

/// The control code of a reader's function `code` (C's `SCARD_CTL_CODE`).
pub const fn SCARD_CTL_CODE(code: DWORD) -> DWORD {
    pcsc_constants::control_code(0) as DWORD + code
}
