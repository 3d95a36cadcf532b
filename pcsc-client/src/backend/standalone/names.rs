//! What readers are called: the driver's name for the model, then the reader's and the slot's number in two
//! hexadecimal digits each, as pcscd has it, so that names which programs remember still fit.

use crate::env;

/// The longest name: `MAX_READERNAME` of the C API, less the final zero.
const MAX_NAME: usize = 127;
/// " 00 00".
const NUMBERS: usize = 6;

/// The user's wishes for readers' names.
#[derive(Debug, Default)]
pub struct Names {
    ignored: Vec<String>,
    extension: String,
}

impl Names {
    /// What `PCSCLITE_FILTER_IGNORE_READER_NAMES` and `PCSCLITE_FILTER_EXTEND_READER_NAMES` say, which mean
    /// to this process what they mean to pcscd: parts of names between colons, any of which makes a reader
    /// ignored; and what to append to each reader's name.
    pub fn from_environment() -> Names {
        let text = |name| env::var(name).map_or(String::new(), |value| value.to_string_lossy().into_owned());
        Names::new(
            &text("PCSCLITE_FILTER_IGNORE_READER_NAMES"),
            &text("PCSCLITE_FILTER_EXTEND_READER_NAMES"),
        )
    }

    fn new(ignored: &str, extension: &str) -> Names {
        let parts = ignored.split(':').filter(|part| !part.is_empty());
        Names {
            ignored: parts.map(str::to_owned).collect(),
            extension: extension.to_owned(),
        }
    }

    /// The part of the user's list that makes this reader ignored.
    pub fn ignores(&self, name: &str) -> Option<&str> {
        let ignored = self.ignored.iter();
        ignored.map(String::as_str).find(|part| name.contains(part))
    }

    /// The name of a slot.
    pub fn of_slot(&self, name: &str, reader: u8, slot: u8) -> String {
        let room = MAX_NAME - NUMBERS;
        let whole = [cut(name, room), self.extension.as_str()].concat();
        format!("{} {reader:02X} {slot:02X}", cut(&whole, room))
    }
}

/// The beginning of a text that fits, without half a character at its end.
fn cut(text: &str, room: usize) -> &str {
    let end = (0..=room.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// The lowest number that is free.
pub fn free_number(taken: &[u8]) -> Option<u8> {
    (0..=u8::MAX).find(|number| !taken.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filtered_extended_and_cut() {
        let names = Names::new("Yubi::Feitian", " (container)");
        assert_eq!(names.ignores("Yubico YubiKey OTP+FIDO+CCID"), Some("Yubi"));
        assert_eq!(names.ignores("Alcor Micro AU9540"), None);
        assert_eq!(
            names.of_slot("Alcor Micro AU9540", 1, 0x1A),
            "Alcor Micro AU9540 (container) 01 1A"
        );
        assert_eq!(Names::new("", "").ignores("any"), None);
        let long = Names::new("", "").of_slot(&"é".repeat(100), 0, 0);
        assert!(long.len() <= MAX_NAME && long.ends_with("é 00 00"), "{long}");
    }

    #[test]
    fn numbers_are_used_again() {
        assert_eq!(free_number(&[0, 2, 1, 4]), Some(3));
        assert_eq!(free_number(&[]), Some(0));
        assert_eq!(free_number(&(0..=255).collect::<Vec<u8>>()), None);
    }
}
