//! Bytes in which PINs and keys are hidden, as records have them.

use std::fmt::Write;
use std::ops::Range;

/// Bytes; `None` for those that are hidden, in the place of which any byte is right.
pub type Masked = Vec<Option<u8>>;

/// These bytes, of which a range is hidden.
pub fn hide(bytes: &[u8], secret: Range<usize>) -> Masked {
    let byte = |(at, byte): (usize, &u8)| (!secret.contains(&at)).then_some(*byte);
    bytes.iter().enumerate().map(byte).collect()
}

/// These bytes, of which none is hidden.
pub fn shown(bytes: &[u8]) -> Masked {
    hide(bytes, 0..0)
}

/// Whether these bytes are the recorded ones, whatever is hidden.
pub fn matches(recorded: &[Option<u8>], bytes: &[u8]) -> bool {
    let is_equal = |(recorded, byte): (&Option<u8>, &u8)| recorded.is_none_or(|known| known == *byte);
    recorded.len() == bytes.len() && recorded.iter().zip(bytes).all(is_equal)
}

/// Hexadecimal digits, and `**` for a byte that is hidden.
pub fn text(bytes: &[Option<u8>]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = match byte {
            Some(byte) => write!(text, "{byte:02X}"),
            None => write!(text, "**"),
        };
        text
    })
}

/// The [`text`] of the first bytes, as many as `shown` returns, and `**` for the others. A record may have
/// been made with its secrets, so that what is not hidden in it may be secret too. A hidden byte is 0 for
/// `shown`.
pub fn public(bytes: &[Option<u8>], shown: impl FnOnce(&[u8]) -> usize) -> String {
    let known: Vec<u8> = bytes.iter().map(|byte| byte.unwrap_or_default()).collect();
    let shown = shown(&known).min(bytes.len());
    text(&bytes[..shown]) + &"**".repeat(bytes.len() - shown)
}

/// Reads what [`text`] has written, in either case.
///
/// # Errors
/// The number of the first pair, from 1, that is neither two digits nor `**`.
pub fn parse(text: &str) -> Result<Masked, usize> {
    let digit = |digit: u8| Some(char::from(digit).to_digit(16)? as u8);
    let byte = |pair: &[u8]| match *pair {
        [b'*', b'*'] => Some(None),
        [high, low] => Some(Some(digit(high)? << 4 | digit(low)?)),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2).enumerate();
    pairs.map(|(at, pair)| byte(pair).ok_or(at + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_bytes_are_in_no_text_and_match_any() {
        let masked = hide(&[0x00, 0x20, 0xAB, 0xCD], 2..3);
        assert_eq!(masked, [Some(0x00), Some(0x20), None, Some(0xCD)]);
        assert_eq!(text(&masked), "0020**CD");
        assert!(matches(&masked, &[0x00, 0x20, 0x77, 0xCD]));
        assert!(!matches(&masked, &[0x00, 0x21, 0xAB, 0xCD]));
        assert!(!matches(&masked, &[0x00, 0x20, 0xAB]));
        assert!(!matches(&masked, &[0x00, 0x20, 0xAB, 0xCD, 0x00]));
    }

    #[test]
    fn a_text_is_read_as_it_was_written() {
        assert_eq!(parse("9fA0**"), Ok(vec![Some(0x9F), Some(0xA0), None]));
        assert_eq!(parse(""), Ok(Vec::new()));
        for (text, pair) in [
            ("0", 1),
            ("00*", 2),
            ("000G", 2),
            ("00*0", 2),
            ("0000+1", 3),
            ("é", 1),
        ] {
            assert_eq!(parse(text), Err(pair), "{text}");
        }
    }
}
