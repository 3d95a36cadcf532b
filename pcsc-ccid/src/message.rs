//! CCID messages, both directions (CCID 1.1, clauses 6.1 to 6.3). Bytes to values and back, without I/O.

use core::fmt;

/// Length of the header before every message's data.
pub const HEADER_SIZE: usize = 10;

/// Where an APDU or a block that takes several messages stands (`wLevelParameter` and
/// `bChainParameter`, clauses 6.1.4 and 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Chain {
    /// Begins and ends here.
    #[default]
    Whole = 0x00,
    /// Begins here and goes on.
    Begins = 0x01,
    /// Goes on from before and ends here.
    Ends = 0x02,
    /// Goes on from before, and further.
    Continues = 0x03,
    /// No data: the other side is to go on.
    Expected = 0x10,
}

impl Chain {
    fn decode(byte: u8) -> Option<Chain> {
        Some(match byte {
            0x00 => Chain::Whole,
            0x01 => Chain::Begins,
            0x02 => Chain::Ends,
            0x03 => Chain::Continues,
            0x10 => Chain::Expected,
            _ => return None,
        })
    }

    /// Whether more data follow in the same direction.
    pub const fn has_more(self) -> bool {
        matches!(self, Chain::Begins | Chain::Continues)
    }
}

/// The supply voltage asked for at power-up (`bPowerSelect`, clause 6.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Voltage {
    /// The reader's choice.
    #[default]
    Automatic = 0,
    /// 5 V, class A.
    V5 = 1,
    /// 3 V, class B.
    V3 = 2,
    /// 1.8 V, class C.
    V1_8 = 3,
}

/// What a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// PC_to_RDR_IccPowerOn (clause 6.1.1).
    IccPowerOn(Voltage),
    /// PC_to_RDR_IccPowerOff (clause 6.1.2).
    IccPowerOff,
    /// PC_to_RDR_GetSlotStatus (clause 6.1.3).
    GetSlotStatus,
    /// PC_to_RDR_XfrBlock (clause 6.1.4).
    XfrBlock {
        /// `bBWI`: the waiting time's multiplier, for this block only.
        bwi: u8,
        /// `wLevelParameter`: at character level how many bytes are expected, at extended APDU level a
        /// [`Chain`], else 0.
        level: u16,
        /// What goes to the card.
        data: &'a [u8],
    },
    /// PC_to_RDR_GetParameters (clause 6.1.5).
    GetParameters,
    /// PC_to_RDR_ResetParameters (clause 6.1.6).
    ResetParameters,
    /// PC_to_RDR_SetParameters (clause 6.1.7).
    SetParameters {
        /// `bProtocolNum`: 0 for T=0, 1 for T=1.
        protocol: u8,
        /// `abProtocolDataStructure`, see [`crate::parameters`].
        data: &'a [u8],
    },
    /// PC_to_RDR_Escape (clause 6.1.8).
    Escape(&'a [u8]),
    /// PC_to_RDR_IccClock (clause 6.1.9): stops the card's clock, or lets it run.
    IccClock {
        /// Whether to stop it.
        stop: bool,
    },
    /// PC_to_RDR_T0APDU (clause 6.1.10).
    T0Apdu {
        /// `bmChanges`: bit 0, `get_response` counts; bit 1, `envelope` counts.
        changes: u8,
        /// `bClassGetResponse`.
        get_response: u8,
        /// `bClassEnvelope`.
        envelope: u8,
    },
    /// PC_to_RDR_Secure (clause 6.1.11).
    Secure {
        /// `bBWI`.
        bwi: u8,
        /// `wLevelParameter`.
        level: u16,
        /// `bPINOperation` and what it takes.
        data: &'a [u8],
    },
    /// PC_to_RDR_Mechanical (clause 6.1.12), `bFunction`: 1 accept, 2 eject, 3 capture, 4 lock, 5 unlock.
    Mechanical(u8),
    /// PC_to_RDR_Abort (clause 6.1.13).
    Abort,
    /// PC_to_RDR_SetDataRateAndClockFrequency (clause 6.1.14).
    SetDataRateAndClockFrequency {
        /// Clock of the card in kHz.
        clock_khz: u32,
        /// Bits per second.
        rate_bps: u32,
    },
}

