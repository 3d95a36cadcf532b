//! The PIN pad (CCID 1.1, clause 6.1.11): what is typed becomes a PIN block in the APDU.

use std::collections::VecDeque;
use std::time::Duration;

use super::exchange::Block;
use super::model::Model;
use super::oddities::Oddities;
use super::reply::Reply;
use super::slot::Slot;
use pcsc_ccid::descriptor::ExchangeLevel;
use pcsc_ccid::message::{SlotErrorCode, HEADER_SIZE};

/// What ends an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Key {
    /// These digits, then the validation key.
    Pin(String),
    /// The cancel key.
    Cancel,
    /// Nothing more: the reader's time goes by.
    Nothing,
}

/// One entry at the PIN pad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeypadEntry {
    /// How long it takes.
    pub takes: Duration,
    /// Its end.
    pub key: Key,
}

impl KeypadEntry {
    /// These digits, at once.
    pub fn pin(digits: &str) -> KeypadEntry {
        KeypadEntry {
            takes: Duration::ZERO,
            key: Key::Pin(digits.into()),
        }
    }
}

/// What will be typed, entry by entry. Where it is used up, nothing is.
#[derive(Default)]
pub(super) struct Keypad {
    pub script: VecDeque<KeypadEntry>,
}

/// `bTimeOut` 0: the reader's own.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a reader says that it is still waiting.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// Where the structures' fields are in the message.
const DATA: u8 = HEADER_SIZE as u8;

/// Format of a PIN in an APDU: `bmFormatString`, `bmPINBlockString`, `bmPINLengthFormat` and the two
/// offsets that a modification adds.
struct Format {
    format: u8,
    block: u8,
    length: u8,
}

impl Slot {
    /// PIN verification or modification: keys, then the APDU.
    pub(super) fn secure(
        &mut self,
        level: u16,
        data: &[u8],
        reader: (&Model, &Oddities),
        keypad: &mut Keypad,
    ) -> Reply {
        let mut waited = Duration::ZERO;
        let answer = self.enter(level, data, reader, keypad, &mut waited);
        Reply {
            delay: waited,
            ..answer.map_or_else(Reply::failed, Reply::data)
        }
    }

    fn enter(
        &mut self,
        level: u16,
        data: &[u8],
        (model, oddities): (&Model, &Oddities),
        keypad: &mut Keypad,
        waited: &mut Duration,
    ) -> Result<Vec<u8>, SlotErrorCode> {
        self.live()?;
        let wrong = |at: u8| SlotErrorCode::Parameter(DATA + at);
        let (&operation, fields) = data.split_first().ok_or(SlotErrorCode::Parameter(1))?;
        let supported = model.descriptor.pin_support;
        let started = self.elapsed();
        self.began = started;
        let (apdu, prologue) = match operation {
            0 if supported & 1 != 0 => {
                // bTimeOut bmFormatString bmPINBlockString bmPINLengthFormat wPINMaxExtraDigit
                // bEntryValidationCondition bNumberMessage wLangId bMsgIndex bTeoPrologue abPINApdu
                let &[timeout, format, block, length, max, min, _, _, _, _, _, a, b, c, ref apdu @ ..] =
                    fields
                else {
                    return Err(SlotErrorCode::Parameter(1));
                };
                check_digits(min, max).ok_or(wrong(5))?;
                let format = Format {
                    format,
                    block,
                    length,
                };
                let pin = self.entry(keypad, timeout, started, waited, (min, max))?;
                (fill(apdu, &format, 0, &pin).ok_or(wrong(2))?, [a, b, c])
            }
            1 if supported & 2 != 0 => {
                let (fixed, rest) = fields.split_at_checked(10).ok_or(SlotErrorCode::Parameter(1))?;
                let [timeout, format, block, length, old_at, new_at, max, min, confirm, _] = *fixed else {
                    return Err(SlotErrorCode::Parameter(1));
                };
                check_digits(min, max).ok_or(wrong(7))?;
                // bNumberMessage, wLangId, then as many message indexes as go with the number.
                let (&messages, rest) = rest.split_first().ok_or(SlotErrorCode::Parameter(1))?;
                let indexes = match messages {
                    _ if oddities.all_message_indexes => 3,
                    0 => 1,
                    1 | 2 => 2,
                    3 | 0xFF => 3,
                    _ => return Err(wrong(11)),
                };
                let (_, rest) = rest
                    .split_at_checked(2 + indexes)
                    .ok_or(SlotErrorCode::Parameter(1))?;
                let &[a, b, c, ref apdu @ ..] = rest else {
                    return Err(SlotErrorCode::Parameter(1));
                };
                let format = Format {
                    format,
                    block,
                    length,
                };
                let mut filled = apdu.to_vec();
                if confirm & 2 != 0 {
                    let old = self.entry(keypad, timeout, started, waited, (min, max))?;
                    filled = fill(&filled, &format, old_at, &old).ok_or(wrong(5))?;
                }
                let new = self.entry(keypad, timeout, started, waited, (min, max))?;
                if confirm & 1 != 0 && self.entry(keypad, timeout, started, waited, (min, max))? != new {
                    return Err(SlotErrorCode::PinCancelled);
                }
                (fill(&filled, &format, new_at, &new).ok_or(wrong(6))?, [a, b, c])
            }
            4 => return Err(SlotErrorCode::PinCancelled),
            _ => return Err(wrong(0)),
        };
        let is_t1 = self.parameters.protocol == 1;
        let whole = match model.descriptor.features.exchange_level() {
            ExchangeLevel::ShortApdu => return self.apdu(&apdu, model),
            ExchangeLevel::ExtendedApdu if level == 0 => return self.apdu(&apdu, model),
            ExchangeLevel::ExtendedApdu => return Err(SlotErrorCode::Parameter(8)),
            ExchangeLevel::Tpdu | ExchangeLevel::Character if is_t1 => {
                let mut block = [&prologue[..], &apdu].concat();
                // LEN and the check bytes are the pad's: the host does not know how long the PIN is.
                block[2] = u8::try_from(apdu.len()).map_err(|_| SlotErrorCode::Overrun)?;
                let edc = self.parameters.edc();
                let check = edc.compute(&block);
                block.extend(&check[..edc.size()]);
                block
            }
            ExchangeLevel::Tpdu | ExchangeLevel::Character => apdu,
        };
        let block = Block {
            bwi: 1,
            level: 0,
            data: &whole,
        };
        self.tpdu(block, model)
    }

