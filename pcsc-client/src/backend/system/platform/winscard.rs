//! winscard.dll of Windows. Numbers that differ from PC/SC Lite's are converted, so that a program has the
//! same constants on all systems.

use std::ffi::OsStr;
use std::path::Path;

use libloading::os::windows as loader;
use pcsc_constants as constants;

use crate::ffi::{DWORD, LONG};

/// The library's name.
pub const LIBRARY: &str = "winscard.dll";

/// Every system has it.
pub const IS_PART_OF_SYSTEM: bool = true;

/// Calls of one context do not wait for each other, unless they are for the same card.
pub const ONE_CALL_PER_CONTEXT: bool = false;

/// The name under which the library exports a function: those with texts exist for bytes (A) and for UTF-16.
pub fn symbol(function: &'static str) -> &'static str {
    match function {
        "SCardConnect" => "SCardConnectA",
        "SCardGetStatusChange" => "SCardGetStatusChangeA",
        "SCardListReaders" => "SCardListReadersA",
        "SCardStatus" => "SCardStatusA",
        other => other,
    }
}

/// Loads the library. A name without a folder is looked for in the system's folder alone, so that no file in
/// the program's folder or in the current one takes its place.
#[allow(unsafe_code)]
pub fn load(path: &OsStr) -> Result<libloading::Library, libloading::Error> {
    let path = Path::new(path);
    let (path, flags) = if path.components().count() == 1 {
        (path.to_owned(), loader::LOAD_LIBRARY_SEARCH_SYSTEM32)
    } else {
        // The effect of this flag is undefined for a relative path. An empty path stays as it is, and fails.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        (path, loader::LOAD_WITH_ALTERED_SEARCH_PATH)
    };
    // SAFETY: the initialisation of a PC/SC library has no preconditions.
    let library = unsafe { loader::Library::load_with_flags(path, flags) };
    library.map(Into::into)
}

super::structures!(#[repr(C)] with an ATR of 36 bytes);

/// `SCARD_E_UNSUPPORTED_FEATURE`.
const UNSUPPORTED_FEATURE: u32 = 0x8010_0022;
/// `SCARD_PROTOCOL_RAW`.
const PROTOCOL_RAW: u32 = 0x0001_0000;

/// The code that [`Error`](crate::Error) has for a return code: for those with other numbers, and for errors
/// of the system that drivers return.
pub fn code(returned: LONG) -> u32 {
    const INVALID_FUNCTION: u32 = 1;
    const INVALID_HANDLE: u32 = 6;
    const BAD_COMMAND: u32 = 22;
    const NOT_SUPPORTED: u32 = 50;
    const INVALID_PARAMETER: u32 = 87;
    const INSUFFICIENT_BUFFER: u32 = 122;
    match returned as u32 {
        // PC/SC Lite has `SCARD_E_UNSUPPORTED_FEATURE` at this number.
        constants::SCARD_E_UNEXPECTED => constants::SCARD_F_UNKNOWN_ERROR,
        UNSUPPORTED_FEATURE | INVALID_FUNCTION | BAD_COMMAND | NOT_SUPPORTED => {
            constants::SCARD_E_UNSUPPORTED_FEATURE
        }
        INVALID_HANDLE => constants::SCARD_E_INVALID_HANDLE,
        INVALID_PARAMETER => constants::SCARD_E_INVALID_PARAMETER,
        INSUFFICIENT_BUFFER => constants::SCARD_E_INSUFFICIENT_BUFFER,
        other => other,
    }
}

/// The library's number for protocols.
pub fn protocols(protocols: u32) -> DWORD {
    match protocols & constants::SCARD_PROTOCOL_RAW {
        0 => protocols,
        raw => protocols - raw + PROTOCOL_RAW,
    }
}

/// The protocol that the library's number means.
pub fn protocol(number: DWORD) -> u32 {
    match number {
        PROTOCOL_RAW => constants::SCARD_PROTOCOL_RAW,
        other => other,
    }
}

/// The bits of a card's status, which the library gives as a number. Each of its values implies those below
/// it: a card that is powered is present.
pub fn card_status(status: DWORD) -> u32 {
    use constants::{SCARD_NEGOTIABLE, SCARD_POWERED, SCARD_PRESENT, SCARD_SPECIFIC, SCARD_SWALLOWED};
    match status {
        1 => constants::SCARD_ABSENT,
        2 => SCARD_PRESENT,
        3 => SCARD_PRESENT | SCARD_SWALLOWED,
        4 => SCARD_PRESENT | SCARD_POWERED,
        5 => SCARD_PRESENT | SCARD_POWERED | SCARD_NEGOTIABLE,
        6 => SCARD_PRESENT | SCARD_POWERED | SCARD_SPECIFIC,
        _ => constants::SCARD_UNKNOWN,
    }
}