impl<'a> Command<'a> {
    /// `bMessageType`.
    pub const fn kind(&self) -> u8 {
        match self {
            Command::SetParameters { .. } => 0x61,
            Command::IccPowerOn(_) => 0x62,
            Command::IccPowerOff => 0x63,
            Command::GetSlotStatus => 0x65,
            Command::Secure { .. } => 0x69,
            Command::T0Apdu { .. } => 0x6A,
            Command::Escape(_) => 0x6B,
            Command::GetParameters => 0x6C,
            Command::ResetParameters => 0x6D,
            Command::IccClock { .. } => 0x6E,
            Command::XfrBlock { .. } => 0x6F,
            Command::Mechanical(_) => 0x71,
            Command::Abort => 0x72,
            Command::SetDataRateAndClockFrequency { .. } => 0x73,
        }
    }

    /// The type of the response that belongs to it.
    pub const fn answered_by(&self) -> Kind {
        match self {
            Command::IccPowerOn(_) | Command::XfrBlock { .. } | Command::Secure { .. } => Kind::DataBlock,
            Command::GetParameters | Command::ResetParameters | Command::SetParameters { .. } => {
                Kind::Parameters
            }
            Command::Escape(_) => Kind::Escape,
            Command::SetDataRateAndClockFrequency { .. } => Kind::DataRateAndClockFrequency,
            Command::IccPowerOff
            | Command::GetSlotStatus
            | Command::IccClock { .. }
            | Command::T0Apdu { .. }
            | Command::Mechanical(_)
            | Command::Abort => Kind::SlotStatus,
        }
    }

    /// Writes the message; gives its length, or `None` where it does not fit.
    pub fn encode(&self, slot: u8, seq: u8, out: &mut [u8]) -> Option<usize> {
        let rates;
        let (specific, data): ([u8; 3], &[u8]) = match *self {
            Command::IccPowerOn(voltage) => ([voltage as u8, 0, 0], &[]),
            Command::IccPowerOff
            | Command::GetSlotStatus
            | Command::GetParameters
            | Command::ResetParameters
            | Command::Abort => ([0; 3], &[]),
            Command::XfrBlock { bwi, level, data } | Command::Secure { bwi, level, data } => {
                let [low, high] = level.to_le_bytes();
                ([bwi, low, high], data)
            }
            Command::SetParameters { protocol, data } => ([protocol, 0, 0], data),
            Command::Escape(data) => ([0; 3], data),
            Command::IccClock { stop } => ([u8::from(stop), 0, 0], &[]),
            Command::T0Apdu {
                changes,
                get_response,
                envelope,
            } => ([changes, get_response, envelope], &[]),
            Command::Mechanical(function) => ([function, 0, 0], &[]),
            Command::SetDataRateAndClockFrequency { clock_khz, rate_bps } => {
                rates = pair(clock_khz, rate_bps);
                ([0; 3], &rates)
            }
        };
        encode(self.kind(), slot, seq, specific, data, out)
    }

