//! PCSC.framework of macOS, a descendant of PC/SC Lite.

use std::ffi::OsStr;

use crate::ffi::{DWORD, LONG};

/// The framework's library. No file has this path on newer systems: the loader has it in a cache.
pub const LIBRARY: &str = "/System/Library/Frameworks/PCSC.framework/PCSC";

/// Every system has it.
pub const IS_PART_OF_SYSTEM: bool = true;

/// Whether it is so is not documented. A wait for changes that held up the calls of other threads would last.
pub const ONE_CALL_PER_CONTEXT: bool = false;

/// The name under which the library exports a function. Under the plain name of `SCardControl` it has one
/// with other parameters, for programs from before Mac OS X 10.5.
pub fn symbol(function: &'static str) -> &'static str {
    match function {
        "SCardControl" => "SCardControl132",
        other => other,
    }
}

/// Loads the library.
#[allow(unsafe_code)]
pub fn load(path: &OsStr) -> Result<libloading::Library, libloading::Error> {
    // SAFETY: the initialisation of a PC/SC library has no preconditions.
    unsafe { libloading::Library::new(path) }
}

super::structures!(#[repr(C, packed)] with an ATR of 33 bytes);

// The sizes in C.
const _: () = assert!(size_of::<IoRequest>() == 8 && size_of::<RawReaderState>() == 61);

/// The code that [`Error`](crate::Error) has for a return code.
pub fn code(returned: LONG) -> u32 {
    returned as u32
}

/// The library's number for protocols.
pub fn protocols(protocols: u32) -> DWORD {
    protocols
}

/// The protocol that the library's number means.
pub fn protocol(number: DWORD) -> u32 {
    number
}

/// The bits of a card's status.
pub fn card_status(status: DWORD) -> u32 {
    status
}
