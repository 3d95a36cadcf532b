//! What differs between the platforms' PC/SC libraries: the name, the functions' names, the layout of
//! structures, and numbers. Everything else of this backend is the same on all of them.

/// Defines the structures of winscard.h, whose packing and size differ.
macro_rules! structures {
    (#[$representation:meta] with an ATR of $atr_room:literal bytes) => {
        /// `SCARD_IO_REQUEST`.
        #[$representation]
        #[derive(Clone, Copy)]
        pub struct IoRequest {
            pub protocol: DWORD,
            pub length: DWORD,
        }

        /// `SCARD_READERSTATE`.
        #[$representation]
        #[derive(Clone, Copy)]
        pub struct RawReaderState {
            pub reader: *const std::ffi::c_char,
            pub user_data: *mut std::ffi::c_void,
            pub current: DWORD,
            pub event: DWORD,
            pub atr_length: DWORD,
            pub atr: [u8; ATR_ROOM],
        }

        /// The room for an ATR, in bytes.
        pub const ATR_ROOM: usize = $atr_room;
    };
}
use structures;

#[cfg(target_os = "macos")]
mod framework;
#[cfg(not(any(windows, target_os = "macos")))]
mod pcsclite;
#[cfg(not(windows))]
mod unix;
#[cfg(windows)]
mod winscard;

#[cfg(target_os = "macos")]
pub use framework::*;
#[cfg(not(any(windows, target_os = "macos")))]
pub use pcsclite::*;
#[cfg(windows)]
pub use winscard::*;