    /// Reads a message as a reader does: the command with its slot and sequence number.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<(Command<'a>, u8, u8), Malformed> {
        let (header, data) = split(bytes)?;
        let [a, b, c] = header.specific;
        let level = u16::from_le_bytes([b, c]);
        let command = match header.kind {
            0x61 => Command::SetParameters { protocol: a, data },
            0x62 => Command::IccPowerOn(match a {
                0 => Voltage::Automatic,
                1 => Voltage::V5,
                2 => Voltage::V3,
                3 => Voltage::V1_8,
                _ => return Err(Malformed::Value { offset: 7 }),
            }),
            0x63 => Command::IccPowerOff,
            0x65 => Command::GetSlotStatus,
            0x69 => Command::Secure { bwi: a, level, data },
            0x6A => Command::T0Apdu {
                changes: a,
                get_response: b,
                envelope: c,
            },
            0x6B => Command::Escape(data),
            0x6C => Command::GetParameters,
            0x6D => Command::ResetParameters,
            0x6E => Command::IccClock { stop: a != 0 },
            0x6F => Command::XfrBlock { bwi: a, level, data },
            0x71 => Command::Mechanical(a),
            0x72 => Command::Abort,
            0x73 => {
                let (clock_khz, rate_bps) = unpair(data).ok_or(Malformed::Value { offset: 1 })?;
                Command::SetDataRateAndClockFrequency { clock_khz, rate_bps }
            }
            other => return Err(Malformed::Kind(other)),
        };
        Ok((command, header.slot, header.seq))
    }
}

/// The type of a reader's message (clause 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// RDR_to_PC_DataBlock (clause 6.2.1).
    DataBlock = 0x80,
    /// RDR_to_PC_SlotStatus (clause 6.2.2).
    SlotStatus = 0x81,
    /// RDR_to_PC_Parameters (clause 6.2.3).
    Parameters = 0x82,
    /// RDR_to_PC_Escape (clause 6.2.4).
    Escape = 0x83,
    /// RDR_to_PC_DataRateAndClockFrequency (clause 6.2.5).
    DataRateAndClockFrequency = 0x84,
}

impl Kind {
    fn decode(byte: u8) -> Option<Kind> {
        Some(match byte {
            0x80 => Kind::DataBlock,
            0x81 => Kind::SlotStatus,
            0x82 => Kind::Parameters,
            0x83 => Kind::Escape,
            0x84 => Kind::DataRateAndClockFrequency,
            _ => return None,
        })
    }
}

/// `bmICCStatus` (table 6.2-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum IccStatus {
    /// A card is there and has power.
    Active = 0,
    /// A card is there without power.
    Inactive = 1,
    /// No card is there.
    Absent = 2,
}

/// How a command ended (`bmCommandStatus` and `bError`, tables 6.2-2 and 6.2-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Processed without error.
    Done,
    /// Failed.
    Failed(SlotError),
    /// Not ended yet: the reader asks for time, this many times BWT or WWT.
    TimeExtension(u8),
}

/// A message from the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// Its type.
    pub kind: Kind,
    /// `bSlot`.
    pub slot: u8,
    /// `bSeq`, that of the command.
    pub seq: u8,
    /// The card's state; a reserved value counts as [`IccStatus::Absent`].
    pub icc: IccStatus,
    /// How the command ended.
    pub outcome: Outcome,
    /// The last byte of the header: `bChainParameter`, `bClockStatus` or `bProtocolNum`.
    pub specific: u8,
    /// The data.
    pub data: &'a [u8],
}

impl<'a> Response<'a> {
    /// How many bytes the message takes that begins with `bytes`; `None` before its header is whole. A
    /// length beyond `usize` is `usize::MAX`.
    pub fn announced(bytes: &[u8]) -> Option<usize> {
        let header = bytes.get(..HEADER_SIZE)?;
        let data = u32::from_le_bytes([header[1], header[2], header[3], header[4]]);
        Some(usize::try_from(data).map_or(usize::MAX, |data| data.saturating_add(HEADER_SIZE)))
    }