    /// Waits for one entry; meanwhile the reader shows that it lives.
    fn entry(
        &mut self,
        keypad: &mut Keypad,
        timeout: u8,
        started: Duration,
        waited: &mut Duration,
        (min, max): (u8, u8),
    ) -> Result<Vec<u8>, SlotErrorCode> {
        let limit = match timeout {
            0 => DEFAULT_TIMEOUT,
            seconds => Duration::from_secs(seconds.into()),
        };
        let entry = keypad.script.pop_front().unwrap_or(KeypadEntry {
            takes: limit,
            key: Key::Nothing,
        });
        let takes = match entry.key {
            Key::Nothing => limit,
            _ => entry.takes.min(limit),
        };
        let mut sign = SIGN_OF_LIFE;
        while sign < takes {
            self.extensions.push((started + *waited + sign, 1));
            sign += SIGN_OF_LIFE;
        }
        *waited += takes;
        match entry.key {
            _ if entry.takes > limit => Err(SlotErrorCode::PinTimeout),
            Key::Nothing => Err(SlotErrorCode::PinTimeout),
            Key::Cancel => Err(SlotErrorCode::PinCancelled),
            Key::Pin(digits) => {
                let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_digit).collect();
                match (usize::from(min)..=usize::from(max)).contains(&digits.len()) {
                    true => Ok(digits),
                    // Too short or too long: the pad does not take the validation key.
                    false => Err(SlotErrorCode::PinTimeout),
                }
            }
        }
    }
}

/// `wPINMaxExtraDigit`: the smallest and the largest number of digits.
fn check_digits(min: u8, max: u8) -> Option<()> {
    (min <= max && max > 0 && max <= 16).then_some(())
}

/// Writes a PIN into the APDU's data field as the format says; the APDU grows where it is too short.
fn fill(apdu: &[u8], format: &Format, offset: u8, pin: &[u8]) -> Option<Vec<u8>> {
    const DATA_FIELD: usize = 5;
    let mut apdu = apdu.to_vec();
    if apdu.len() < 4 {
        return None;
    }
    let block_size = usize::from(format.block & 0x0F);
    let coded: Vec<u8> = match format.format & 3 {
        0 => pin.iter().map(|digit| digit - b'0').collect(),
        1 => pin
            .chunks(2)
            .map(|pair| {
                let low = pair.get(1).map_or(0x0F, |digit| digit - b'0');
                (pair[0] - b'0') << 4 | low
            })
            .collect(),
        2 => pin.to_vec(),
        _ => return None,
    };
    let in_bytes = format.format & 0x80 != 0;
    let position = usize::from(format.format >> 3 & 0x0F);
    let position = match in_bytes {
        true => position,
        false if position % 8 == 0 => position / 8,
        false => return None,
    };
    let size = match block_size {
        0 => coded.len(),
        size if size < coded.len() => return None,
        size => size,
    };
    let start = DATA_FIELD + usize::from(offset) + position;
    if apdu.len() < start + size {
        if apdu.len() < DATA_FIELD {
            apdu.resize(DATA_FIELD, 0);
        }
        apdu.resize(start + size, 0xFF);
        apdu[4] = u8::try_from(apdu.len() - DATA_FIELD).ok()?;
    }
    let at = match format.format & 4 {
        0 => start,
        _ => start + size - coded.len(),
    };
    apdu[at..at + coded.len()].copy_from_slice(&coded);
    let length_bits = format.block >> 4;
    if length_bits > 0 {
        let position = usize::from(format.length & 0x0F);
        let (byte, shift) = match format.length & 0x10 {
            0 => (
                position / 8,
                8usize.checked_sub(position % 8 + usize::from(length_bits))?,
            ),
            _ => (position, 8usize.checked_sub(usize::from(length_bits))?),
        };
        let place = apdu.get_mut(DATA_FIELD + usize::from(offset) + byte)?;
        let mask = ((1u16 << length_bits) - 1) as u8;
        *place = *place & !(mask << shift) | (pin.len() as u8 & mask) << shift;
    }
    Some(apdu)
}
