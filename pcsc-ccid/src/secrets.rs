//! Which bytes of an exchange may be secret: PINs, keys, what a card has decrypted. Code that prints
//! or records exchanges hides these.
//!
//! The class byte does not matter for most commands: chaining, secure messaging and logical channels leave
//! INS as it is, and each command of a chain has it. Where a command may hold a secret or may not, it is
//! hidden.

use crate::apdu::{carries_pin, CommandApdu};
use crate::part10::pin::{MODIFY_HEADER, VERIFY_HEADER};
use crate::part10::ControlFunction;

/// CLA, INS, P1, P2.
const HEADER: usize = 4;
/// The class of commands to the reader itself (PC/SC part 3, clause 3.2.2).
const TO_READER: u8 = 0xFF;
/// The class of the MUSCLE applet's commands.
const MUSCLE: u8 = 0xB0;
/// GET RESPONSE: the rest of the answer to the command before.
const GET_RESPONSE: u8 = 0xC0;

/// How many bytes at the beginning of a command can be shown. All after them may be secret, to the end.
pub fn shown_of_command(command: &[u8]) -> usize {
    match command {
        [cla, ins, _, p2, body @ ..] if holds_secret(*cla, *ins, *p2) => HEADER + length_field(command, body),
        _ => command.len(),
    }
}

/// Whether the data of a command's response may be secret. `was_secret` says the same of the command before
/// it on the same card, for GET RESPONSE. The status words, which are the last two bytes, are never secret.
pub fn hides_response(command: &[u8], was_secret: bool) -> bool {
    let [cla, ins, p1, p2, body @ ..] = command else {
        return false;
    };
    match *ins {
        // In every class, also that of commands to the reader.
        GET_RESPONSE if was_secret => true,
        _ if *cla == TO_READER => holds_secret(*cla, *ins, *p2) && length_field(command, body) < body.len(),
        // GENERAL AUTHENTICATE and INTERNAL AUTHENTICATE: decrypted keys of PIV cards, session keys of SIMs.
        0x86..=0x89 => true,
        // PERFORM SECURITY OPERATION whose answer is a plain value: DECIPHER.
        0x2A | 0x2B => *p1 == 0x80,
        // The command in ENVELOPE may be any of these.
        0xC2 | 0xC3 => true,
        // HMACs of YubiKeys, session keys of YubiHSM Auth.
        0x01 | 0x03 => true,
        // The MUSCLE applet: ComputeCrypt, and ReadObject, which gives its results and exported keys.
        0x36 | 0x56 => *cla == MUSCLE,
        _ => false,
    }
}

/// Whether the data of a command may be secret.
fn holds_secret(cla: u8, ins: u8, p2: u8) -> bool {
    let of_pin = carries_pin(ins);
    of_pin
        || match ins {
            // LOAD KEYS, and whole commands for the card behind the reader.
            _ if cla == TO_READER => true,
            // PUT DATA: keys and codes of OpenPGP and PIV cards.
            0xDA | 0xDB => true,
            // ENVELOPE: another command.
            0xC2 | 0xC3 => true,
            // PERFORM SECURITY OPERATION on a plain value: ENCIPHER.
            0x2A | 0x2B => p2 == 0x80,
            // PUT KEY and STORE DATA (GlobalPlatform card specification 2.3, clauses 11.8 and 11.11). The
            // latter is APPEND RECORD in other classes.
            0xD8 => true,
            0xE2 => cla & 0x80 != 0,
            // IMPORT KEY and SET MANAGEMENT KEY of Yubico's PIV.
            0xFE | 0xFF => true,
            // Secrets of YubiKeys: OATH PUT and SET CODE, OTP slots; YubiHSM Auth PUT, DELETE, CALCULATE,
            // GET CHALLENGE, PUT MANAGEMENT KEY and CHANGE CREDENTIAL PASSWORD, which have its management
            // key or a credential's password.
            0x01..=0x04 | 0x08 | 0x0B => true,
            // WRITE CONFIG of YubiKeys, which has the lock code.
            0x1C => true,
            // The MUSCLE applet: ImportKey, ComputeCrypt, CreatePIN, VerifyPIN, ChangePIN, UnblockPIN, and
            // WriteObject, which brings the key for ImportKey.
            0x32 | 0x36 | 0x40 | 0x42 | 0x44 | 0x46 | 0x54 => cla == MUSCLE,
            _ => false,
        }
}