    /// Reads the message that `bytes` begin with; what follows its announced length is not looked at.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Response<'a>, Malformed> {
        let (header, data) = split(bytes)?;
        let [status, error, specific] = header.specific;
        Ok(Response {
            kind: Kind::decode(header.kind).ok_or(Malformed::Kind(header.kind))?,
            slot: header.slot,
            seq: header.seq,
            icc: match status & 3 {
                0 => IccStatus::Active,
                1 => IccStatus::Inactive,
                _ => IccStatus::Absent,
            },
            outcome: match status >> 6 {
                0 => Outcome::Done,
                2 => Outcome::TimeExtension(error),
                _ => Outcome::Failed(SlotError::decode(error)),
            },
            specific,
            data,
        })
    }

    /// Writes the message, as a reader does; gives its length, or `None` where it does not fit.
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let (command, error) = match self.outcome {
            Outcome::Done => (0, 0x81),
            Outcome::Failed(error) => (1, error.code()),
            Outcome::TimeExtension(times) => (2, times),
        };
        let specific = [self.icc as u8 | command << 6, error, self.specific];
        encode(self.kind as u8, self.slot, self.seq, specific, self.data, out)
    }

    /// `bChainParameter`; a reserved value counts as [`Chain::Whole`].
    pub fn chain(&self) -> Chain {
        Chain::decode(self.specific).unwrap_or_default()
    }

    /// Clock in kHz and bits per second of a DataRateAndClockFrequency message.
    pub fn rates(&self) -> Option<(u32, u32)> {
        unpair(self.data)
    }
}

/// Why a command failed (`bError`, table 6.2-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotError {
    /// CMD_ABORTED: the host aborted the command.
    Aborted,
    /// ICC_MUTE: the card did not answer in time.
    Mute,
    /// XFR_PARITY_ERROR: a character from the card had a parity error.
    Parity,
    /// XFR_OVERRUN: the card sent more than the reader could take.
    Overrun,
    /// HW_ERROR: an electrical or mechanical fault.
    Hardware,
    /// BAD_ATR_TS: the ATR begins with neither 3B nor 3F.
    BadTs,
    /// BAD_ATR_TCK: the ATR's check byte is wrong.
    BadTck,
    /// ICC_PROTOCOL_NOT_SUPPORTED.
    ProtocolUnsupported,
    /// ICC_CLASS_NOT_SUPPORTED.
    ClassUnsupported,
    /// PROCEDURE_BYTE_CONFLICT: T=0 sent a byte that is no procedure byte.
    ProcedureByte,
    /// DEACTIVATED_PROTOCOL.
    DeactivatedProtocol,
    /// BUSY_WITH_AUTO_SEQUENCE: the reader is activating the card by itself.
    BusyWithAutoSequence,
    /// PIN_TIMEOUT: no PIN was typed in time.
    PinTimeout,
    /// PIN_CANCELLED: the user pressed the cancel key.
    PinCancelled,
    /// CMD_SLOT_BUSY: another command for this slot is being processed.
    SlotBusy,
    /// The command is not known to the reader.
    CommandUnsupported,
    /// The parameter at this offset of the message is wrong or not supported (01 to 7F).
    Parameter(u8),
    /// The manufacturer's own (81 to C0), or reserved.
    Other(u8),
}

/// The codes of table 6.2-2 that have names.
const NAMED: [(u8, SlotError); 16] = [
    (0xFF, SlotError::Aborted),
    (0xFE, SlotError::Mute),
    (0xFD, SlotError::Parity),
    (0xFC, SlotError::Overrun),
    (0xFB, SlotError::Hardware),
    (0xF8, SlotError::BadTs),
    (0xF7, SlotError::BadTck),
    (0xF6, SlotError::ProtocolUnsupported),
    (0xF5, SlotError::ClassUnsupported),
    (0xF4, SlotError::ProcedureByte),
    (0xF3, SlotError::DeactivatedProtocol),
    (0xF2, SlotError::BusyWithAutoSequence),
    (0xF0, SlotError::PinTimeout),
    (0xEF, SlotError::PinCancelled),
    (0xE0, SlotError::SlotBusy),
    (0x00, SlotError::CommandUnsupported),
];

