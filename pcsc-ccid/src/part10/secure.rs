//! From part 10's structures to `abPINDataStructure` of PC_to_RDR_Secure (CCID 1.1, clause 6.1.11), with
//! what single readers want differently.

use super::gemalto::FirmwareFeatures;
use super::pin::{Modification, PinEntry, Verification, VALIDATION_KEY};
use crate::message::SlotErrorCode;
use crate::quirks::{ModifyMessages, PinQuirks};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use zeroize::Zeroize;

/// The data of a PC_to_RDR_Secure: `bPINOperation` and what belongs to it. `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq)]
pub struct SecureData(Vec<u8>);

impl Drop for SecureData {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

impl SecureData {
    /// The bytes to send. They must not be logged.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecureData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecureData({} bytes)", self.0.len())
    }
}

/// PIN verification, `bPINOperation` 0. `prologue` is zero unless the driver speaks T=1 for the reader, see
/// [`super::tpdu::prologue`].
pub fn verification(
    pin: &Verification<'_>,
    quirks: &PinQuirks,
    firmware: Option<&FirmwareFeatures>,
    prologue: [u8; 3],
) -> SecureData {
    let entry = &pin.entry;
    let mut digits = [entry.max_digits, entry.min_digits];
    if quirks.swaps_digits {
        digits.reverse();
    }
    let mut data = Vec::with_capacity(16 + pin.apdu.bytes().len());
    data.extend_from_slice(&[0, entry.timeout_s, entry.format, entry.block, entry.length_format]);
    data.extend_from_slice(&digits);
    data.push(validation(entry, quirks, firmware));
    data.push(quirks.verify_messages.unwrap_or(entry.messages));
    data.extend_from_slice(&entry.language.to_le_bytes());
    data.push(pin.message);
    data.extend_from_slice(&prologue);
    data.extend_from_slice(pin.apdu.bytes());
    SecureData(data)
}

/// PIN modification, `bPINOperation` 1. `prologue` as with [`verification`].
///
/// `bMsgIndex2` is sent unless there is no message, and `bMsgIndex3` where there are three or the reader's
/// own: what readers in the field take.
pub fn modification(
    pin: &Modification<'_>,
    quirks: &PinQuirks,
    firmware: Option<&FirmwareFeatures>,
    prologue: [u8; 3],
) -> SecureData {
    let entry = &pin.entry;
    // Newer firmware of the same product takes the structure of the specification.
    let mended = firmware.is_some_and(|firmware| firmware.message_count_mended);
    let way = match quirks.modify_messages {
        ModifyMessages::AllIndices if mended => ModifyMessages::AsIs,
        way => way,
    };
    let usual = |messages| match messages {
        0 => 1,
        1 | 2 => 2,
        _ => 3,
    };
    let (messages, indices, count) = match way {
        ModifyMessages::AsIs => (entry.messages, pin.indices, usual(entry.messages)),
        ModifyMessages::NoneWithIndices => (0, [0; 3], 3),
        ModifyMessages::Three => (3, pin.indices, 3),
        ModifyMessages::AllIndices => (entry.messages, pin.indices, 3),
        ModifyMessages::DefaultForNone if entry.messages == 0 => (0xFF, pin.indices, 3),
        ModifyMessages::DefaultForNone => (entry.messages, pin.indices, usual(entry.messages)),
    };
    let mut data = Vec::with_capacity(21 + pin.apdu.bytes().len());
    data.extend_from_slice(&[1, entry.timeout_s, entry.format, entry.block, entry.length_format]);
    data.extend_from_slice(&[pin.old_offset, pin.new_offset, entry.max_digits, entry.min_digits]);
    data.extend_from_slice(&[pin.confirm, validation(entry, quirks, firmware), messages]);
    data.extend_from_slice(&entry.language.to_le_bytes());
    data.extend(indices.iter().take(count));
    data.extend_from_slice(&prologue);
    data.extend_from_slice(pin.apdu.bytes());
    SecureData(data)
}

fn validation(entry: &PinEntry, quirks: &PinQuirks, firmware: Option<&FirmwareFeatures>) -> u8 {
    if quirks.validation_key_only {
        return VALIDATION_KEY;
    }
    let possible = firmware.map_or(0xFF, |firmware| firmware.validation);
    // A condition that the pad cannot meet would let the entry end by its timeout only.
    match entry.validation & possible {
        0 => VALIDATION_KEY,
        both => both,
    }
}

/// The Escape that must be sent before a verification, if this reader needs one: the command is a header
/// alone, and the PIN's block has no fixed length.
pub fn escape_before(pin: &Verification<'_>, quirks: &PinQuirks) -> Option<&'static [u8]> {
    quirks
        .append_pin
        .filter(|_| pin.entry.block == 0 && pin.apdu.bytes().len() == 4)
}

/// How long a user may take: what the structure allows and 10 s more, at least 90 s.
pub fn answer_limit(entry: &PinEntry) -> Duration {
    Duration::from_secs(u64::from(entry.timeout_s).saturating_add(10).max(90))
}

/// The status word by which part 10 (clause 2.5) reports what happened at the PIN pad instead of a card's
/// answer: 6400 for no PIN in time, 6401 for the cancel key.
pub fn status_word(error: SlotErrorCode) -> Option<[u8; 2]> {
    match error {
        SlotErrorCode::PinTimeout => Some([0x64, 0x00]),
        SlotErrorCode::PinCancelled => Some([0x64, 0x01]),
        _ => None,
    }
}
