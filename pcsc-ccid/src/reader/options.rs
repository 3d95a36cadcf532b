//! The user's options.

use crate::message::Voltage;

/// Bits of libccid's `ifdDriverOptions`.
const ESCAPES_ALLOWED: u32 = 0x01;
const ANY_FIRMWARE: u32 = 0x04;
/// The first voltage, in bits 5 and 4.
const VOLTAGES: [Voltage; 4] = [Voltage::V5, Voltage::V3, Voltage::V1_8, Voltage::Automatic];

/// The user's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderOptions {
    /// Use a reader even if its firmware is known not to work.
    pub any_firmware: bool,
    /// Let applications send the reader commands of its own (`DRIVER_OPTION_CCID_EXCHANGE_AUTHORIZED`).
    pub allow_escape: bool,
    /// The language of a PIN pad's display, as two letters (ISO 639-1); English where the reader has no texts
    /// in it.
    pub language: [u8; 2],
    /// The voltage that a card is powered up with first, if the reader leaves the choice to the host. The
    /// others follow if the card does not answer; after [`Voltage::Automatic`], if the reader cannot choose.
    pub first_voltage: Voltage,
}

impl Default for ReaderOptions {
    fn default() -> ReaderOptions {
        ReaderOptions {
            any_firmware: false,
            allow_escape: false,
            language: *b"en",
            first_voltage: Voltage::V5,
        }
    }
}

impl ReaderOptions {
    /// With the bits of libccid's `ifdDriverOptions`: 1 lets applications send Escapes, 4 uses any firmware,
    /// 0x10, 0x20 and 0x30 select 3 V, 1.8 V and the reader's choice for the first voltage. 2, which brings
    /// a GemPC Twin or Key to EMV's APDU mode, has no effect. 0x40 is always in force: a GemPC PIN pad does
    /// not ask the card for the tries that are left, because some cards count that as a wrong PIN.
    pub fn with_driver_options(self, bits: u32) -> ReaderOptions {
        ReaderOptions {
            any_firmware: bits & ANY_FIRMWARE != 0,
            allow_escape: bits & ESCAPES_ALLOWED != 0,
            first_voltage: VOLTAGES[(bits >> 4 & 3) as usize],
            ..self
        }
    }

    /// With the language of a locale such as `fr_CH.UTF-8`, where it names one.
    pub fn with_locale(self, locale: &str) -> ReaderOptions {
        let name = locale.split(['_', '.', '@']).next().unwrap_or_default();
        match *name.as_bytes() {
            [first @ b'a'..=b'z', second @ b'a'..=b'z'] => ReaderOptions {
                language: [first, second],
                ..self
            },
            _ => self,
        }
    }
}

/// A number as libccid's settings have it: decimal, octal after 0, or hexadecimal after 0x.
pub fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    // `from_str_radix` takes a sign too.
    let is_number = digits.starts_with(|digit: char| digit.is_ascii_hexdigit());
    u32::from_str_radix(digits, radix).ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_locales_are_libccids() {
        let options = ReaderOptions::default().with_driver_options(0x05);
        assert!(options.allow_escape && options.any_firmware);
        assert_eq!(options.with_driver_options(0xCA), ReaderOptions::default());
        let voltage = |bits| options.with_driver_options(bits).first_voltage;
        assert_eq!(
            [0x0F, 0x10, 0x21, 0xF0].map(voltage),
            [Voltage::V5, Voltage::V3, Voltage::V1_8, Voltage::Automatic]
        );
        assert_eq!(options.with_locale("fr_CH.UTF-8").language, *b"fr");
        for locale in ["", "C", "C.UTF-8", "POSIX", "FR", "_", "é"] {
            assert_eq!(options.with_locale(locale), options, "{locale}");
        }
    }

    #[test]
    fn numbers_are_c_s() {
        assert_eq!(number(" 0x0005\n"), Some(5));
        assert_eq!(number("0XfF"), Some(255));
        assert_eq!(number("12"), Some(12));
        assert_eq!(
            ["0", "00", "012", "0x"].map(number),
            [Some(0), Some(0), Some(10), None]
        );
        for text in ["", "0x", "x", "-1", "+1", "0x+1", "0+1", "08", "0é", "4294967296"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
