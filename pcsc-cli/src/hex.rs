//! Bytes in hexadecimal digits.

use pcsc_sim::masked;

/// Two capital digits for each byte, without spaces: for JSON.
pub fn compact(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Two capital digits for each byte, with spaces between: for people.
pub fn spaced(bytes: &[u8]) -> String {
    pairs(&compact(bytes))
}

/// Digits in pairs, with spaces between. The pairs may be `**`, for a byte that is not shown.
pub fn pairs(digits: &str) -> String {
    let pairs = digits.as_bytes().chunks(2);
    let pairs: Vec<_> = pairs.map(String::from_utf8_lossy).collect();
    pairs.join(" ")
}

/// Reads digits in pairs; `None` for anything else, and for an odd number of them.
pub fn parse(digits: &str) -> Option<Vec<u8>> {
    masked::parse(digits).ok()?.into_iter().collect()
}

/// Reads bytes with blanks or colons between them, or with nothing between them.
pub fn parse_spaced(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    parse(&digits).filter(|bytes| !bytes.is_empty())
}

/// The text that bytes are in ASCII, with a dot for each other byte; `None` where less than half are text.
pub fn ascii(bytes: &[u8]) -> Option<String> {
    let is_text = |byte: &u8| matches!(byte, 0x20..=0x7E);
    let texts = bytes.iter().filter(|byte| is_text(byte)).count();
    let shown = |byte: &u8| if is_text(byte) { char::from(*byte) } else { '.' };
    (texts > 0 && texts * 2 >= bytes.len()).then(|| bytes.iter().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_and_written() {
        assert_eq!(parse("00a4FF"), Some(vec![0x00, 0xA4, 0xFF]));
        for wrong in ["0", "000", "**", "0g", "g0", "+1", " 00", "é0"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(parse_spaced("3B:00 1\t2"), Some(vec![0x3B, 0x00, 0x12]));
        assert_eq!(parse_spaced(" "), None);
        assert_eq!(compact(&[0, 0xAB]), "00AB");
        assert_eq!(spaced(&[0, 0xAB]), "00 AB");
        assert_eq!(ascii(b"JCOP\x00"), Some("JCOP.".into()));
        assert_eq!(ascii(&[0, 1, 0x41]), None);
        assert_eq!(ascii(&[0x41, 0]), Some("A.".into()));
        assert_eq!(ascii(&[]), None);
        assert_eq!(ascii(b" ~\x7F"), Some(" ~.".into()));
        assert_eq!(pairs("00A4**"), "00 A4 **");
    }
}
