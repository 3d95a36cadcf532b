//! Commands for the reader itself, not for the card.
//!
//! An Escape can do anything that the manufacturer has implemented, such as loading a new firmware. So
//! Escapes are off unless the user allows them. A few harmless ones that programs rely on are always allowed.

use crate::quirks::Quirks;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

/// How long a reader may take for a client's Escape.
pub const LIMIT: Duration = Duration::from_secs(30);
/// How long a reader may take for a pseudo-APDU: it may ask the user for something.
pub const PSEUDO_APDU_LIMIT: Duration = Duration::from_secs(90);

/// Whether a client may send this Escape to this reader; `user_allows` is what the user has set.
pub fn is_allowed(command: &[u8], quirks: &Quirks, user_allows: bool) -> bool {
    user_allows
        || quirks.any_escape_allowed
        || quirks
            .allowed_escapes
            .iter()
            .flatten()
            .any(|&(size, start)| command.len() == size && command.starts_with(start))
}

/// Whether a command for FEATURE_MCT_READER_DIRECT is a Secoder's: 20 70 to 20 74, 00 00 00. Those go to
/// the reader as Escapes, others nowhere.
pub fn is_secoder_command(command: &[u8]) -> bool {
    matches!(command, [0x20, 0x70..=0x74, 0x00, 0x00, 0x00, ..])
}

/// Whether an APDU is for the reader: FF C2 01 (part 10's supplement on pseudo-APDUs). It gets
/// [`PSEUDO_APDU_LIMIT`].
pub fn is_pseudo_apdu(apdu: &[u8]) -> bool {
    apdu.starts_with(&[0xFF, 0xC2, 0x01])
}

/// What the driver answers in the reader's name to FF 9A 01 XX 00, where the table says so: the
/// manufacturer, the product, the firmware's version (`bcdDevice`) and the driver's, as its own once named
/// it.
pub fn info_answer(apdu: &[u8], firmware: u16) -> Option<Vec<u8>> {
    let [0xFF, 0x9A, 0x01, what, 0x00] = *apdu else {
        return None;
    };
    let mut answer = match what {
        0x01 => b"KOBIL systems".to_vec(),
        0x03 => b"IDToken".to_vec(),
        0x06 => format!("{:X}.{:02X}", firmware >> 8, firmware & 0xFF).into_bytes(),
        0x07 => b"2012.2.7".to_vec(),
        _ => return None,
    };
    answer.extend_from_slice(&[0x90, 0x00]);
    Some(answer)
}
