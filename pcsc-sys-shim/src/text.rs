//! `pcsc_stringify_error`: the same texts as in PC/SC Lite.

use std::cell::Cell;
use std::ffi::c_char;
use std::io::Write;

use pcsc_client::ffi::LONG;

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
    if let Some(text) = known.and_then(pcsc_constants::text) {
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
    use std::ffi::CStr;

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