/// How many bytes of the body of a command with a secret are surely its length field, and can be shown. In a
/// command without its Lc, the first byte after P2 is the first one of the secret.
fn length_field(command: &[u8], body: &[u8]) -> usize {
    match CommandApdu::parse_of_any_class(command) {
        // Lc, of one byte or three.
        Ok(parsed) if !parsed.data.is_empty() => 1 + if parsed.extended { 2 } else { 0 },
        // Le; without data only 0 makes sense, but for commands to the reader.
        Ok(parsed) if parsed.header[0] == TO_READER || body.iter().all(|byte| *byte == 0) => body.len(),
        _ => 0,
    }
}

/// What can be shown of a call of `SCardControl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShownOfControl {
    /// How many bytes at the beginning of the data.
    pub data: usize,
    /// Whether the answer.
    pub answer: bool,
}

/// What can be shown of a call of `SCardControl` with this code and these data: all of the requests for
/// features and properties; of the structures of PIN pads (PC/SC part 10) all but what follows the header and
/// Lc of their command. Nothing of other codes, such as Escapes: the data may be a command for the card, a
/// key that was pressed, or the password of PACE.
pub fn shown_of_control(code: u32, data: &[u8]) -> ShownOfControl {
    let pin_pad = |before: usize| ShownOfControl {
        data: match data.get(before..) {
            Some(command @ [_, _, _, _, body @ ..]) => before + HEADER + length_field(command, body),
            _ => data.len().min(before),
        },
        // Status words.
        answer: true,
    };
    match ControlFunction::decode(code) {
        Some(ControlFunction::VerifyPin) => pin_pad(VERIFY_HEADER),
        Some(ControlFunction::ModifyPin) => pin_pad(MODIFY_HEADER),
        Some(
            ControlFunction::Features
            | ControlFunction::PinProperties
            | ControlFunction::TlvProperties
            | ControlFunction::Nad
            | ControlFunction::UsbPath,
        ) => ShownOfControl {
            data: data.len(),
            answer: true,
        },
        Some(ControlFunction::ReaderDirect | ControlFunction::Escape) | None => ShownOfControl {
            data: 0,
            answer: false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part10::{control_code, Feature, GET_FEATURE_REQUEST, VENDOR_IFD_EXCHANGE};
    use std::vec::Vec;

    fn bytes(digits: &str) -> Vec<u8> {
        let digits: Vec<u8> = digits.bytes().filter(|digit| *digit != b' ').collect();
        let pair = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    /// Checks that of a command, which has `|` before what is hidden, that and no more is hidden.
    #[track_caller]
    fn check(command: &str) {
        let (shown, hidden) = command.split_once('|').unwrap_or((command, ""));
        let shown = bytes(shown);
        let command = [&shown[..], &bytes(hidden)].concat();
        assert_eq!(shown_of_command(&command), shown.len(), "{command:02X?}");
    }

    #[test]
    fn pins_are_hidden_and_their_length_fields_are_not() {
        for command in [
            "00200080 04 | 31323334",
            "00200080 04 | 31323334 00",
            "00200080 000004 | 31323334",
            "00200080 000004 | 31323334 0000",
            "00200080",
            "00200080 00",
            "00B00000 04",
            "00A40400 02 A000",
        ] {
            check(command);
        }
        for short in [&[][..], &[0, 0x20], &[0, 0x20, 0]] {
            assert_eq!(shown_of_command(short), short.len());
        }
    }

    #[test]
    fn all_is_hidden_after_the_header_of_a_command_whose_length_is_wrong() {
        for command in [
            "00200080 | 31323334",
            "00200080 | 31",
            "00200080 | 003132",
            "00200080 | 08 31323334",
            "00200080 | 03 31323334 00",
            "00200080 | 000005 31323334",
            "FF000000 | 0A 0020008004 31323334",
        ] {
            check(command);
        }
    }

    #[test]
    fn all_commands_with_a_pin_are_hidden_in_all_classes() {
        // Chained, on a logical channel, with secure messaging, proprietary, of a SIM.
        for class in [0x00, 0x10, 0x03, 0x0C, 0x1C, 0x43, 0x80, 0x84, 0xA0] {
            for ins in [0x20, 0x21, 0x24, 0x25, 0x26, 0x28, 0x2C, 0x2D] {
                let command = [class, ins, 0, 0x80, 1, 0x31];
                assert_eq!(shown_of_command(&command), 5, "{command:02X?}");
            }
        }
    }

    #[test]
    fn keys_are_hidden_and_other_data_are_not() {
        for command in [
            // OpenPGP: resetting code, key. PIV: data object. Both are PUT DATA.
            "00DA00D3 08 | 3132333435363738",
            "00DB3FFF 03 | 4D0102",
            // Yubico's PIV, OATH, and a slot of OTP.
            "00FE079A 03 | 010102",
            "00FFFFFF 03 | 039B18",
            "00010000 04 | 71016173",
            "00030000 02 | 7301",
            // YubiHSM Auth: DELETE, GET CHALLENGE, PUT MANAGEMENT KEY, CHANGE CREDENTIAL PASSWORD, but not
            // LIST. Lock code of YubiKeys.
            "00020000 04 | 7B023132",
            "00040000 04 | 73023132",
            "00080000 04 | 7B023132",
            "000B0000 04 | 73023132",
            "00050000 02 7101",
            "001C0000 04 | 030A0131",
            "001D0000 00",
            // GlobalPlatform.
            "80D80181 03 | 018010",
            "84E28000 02 | 0102",
            "00E20000 02 0102",
            // Security operations.
            "002A8680 02 | 3132",
            "002B8680 02 | 3132",
            "002B8086 02 0102",
            "002A8086 02 0102",
            "002A9E9A 02 0102",
            // The MUSCLE applet.
            "B0420100 04 | 31323334",
            "80420000 02 0102",
            "B0540000 04 | 01020304",
            "B0360104 04 | 03010102",
            "B0560000 04 FFFFFFFF",
            "80540000 02 0102",
            // Another command.
            "00C20000 09 | 0020008004 31323334",
            // To the reader: a key, and a command for the card.
            "FF820000 06 | FFFFFFFFFFFF",
            "FF000000 09 | 0020008004 31323334",
            "FFCA0000 00",
            "FFCA0000 04",
            "FFB00000 10",
            // Files.
            "00D60000 02 0102",
        ] {
            check(command);
        }
    }

    #[test]
    fn what_a_card_has_decrypted_is_hidden_with_its_rest() {
        let hides = |command, was_secret| hides_response(&bytes(command), was_secret);
        for secret in [
            "002A8086 02 0102 00",
            "002B8086 02 0102 00",
            "B0360104 04 03010102",
            "B0560000 04 FFFFFFFF",
            "0087079D 02 7C00 00",
            "00880000 10",
            "A0880000 02 0102",
            "00C20000 02 0102",
            "00010000 02 0102",
            "FF000000 02 0102",
            "FFC20001 02 0102 00",
        ] {
            assert!(hides(secret, false), "{secret}");
        }
        for open in [
            "00A40400 02 A000",
            "002A9E9A 02 0102",
            "002B9E9A 02 0102",
            "80360104 02 0102",
            "00560000 02 0102",
            "00200080 04 31323334",
            "FFCA0000 00",
            "FFB00000 10",
            "00",
        ] {
            assert!(!hides(open, true), "{open}");
        }
        for rest in ["00C00000 00", "80C00000 00", "FFC00000 00"] {
            assert!(hides(rest, true) && !hides(rest, false), "{rest}");
        }
    }

    #[test]
    fn of_controls_only_what_is_known_to_be_open_is_shown() {
        let verify = [&[0; 19][..], &bytes("00200080 04 31323334")].concat();
        let modify = [&[0; 24][..], &bytes("00240080 04 31323334")].concat();
        // The last ones: EXECUTE_PACE, GET_KEY, an Escape, and no code of part 10.
        for (code, data, shown, answer) in [
            (GET_FEATURE_REQUEST, &[][..], 0, true),
            (Feature::GetTlvProperties.code(), &[], 0, true),
            (Feature::VerifyPinDirect.code(), &verify, 19 + 5, true),
            (Feature::ModifyPinDirect.code(), &modify, 24 + 5, true),
            (Feature::VerifyPinDirect.code(), &[1, 2, 3], 3, true),
            (Feature::VerifyPinDirect.code(), &verify[..26], 19 + 4, true),
            (Feature::MctReaderDirect.code(), &verify, 0, false),
            (control_code(0x33_0020), &[1, 2], 0, false),
            (control_code(0x33_0010), &[], 0, false),
            (VENDOR_IFD_EXCHANGE, &verify, 0, false),
            (control_code(2), &verify, 0, false),
        ] {
            let expected = ShownOfControl { data: shown, answer };
            assert_eq!(shown_of_control(code, data), expected, "{code:08X}");
        }
    }
}
