//! The user's options.

/// Bits of libccid's `ifdDriverOptions`.
const ESCAPES_ALLOWED: u32 = 0x01;
const ANY_FIRMWARE: u32 = 0x04;

/// The user's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Use a reader even if its firmware is known not to work.
    pub any_firmware: bool,
    /// Let applications send the reader commands of its own (`DRIVER_OPTION_CCID_EXCHANGE_AUTHORIZED`).
    pub allow_escape: bool,
    /// The language of a PIN pad's display, as two letters (ISO 639-1); English where the reader has no texts
    /// in it.
    pub language: [u8; 2],
}

impl Default for Options {
    fn default() -> Options {
        Options {
            any_firmware: false,
            allow_escape: false,
            language: *b"en",
        }
    }
}

impl Options {
    /// With the bits of libccid's `ifdDriverOptions`: 1 lets applications send Escapes, 4 uses any firmware.
    /// Others are libccid's own.
    pub fn with_driver_options(self, bits: u32) -> Options {
        Options {
            any_firmware: bits & ANY_FIRMWARE != 0,
            allow_escape: bits & ESCAPES_ALLOWED != 0,
            ..self
        }
    }

    /// With the language of a locale such as `fr_CH.UTF-8`, where it names one.
    pub fn with_locale(self, locale: &str) -> Options {
        let name = locale.split(['_', '.', '@']).next().unwrap_or_default();
        match *name.as_bytes() {
            [first @ b'a'..=b'z', second @ b'a'..=b'z'] => Options {
                language: [first, second],
                ..self
            },
            _ => self,
        }
    }
}

/// A number as libccid's settings have it: decimal, or hexadecimal after 0x.
pub fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_locales_are_libccids() {
        let options = Options::default().with_driver_options(0x05);
        assert!(options.allow_escape && options.any_firmware);
        assert_eq!(options.with_driver_options(0xFA), Options::default());
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
        for text in ["", "0x", "x", "-1", "4294967296"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
