//! Commands as they are printed: without the data that may be a PIN.

use pcsc_ccid::apdu::{carries_pin, Command};

use crate::hex;

/// The digits of a command, with `**` for each byte that may belong to a PIN.
pub fn shown(command: &[u8]) -> String {
    let shown = match command {
        [_, ins, _, _, body @ ..] if carries_pin(*ins) => 4 + length_field(command, body),
        _ => command.len(),
    };
    let (shown, hidden) = command.split_at(shown);
    hex::compact(shown) + &"**".repeat(hidden.len())
}

/// How many bytes of the body of a command with a PIN are surely its length field, and can be shown. In a
/// command without its Lc, the first byte after P2 is the first one of the PIN.
fn length_field(command: &[u8], body: &[u8]) -> usize {
    match Command::parse(command) {
        // Lc, of one byte or three.
        Ok(parsed) if !parsed.data.is_empty() => 1 + if parsed.extended { 2 } else { 0 },
        // Le; without data only 0 makes sense.
        Ok(_) if body.iter().all(|byte| *byte == 0) => body.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_not_shown() {
        for (command, expected) in [
            ("0020008004 31323334", "0020008004********"),
            ("0020008004 31323334 00", "0020008004**********"),
            ("00200080000004 31323334", "00200080000004********"),
            ("00200080000004 31323334 0000", "00200080000004************"),
            ("00200080", "00200080"),
            ("0020008000", "0020008000"),
            ("00B0000004", "00B0000004"),
            ("00A4040002A000", "00A4040002A000"),
        ] {
            let command = hex::parse_spaced(command).unwrap();
            assert_eq!(shown(&command), expected);
        }
        for short in [&[][..], &[0, 0x20], &[0, 0x20, 0]] {
            assert_eq!(shown(short), hex::compact(short));
        }
    }

    #[test]
    fn a_pin_without_lc_is_not_shown() {
        for (command, expected) in [
            ("00200080 31323334", "00200080********"),
            ("00200080 31", "00200080**"),
            ("00200080 003132", "00200080******"),
            ("0020008008 31323334", "00200080**********"),
            ("0020008003 31323334 00", "00200080************"),
            ("00200080000005 31323334", "00200080**************"),
        ] {
            let command = hex::parse_spaced(command).unwrap();
            assert_eq!(shown(&command), expected);
        }
    }

    #[test]
    fn all_commands_with_a_pin_are_masked() {
        for ins in [0x20, 0x21, 0x24, 0x25, 0x26, 0x28, 0x2C, 0x2D] {
            assert!(shown(&[0, ins, 0, 0x80, 1, 0x31]).ends_with("01**"), "{ins:02X}");
        }
    }
}
