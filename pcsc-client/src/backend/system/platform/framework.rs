//! PCSC.framework of macOS, a descendant of PC/SC Lite.

pub use super::unix::*;
use crate::ffi::DWORD;

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

super::structures!(#[repr(C, packed)] with an ATR of 33 bytes);

// The sizes in C.
const _: () = assert!(size_of::<IoRequest>() == 8 && size_of::<RawReaderState>() == 61);
