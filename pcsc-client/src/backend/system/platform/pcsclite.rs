//! PC/SC Lite's library, on Linux and other Unix systems.

pub use super::unix::*;
use crate::ffi::DWORD;

/// The library's name, which the loader looks for in the system's folders.
pub const LIBRARY: &str = "libpcsclite.so.1";

/// A part of the system only where it is installed; a daemon's socket comes first.
pub const IS_PART_OF_SYSTEM: bool = false;

/// The library holds a lock of the context for the whole of a call, a wait for changes included.
pub const ONE_CALL_PER_CONTEXT: bool = true;

/// The name under which the library exports a function.
pub fn symbol(function: &'static str) -> &'static str {
    function
}

super::structures!(#[repr(C)] with an ATR of 33 bytes);
