//! PIN_VERIFY and PIN_MODIFY (part 10, clauses 2.5.2 and 2.5.3): decoded.
//!
//! Numbers of several bytes may come in either byte order: `ulDataLength` shows which, and the other
//! numbers have the same. A `bEntryValidationCondition` without meaning becomes "validation key pressed",
//! for some readers crash on it. The lengths must fit, and the number of a modification's messages, which
//! decides where its fields are. All other values go to the reader as they are, as with libccid: programs
//! pass values beyond part 10 that their readers take.

use core::fmt;

/// Length of PIN_VERIFY without its data.
pub(crate) const VERIFY_HEADER: usize = 19;
/// Length of PIN_MODIFY without its data.
pub(crate) const MODIFY_HEADER: usize = 24;
/// `bEntryValidationCondition`: the PIN is complete when the validation key is pressed.
pub(crate) const VALIDATION_KEY: u8 = 0x02;

/// The command for the card into which the reader puts the PIN. `Debug` shows its length only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Apdu<'a>(&'a [u8]);

impl<'a> Apdu<'a> {
    /// Its bytes. They may hold what must not be logged.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for Apdu<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Apdu({} bytes)", self.0.len())
    }
}

/// How a PIN is typed and put into the command; the same for both structures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PinEntry {
    /// `bTimerOut` in seconds; 0 for the reader's own.
    pub timeout_s: u8,
    /// `bTimerOut2`: seconds after the first key. CCID has no place for it.
    pub second_timeout_s: u8,
    /// `bmFormatString`: unit, position, justification and kind of the PIN.
    pub format: u8,
    /// `bmPINBlockString`: bits of the PIN's length, bytes of the PIN's block.
    pub block: u8,
    /// `bmPINLengthFormat`: unit and position of the PIN's length.
    pub length_format: u8,
    /// Fewest digits (high byte of `wPINMaxExtraDigit`).
    pub min_digits: u8,
    /// Most digits (low byte of `wPINMaxExtraDigit`).
    pub max_digits: u8,
    /// `bEntryValidationCondition`: 1 to 7.
    pub validation: u8,
    /// `bNumberMessage`: how many messages to show; FF for the reader's own.
    pub messages: u8,
    /// `wLangId`.
    pub language: u16,
}

/// PIN_VERIFY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification<'a> {
    /// How the PIN is typed.
    pub entry: PinEntry,
    /// `bMsgIndex`.
    pub message: u8,
    /// `abData`.
    pub apdu: Apdu<'a>,
}

/// PIN_MODIFY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Modification<'a> {
    /// How the PINs are typed.
    pub entry: PinEntry,
    /// `bInsertionOffsetOld`: where in the data the current PIN goes, in bytes.
    pub old_offset: u8,
    /// `bInsertionOffsetNew`: where the new one goes.
    pub new_offset: u8,
    /// `bConfirmPIN`: bit 0, type the new PIN twice; bit 1, type the current PIN.
    pub confirm: u8,
    /// `bMsgIndex1`, `bMsgIndex2` and `bMsgIndex3`.
    pub indices: [u8; 3],
    /// `abData`.
    pub apdu: Apdu<'a>,
}

impl<'a> Verification<'a> {
    /// Decodes PIN_VERIFY; `None` if a length does not fit.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (fields, apdu, swapped) = split::<VERIFY_HEADER>(bytes)?;
        let [s0, s1, s2, s3, s4, d0, d1, validation, messages, l0, l1, message, ..] = *fields;
        let keys = [validation, messages, l0, l1];
        let entry = PinEntry::decode([s0, s1, s2, s3, s4], [d0, d1], keys, swapped);
        Some(Verification {
            entry,
            message,
            apdu: Apdu(apdu),
        })
    }
}

impl<'a> Modification<'a> {
    /// Decodes PIN_MODIFY; `None` if a length does not fit, or for a number of messages that has no meaning.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (fields, apdu, swapped) = split::<MODIFY_HEADER>(bytes)?;
        let [s0, s1, s2, s3, s4, old_offset, new_offset, d0, d1, rest @ ..] = *fields;
        let [confirm, validation, messages, l0, l1, i1, i2, i3, ..] = rest;
        if !matches!(messages, 0..=3 | 0xFF) {
            return None;
        }
        let keys = [validation, messages, l0, l1];
        let entry = PinEntry::decode([s0, s1, s2, s3, s4], [d0, d1], keys, swapped);
        Some(Modification {
            entry,
            old_offset,
            new_offset,
            confirm,
            indices: [i1, i2, i3],
            apdu: Apdu(apdu),
        })
    }
}

impl PinEntry {
    /// From the fields up to `bmPINLengthFormat`, `wPINMaxExtraDigit`, and those from
    /// `bEntryValidationCondition` to `wLangId`.
    fn decode(
        [timeout_s, second_timeout_s, format, block, length_format]: [u8; 5],
        [d0, d1]: [u8; 2],
        [validation, messages, l0, l1]: [u8; 4],
        swapped: bool,
    ) -> PinEntry {
        PinEntry {
            timeout_s,
            second_timeout_s,
            format,
            block,
            length_format,
            min_digits: if swapped { d0 } else { d1 },
            max_digits: if swapped { d1 } else { d0 },
            validation: sound_validation(validation),
            messages,
            language: number(l0, l1, swapped),
        }
    }
}

/// The header's fields, the data, and whether numbers are big endian.
fn split<const HEADER: usize>(bytes: &[u8]) -> Option<(&[u8; HEADER], &[u8], bool)> {
    let (fields, data) = bytes.split_first_chunk::<HEADER>()?;
    let (_, length) = fields.split_last_chunk::<4>()?;
    let is = |number: u32| usize::try_from(number) == Ok(data.len());
    // Little endian is PC/SC's order and is tried first. Programs on big-endian machines pass the numbers in
    // their own.
    let is_little = is(u32::from_le_bytes(*length));
    // The data have a command's header at least.
    let is_sound = data.len() >= 4 && (is_little || is(u32::from_be_bytes(*length)));
    is_sound.then_some((fields, data, !is_little))
}

fn number(first: u8, second: u8, swapped: bool) -> u16 {
    if swapped {
        u16::from_be_bytes([first, second])
    } else {
        u16::from_le_bytes([first, second])
    }
}

fn sound_validation(value: u8) -> u8 {
    match value {
        1..=7 => value,
        _ => VALIDATION_KEY,
    }
}
