//! `pcsc_stringify_error`: the texts that users of PC/SC Lite's tools know.

use std::cell::Cell;
use std::ffi::{c_char, CStr};
use std::io::Write;

use pcsc_client::ffi::LONG;

/// The text of a return code; `None` for codes that PC/SC Lite has no text for.
fn text(code: u32) -> Option<&'static CStr> {
    Some(match code {
        0 => c"Command successful.",
        0x8010_0001 => c"Internal error.",
        0x8010_0002 => c"Command cancelled.",
        0x8010_0003 => c"Invalid handle.",
        0x8010_0004 => c"Invalid parameter given.",
        0x8010_0005 => c"Invalid target given.",
        0x8010_0006 => c"Not enough memory.",
        0x8010_0007 => c"Waited too long.",
        0x8010_0008 => c"Insufficient buffer.",
        0x8010_0009 => c"Unknown reader specified.",
        0x8010_000A => c"Command timeout.",
        0x8010_000B => c"Sharing violation.",
        0x8010_000C => c"No smart card inserted.",
        0x8010_000D => c"Unknown card.",
        0x8010_000E => c"Cannot dispose handle.",
        0x8010_000F => c"Card protocol mismatch.",
        0x8010_0010 => c"Subsystem not ready.",
        0x8010_0011 => c"Invalid value given.",
        0x8010_0012 => c"System cancelled.",
        0x8010_0013 => c"RPC transport error.",
        0x8010_0014 => c"Unknown error.",
        0x8010_0015 => c"Invalid ATR.",
        0x8010_0016 => c"Transaction failed.",
        0x8010_0017 => c"Reader is unavailable.",
        0x8010_0019 => c"PCI struct too small.",
        0x8010_001A => c"Reader is unsupported.",
        0x8010_001B => c"Reader already exists.",
        0x8010_001C => c"Card is unsupported.",
        0x8010_001D => c"Service not available.",
        0x8010_001E => c"Service was stopped.",
        0x8010_001F => c"Feature not supported.",
        0x8010_002E => c"Cannot find a smart card reader.",
        0x8010_0065 => c"Card is not supported.",
        0x8010_0066 => c"Card is unresponsive.",
        0x8010_0067 => c"Card is unpowered.",
        0x8010_0068 => c"Card was reset.",
        0x8010_0069 => c"Card was removed.",
        0x8010_006A => c"Access denied.",
        _ => return None,
    })
}

/// The text of a return code, valid until the thread's next call of this function.
#[no_mangle]
pub extern "C" fn pcsc_stringify_error(code: LONG) -> *const c_char {
    const SIZE: usize = 75;
    thread_local! {
        static UNKNOWN: Cell<[u8; SIZE]> = const { Cell::new([0; SIZE]) };
    }
    // Codes have 32 bits, and are negative where LONG has no more. A wider number is no code.
    let known = u32::try_from(code)
        .ok()
        .or_else(|| (size_of::<LONG>() == 4).then_some(code as u32));
    if let Some(text) = known.and_then(text) {
        return text.as_ptr();
    }
    let mut bytes = [0; SIZE];
    // The longest text has 36 bytes, so that it fits with its NUL.
    let _ = write!(&mut bytes[..], "Unknown error: 0x{code:08X}");
    UNKNOWN.with(|buffer| {
        buffer.set(bytes);
        buffer.as_ptr() as *const c_char
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(code: LONG) -> String {
        // SAFETY: the function gives a NUL-terminated string that is valid until its next call here.
        unsafe { CStr::from_ptr(pcsc_stringify_error(code)) }
            .to_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn known_and_unknown_codes_have_a_text() {
        assert_eq!(text_of(0), "Command successful.");
        assert_eq!(text_of(0x8010_001D_u32 as LONG), "Service not available.");
        assert_eq!(text_of(0x8010_0018_u32 as LONG), "Unknown error: 0x80100018");
        assert_eq!(text_of(1), "Unknown error: 0x00000001");
        assert_eq!(
            text_of(-1),
            format!("Unknown error: 0x{:X}", LONG::MAX as u128 * 2 + 1)
        );
    }
}