impl SlotError {
    /// The error of a `bError`.
    pub fn decode(code: u8) -> SlotError {
        match NAMED.iter().find(|(named, _)| *named == code) {
            Some((_, error)) => *error,
            None if code < 0x80 => SlotError::Parameter(code),
            None => SlotError::Other(code),
        }
    }

    /// Its `bError`.
    pub fn code(self) -> u8 {
        match self {
            SlotError::Parameter(code) | SlotError::Other(code) => code,
            named => NAMED
                .iter()
                .find(|(_, error)| *error == named)
                .map_or(0, |(code, _)| *code),
        }
    }
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SlotError::Aborted => "the command was aborted",
            SlotError::Mute => "the card does not answer",
            SlotError::Parity => "a character from the card had a parity error",
            SlotError::Overrun => "the card sent more than the reader could take",
            SlotError::Hardware => "the reader reports a hardware error",
            SlotError::BadTs => "the ATR's first byte is wrong",
            SlotError::BadTck => "the ATR's check byte is wrong",
            SlotError::ProtocolUnsupported => "the reader does not support the card's protocol",
            SlotError::ClassUnsupported => "the reader does not support the card's voltage class",
            SlotError::ProcedureByte => "the card sent a wrong procedure byte",
            SlotError::DeactivatedProtocol => "the protocol is deactivated",
            SlotError::BusyWithAutoSequence => "the reader is activating the card",
            SlotError::PinTimeout => "no PIN was typed in time",
            SlotError::PinCancelled => "the PIN was cancelled at the reader",
            SlotError::SlotBusy => "the slot is busy",
            SlotError::CommandUnsupported => "the reader does not know the command",
            SlotError::Parameter(offset) => {
                return write!(f, "the reader refuses the parameter at offset {offset}");
            }
            SlotError::Other(code) => return write!(f, "the reader reports error {code:02X}"),
        })
    }
}

#[cfg(feature = "std")]
impl std::error::Error for SlotError {}

/// A message of the interrupt pipe (clause 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notification<'a> {
    /// RDR_to_PC_NotifySlotChange (clause 6.3.1): two bits a slot, four slots a byte.
    SlotChange(&'a [u8]),
    /// RDR_to_PC_HardwareError (clause 6.3.2).
    HardwareError {
        /// The slot.
        slot: u8,
        /// The command's sequence number.
        seq: u8,
        /// 1: overcurrent.
        code: u8,
    },
}

impl<'a> Notification<'a> {
    /// Reads a message of the interrupt pipe; `None` for anything else, which readers do send.
    pub fn decode(bytes: &'a [u8]) -> Option<Notification<'a>> {
        match *bytes {
            [0x50, ref states @ ..] => Some(Notification::SlotChange(states)),
            [0x51, slot, seq, code, ..] => Some(Notification::HardwareError { slot, seq, code }),
            _ => None,
        }
    }

    /// Whether a slot has a card, and whether that changed; `None` where this does not tell.
    pub fn slot(&self, slot: u8) -> Option<(bool, bool)> {
        let Notification::SlotChange(states) = self else {
            return None;
        };
        let bits = states.get(usize::from(slot / 4))? >> (slot % 4 * 2);
        Some((bits & 1 != 0, bits & 2 != 0))
    }
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end before the header, or before the length that it announces.
    Truncated,
    /// A type that is not of this direction, or of none.
    Kind(u8),
    /// The field at this offset has a value that it cannot have.
    Value {
        /// Offset in the message.
        offset: u8,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Truncated => f.write_str("the message ends before its announced length"),
            Malformed::Kind(kind) => write!(f, "there is no message of type {kind:02X}"),
            Malformed::Value { offset } => write!(f, "the message's field at offset {offset} is wrong"),
        }
    }
}

#[cfg(feature = "std")]
impl std::error::Error for Malformed {}

struct Header {
    kind: u8,
    slot: u8,
    seq: u8,
    specific: [u8; 3],
}

