//! PIN pads with Gemalto's firmware: its features, and the messages on the display.

/// The Escape that asks for the firmware's name.
pub const FIRMWARE_ID: [u8; 1] = [0x02];
/// The Escape that asks for [`FirmwareFeatures`].
pub(crate) const FIRMWARE_FEATURES: [u8; 1] = [0x6A];
/// The Escape after which the reader no longer asks the card for the tries that are left: some cards take
/// that for a wrong PIN.
pub(crate) const NO_RETRY_COUNTER: [u8; 2] = [0xB5, 0x00];

/// The answer to the Escape 6A.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FirmwareFeatures {
    /// What can end the entry of a PIN, see [`super::pin::PinEntry::validation`].
    pub validation: u8,
    /// Whether the indices of a modification's messages may be left out as CCID says.
    pub message_count_mended: bool,
    /// Whether pseudo-APDUs may be sent to it, in XfrBlock.
    pub pseudo_apdus: bool,
    /// Fewest digits of a PIN.
    pub min_digits: u8,
    /// Most digits of a PIN.
    pub max_digits: u8,
}

impl FirmwareFeatures {
    /// Decodes the answer. A reader that does not support the Escape answers something else, or nothing.
    pub fn decode(bytes: &[u8]) -> Option<FirmwareFeatures> {
        let bytes: &[u8; 21] = bytes.try_into().ok()?;
        let [_, _, _, validation, _, _, _, _, flags, _, _, _, _, rest @ ..] = *bytes;
        let [min_digits, max_digits, ..] = rest;
        Some(FirmwareFeatures {
            validation,
            message_count_mended: flags & 0x04 != 0,
            pseudo_apdus: flags & 0x08 != 0,
            min_digits,
            max_digits,
        })
    }
}

/// How long the Escape with the messages is.
pub const MESSAGES_SIZE: usize = 5 + MESSAGES * WIDTH;
const MESSAGES: usize = 10;
const WIDTH: usize = 16;

/// In the order of the reader's memory: enter, new, again, right, wrong, too late, tries left (the star
/// becomes the number), insert, card error, blocked. The display has 16 columns and no accents.
///
/// A line for each language: its two letters and the messages, separated by tabs.
const LANGUAGES: &str = include_str!("gemalto.txt");

/// The Escape that loads the display's messages in a language (its two letters; what follows them, as in
/// `de_AT`, is ignored). An unknown language gets English.
pub fn load_messages(language: &str) -> [u8; MESSAGES_SIZE] {
    let texts = LANGUAGES
        .lines()
        .find(|line| language.starts_with(&line[..2]))
        .or(LANGUAGES.lines().next())
        .map(|line| line.split('\t').skip(1));
    let mut escape = [b' '; MESSAGES_SIZE];
    // The command, the memory's address and offset, and two bytes that say "ML".
    let (header, places) = escape.split_at_mut(5);
    header.copy_from_slice(&[0xB2, 0xA0, 0x00, 0x4D, 0x4C]);
    for (place, text) in places.chunks_exact_mut(WIDTH).zip(texts.into_iter().flatten()) {
        for (column, byte) in place.iter_mut().zip(text.bytes()) {
            *column = byte;
        }
    }
    escape
}
