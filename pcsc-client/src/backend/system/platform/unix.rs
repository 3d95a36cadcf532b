//! What PC/SC Lite and its descendant on macOS have in common: the loader, and numbers that are this crate's.
#![allow(clippy::unnecessary_cast, reason = "DWORD has 64 bits on some systems")]

use std::ffi::OsStr;

use crate::ffi::{DWORD, LONG};
use crate::values::number;

/// Loads the library without searching more folders than the loader does.
#[allow(unsafe_code)]
pub fn load(path: &OsStr) -> Result<libloading::Library, libloading::Error> {
    // SAFETY: the initialisation of a PC/SC library has no preconditions.
    unsafe { libloading::Library::new(path) }
}

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

/// The bits of a card's status, with the count of changes in the high word where the library counts.
pub fn card_status(status: DWORD) -> u32 {
    number(status)
}