fn split(bytes: &[u8]) -> Result<(Header, &[u8]), Malformed> {
    let end = Response::announced(bytes).ok_or(Malformed::Truncated)?;
    let message = bytes.get(..end).ok_or(Malformed::Truncated)?;
    let (header, data) = message
        .split_first_chunk::<HEADER_SIZE>()
        .ok_or(Malformed::Truncated)?;
    let [kind, _, _, _, _, slot, seq, a, b, c] = *header;
    let specific = [a, b, c];
    Ok((
        Header {
            kind,
            slot,
            seq,
            specific,
        },
        data,
    ))
}

fn encode(kind: u8, slot: u8, seq: u8, specific: [u8; 3], data: &[u8], out: &mut [u8]) -> Option<usize> {
    let end = HEADER_SIZE.checked_add(data.len())?;
    let out = out.get_mut(..end)?;
    let length = u32::try_from(data.len()).ok()?.to_le_bytes();
    out[0] = kind;
    out[1..5].copy_from_slice(&length);
    out[5] = slot;
    out[6] = seq;
    out[7..10].copy_from_slice(&specific);
    out[HEADER_SIZE..].copy_from_slice(data);
    Some(end)
}

fn pair(first: u32, second: u32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_le_bytes(), second.to_le_bytes());
    [a, b, c, d, e, f, g, h]
}

