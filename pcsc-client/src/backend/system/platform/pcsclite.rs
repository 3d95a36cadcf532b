//! PC/SC Lite's library, on Linux and other Unix systems.

use std::ffi::OsStr;

use crate::ffi::{DWORD, LONG};
use crate::values::number;

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

/// Loads the library without searching more folders than the loader does.
#[allow(unsafe_code)]
pub fn load(path: &OsStr) -> Result<libloading::Library, libloading::Error> {
    // SAFETY: the initialisation of a PC/SC library has no preconditions.
    unsafe { libloading::Library::new(path) }
}

super::structures!(#[repr(C)] with an ATR of 33 bytes);

/// The code that [`Error`](crate::Error) has for a return code.
pub fn code(returned: LONG) -> u32 {
    returned as u32
}

/// The library's number for protocols.
pub fn protocols(protocols: u32) -> DWORD {
    protocols as DWORD
}

/// The protocol that the library's number means.
pub fn protocol(value: DWORD) -> u32 {
    number(value)
}

/// The bits of a card's status, with the count of changes in the high word.
pub fn card_status(status: DWORD) -> u32 {
    number(status)
}