fn unpair(data: &[u8]) -> Option<(u32, u32)> {
    let &[a, b, c, d, e, f, g, h] = data else {
        return None;
    };
    Some((u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    const COMMANDS: [Command<'static>; 14] = [
        Command::IccPowerOn(Voltage::V3),
        Command::IccPowerOff,
        Command::GetSlotStatus,
        Command::XfrBlock {
            bwi: 2,
            level: 0x0103,
            data: &[1, 2, 3],
        },
        Command::GetParameters,
        Command::ResetParameters,
        Command::SetParameters {
            protocol: 1,
            data: &[0x11, 0x10, 0, 0x4D, 0, 0xFE, 0],
        },
        Command::Escape(&[9]),
        Command::IccClock { stop: true },
        Command::T0Apdu {
            changes: 3,
            get_response: 0xFF,
            envelope: 0,
        },
        Command::Secure {
            bwi: 0,
            level: 0,
            data: &[0, 30],
        },
        Command::Mechanical(2),
        Command::Abort,
        Command::SetDataRateAndClockFrequency {
            clock_khz: 4800,
            rate_bps: 12_903,
        },
    ];

    #[test]
    fn commands_are_laid_out_as_the_clauses_say() {
        let mut out = [0; 32];
        let mut bytes = |command: Command<'_>| {
            let length = command.encode(1, 7, &mut out).unwrap();
            out[..length].to_vec()
        };
        assert_eq!(
            bytes(Command::IccPowerOn(Voltage::V5)),
            [0x62, 0, 0, 0, 0, 1, 7, 1, 0, 0]
        );
        assert_eq!(
            bytes(Command::XfrBlock {
                bwi: 2,
                level: 0x0103,
                data: &[0xAA]
            }),
            [0x6F, 1, 0, 0, 0, 1, 7, 2, 0x03, 0x01, 0xAA]
        );
        assert_eq!(
            bytes(Command::SetDataRateAndClockFrequency {
                clock_khz: 4000,
                rate_bps: 10_752
            }),
            [0x73, 8, 0, 0, 0, 1, 7, 0, 0, 0, 0xA0, 0x0F, 0, 0, 0, 0x2A, 0, 0]
        );
        assert_eq!(Command::GetSlotStatus.encode(0, 0, &mut [0; 9]), None);
    }

    #[test]
    fn a_reader_reads_every_command_back() {
        for command in COMMANDS {
            let mut out = [0; 64];
            let length = command.encode(3, 9, &mut out).unwrap();
            assert_eq!(Command::decode(&out[..length]), Ok((command, 3, 9)));
        }
    }

    #[test]
    fn responses_tell_the_card_s_state_and_the_outcome() {
        let bytes = [0x80, 2, 0, 0, 0, 1, 7, 0, 0x81, 0x01, 0x90, 0x00, 0xFF];
        let response = Response::decode(&bytes).unwrap();
        assert_eq!(response.data, [0x90, 0x00], "what follows is not looked at");
        assert_eq!(
            (response.outcome, response.chain()),
            (Outcome::Done, Chain::Begins)
        );
        let mute = [0x80, 0, 0, 0, 0, 0, 0, 0x41, 0xFE, 0];
        let response = Response::decode(&mute).unwrap();
        assert_eq!(
            (response.icc, response.outcome),
            (IccStatus::Inactive, Outcome::Failed(SlotError::Mute))
        );
        let time = [0x80, 0, 0, 0, 0, 0, 0, 0x80, 3, 0];
        assert_eq!(
            Response::decode(&time).unwrap().outcome,
            Outcome::TimeExtension(3)
        );
    }

    #[test]
    fn wrong_lengths_and_types_are_errors() {
        assert_eq!(Response::decode(&[0x80; 9]), Err(Malformed::Truncated));
        assert_eq!(Response::announced(&[0x80; 9]), None);
        let liar = [0x80, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 1];
        assert_eq!(Response::decode(&liar), Err(Malformed::Truncated));
        assert_eq!(Response::announced(&liar), Some(0xFFFF_FFFF + 10));
        assert_eq!(Response::decode(&[0; 10]), Err(Malformed::Kind(0)));
        assert_eq!(Command::decode(&[0; 10]), Err(Malformed::Kind(0)));
    }

    #[test]
    fn every_error_code_has_one_name() {
        for code in 0..=255 {
            assert_eq!(SlotError::decode(code).code(), code);
        }
        assert_eq!(SlotError::decode(7), SlotError::Parameter(7));
        assert_eq!(SlotError::decode(0x81), SlotError::Other(0x81));
    }

    #[test]
    fn notifications_tell_slot_by_slot() {
        let change = Notification::decode(&[0x50, 0b1100_0011, 0b01]).unwrap();
        assert_eq!(change.slot(0), Some((true, true)));
        assert_eq!(change.slot(1), Some((false, false)));
        assert_eq!(change.slot(3), Some((true, true)));
        assert_eq!(change.slot(4), Some((true, false)));
        assert_eq!(change.slot(8), None);
        assert_eq!(
            Notification::decode(&[0x51, 0, 4, 1]),
            Some(Notification::HardwareError {
                slot: 0,
                seq: 4,
                code: 1
            })
        );
        assert_eq!(Notification::decode(&[]), None);
        assert_eq!(Notification::decode(&[0x42, 0, 0, 0]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Command::decode(&bytes);
            if let Ok(response) = Response::decode(&bytes) {
                response.chain();
                response.rates();
                prop_assert!(response.data.len() + HEADER_SIZE <= bytes.len());
            }
            if let Some(notification) = Notification::decode(&bytes) {
                for slot in 0..=255 {
                    notification.slot(slot);
                }
            }
        }

        #[test]
        fn a_response_reads_back(
            slot: u8, seq: u8, icc in 0u8..3, outcome in 0u8..3, error: u8, specific: u8, data: Vec<u8>
        ) {
            let response = Response {
                kind: Kind::DataBlock,
                slot,
                seq,
                icc: [IccStatus::Active, IccStatus::Inactive, IccStatus::Absent][usize::from(icc)],
                outcome: [
                    Outcome::Done,
                    Outcome::Failed(SlotError::decode(error)),
                    Outcome::TimeExtension(error),
                ][usize::from(outcome)],
                specific,
                data: &data,
            };
            let mut out = vec![0; data.len() + HEADER_SIZE];
            prop_assert_eq!(response.encode(&mut out), Some(out.len()));
            prop_assert_eq!(Response::decode(&out), Ok(response));
        }
    }
}
