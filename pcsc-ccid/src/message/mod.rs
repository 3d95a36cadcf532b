//! CCID messages, both directions (CCID 1.1, clauses 6.1 to 6.3). Bytes to values and back, without I/O.

mod error;
mod notification;

pub use error::SlotErrorCode;
pub use notification::Notification;

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
#[non_exhaustive]
pub enum CommandMessage<'a> {
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
        /// `abProtocolDataStructure`, see
        /// [`parameters`](crate::internals::parameters).
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

impl<'a> CommandMessage<'a> {
    /// `bMessageType`.
    pub const fn kind(&self) -> u8 {
        match self {
            CommandMessage::SetParameters { .. } => 0x61,
            CommandMessage::IccPowerOn(_) => 0x62,
            CommandMessage::IccPowerOff => 0x63,
            CommandMessage::GetSlotStatus => 0x65,
            CommandMessage::Secure { .. } => 0x69,
            CommandMessage::T0Apdu { .. } => 0x6A,
            CommandMessage::Escape(_) => 0x6B,
            CommandMessage::GetParameters => 0x6C,
            CommandMessage::ResetParameters => 0x6D,
            CommandMessage::IccClock { .. } => 0x6E,
            CommandMessage::XfrBlock { .. } => 0x6F,
            CommandMessage::Mechanical(_) => 0x71,
            CommandMessage::Abort => 0x72,
            CommandMessage::SetDataRateAndClockFrequency { .. } => 0x73,
        }
    }

    /// The type of the response that belongs to it.
    pub const fn answered_by(&self) -> ResponseKind {
        ResponseKind::answering(self.kind())
    }

    /// Writes the message; gives its length, or `None` where it does not fit.
    pub fn encode(&self, slot: u8, seq: u8, out: &mut [u8]) -> Option<usize> {
        let rates;
        let (specific, data): ([u8; 3], &[u8]) = match *self {
            CommandMessage::IccPowerOn(voltage) => ([voltage as u8, 0, 0], &[]),
            CommandMessage::IccPowerOff
            | CommandMessage::GetSlotStatus
            | CommandMessage::GetParameters
            | CommandMessage::ResetParameters
            | CommandMessage::Abort => ([0; 3], &[]),
            CommandMessage::XfrBlock { bwi, level, data } | CommandMessage::Secure { bwi, level, data } => {
                let [low, high] = level.to_le_bytes();
                ([bwi, low, high], data)
            }
            CommandMessage::SetParameters { protocol, data } => ([protocol, 0, 0], data),
            CommandMessage::Escape(data) => ([0; 3], data),
            CommandMessage::IccClock { stop } => ([u8::from(stop), 0, 0], &[]),
            CommandMessage::T0Apdu {
                changes,
                get_response,
                envelope,
            } => ([changes, get_response, envelope], &[]),
            CommandMessage::Mechanical(function) => ([function, 0, 0], &[]),
            CommandMessage::SetDataRateAndClockFrequency { clock_khz, rate_bps } => {
                rates = [clock_khz, rate_bps].map(u32::to_le_bytes);
                ([0; 3], rates.as_flattened())
            }
        };
        encode(self.kind(), slot, seq, specific, data, out)
    }

    /// Reads a message as a reader does: the command with its slot and sequence number.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<(CommandMessage<'a>, u8, u8), Malformed> {
        let (&[kind, _, _, _, _, slot, seq, a, b, c], data) = split(bytes)?;
        let level = u16::from_le_bytes([b, c]);
        let command = match kind {
            0x61 => CommandMessage::SetParameters { protocol: a, data },
            0x62 => CommandMessage::IccPowerOn(match a {
                0 => Voltage::Automatic,
                1 => Voltage::V5,
                2 => Voltage::V3,
                3 => Voltage::V1_8,
                _ => return Err(Malformed::Value { offset: 7 }),
            }),
            0x63 => CommandMessage::IccPowerOff,
            0x65 => CommandMessage::GetSlotStatus,
            0x69 => CommandMessage::Secure { bwi: a, level, data },
            0x6A => CommandMessage::T0Apdu {
                changes: a,
                get_response: b,
                envelope: c,
            },
            0x6B => CommandMessage::Escape(data),
            0x6C => CommandMessage::GetParameters,
            0x6D => CommandMessage::ResetParameters,
            0x6E => CommandMessage::IccClock { stop: a != 0 },
            0x6F => CommandMessage::XfrBlock { bwi: a, level, data },
            0x71 => CommandMessage::Mechanical(a),
            0x72 => CommandMessage::Abort,
            0x73 => {
                let (clock_khz, rate_bps) = unpair(data).ok_or(Malformed::Value { offset: 1 })?;
                CommandMessage::SetDataRateAndClockFrequency { clock_khz, rate_bps }
            }
            other => return Err(Malformed::Kind(other)),
        };
        Ok((command, slot, seq))
    }
}

/// The type of a reader's message (clause 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum ResponseKind {
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

impl ResponseKind {
    /// The type of the response to a command of this type (`bMessageType`). A reader answers one that it does
    /// not support with its slot's status.
    pub const fn answering(command: u8) -> ResponseKind {
        match command {
            0x62 | 0x69 | 0x6F => ResponseKind::DataBlock,
            0x61 | 0x6C | 0x6D => ResponseKind::Parameters,
            0x6B => ResponseKind::Escape,
            0x73 => ResponseKind::DataRateAndClockFrequency,
            _ => ResponseKind::SlotStatus,
        }
    }

    /// The type of a reader's message with this `bMessageType`.
    pub fn decode(byte: u8) -> Option<ResponseKind> {
        Some(match byte {
            0x80 => ResponseKind::DataBlock,
            0x81 => ResponseKind::SlotStatus,
            0x82 => ResponseKind::Parameters,
            0x83 => ResponseKind::Escape,
            0x84 => ResponseKind::DataRateAndClockFrequency,
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

impl IccStatus {
    /// From the two lowest bits of bStatus; the reserved value counts as [`IccStatus::Absent`].
    pub const fn from_bits(status: u8) -> IccStatus {
        match status & 3 {
            0 => IccStatus::Active,
            1 => IccStatus::Inactive,
            _ => IccStatus::Absent,
        }
    }
}

/// How a command ended (`bmCommandStatus` and `bError`, tables 6.2-2 and 6.2-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandStatus {
    /// Processed without error.
    Done,
    /// Failed.
    Failed(SlotErrorCode),
    /// Not ended yet: the reader asks for time, this many times BWT or WWT.
    TimeExtension(u8),
}

/// A message from the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseMessage<'a> {
    /// Its type.
    pub kind: ResponseKind,
    /// `bSlot`.
    pub slot: u8,
    /// `bSeq`, that of the command.
    pub seq: u8,
    /// The card's state; a reserved value counts as [`IccStatus::Absent`].
    pub icc: IccStatus,
    /// How the command ended.
    pub outcome: CommandStatus,
    /// The last byte of the header: `bChainParameter`, `bClockStatus` or `bProtocolNum`.
    pub specific: u8,
    /// The data.
    pub data: &'a [u8],
}

impl<'a> ResponseMessage<'a> {
    /// How many bytes the message takes that begins with `bytes`; `None` before its header is whole. A
    /// length beyond `usize` is `usize::MAX`.
    pub fn announced(bytes: &[u8]) -> Option<usize> {
        let header = bytes.get(..HEADER_SIZE)?;
        let data = u32::from_le_bytes([header[1], header[2], header[3], header[4]]);
        // `usize` may have 32 bits, where header and length together would overflow.
        Some(usize::try_from(data).map_or(usize::MAX, |data| data.saturating_add(HEADER_SIZE)))
    }

    /// Reads the message that `bytes` begin with; what follows its announced length is not looked at.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<ResponseMessage<'a>, Malformed> {
        let (&[kind, _, _, _, _, slot, seq, status, error, specific], data) = split(bytes)?;
        Ok(ResponseMessage {
            kind: ResponseKind::decode(kind).ok_or(Malformed::Kind(kind))?,
            slot,
            seq,
            icc: IccStatus::from_bits(status),
            outcome: match status >> 6 {
                0 => CommandStatus::Done,
                // bError is the multiplier here. 3 is reserved, and counts as a failure: nothing says that
                // its data are right.
                2 => CommandStatus::TimeExtension(error),
                _ => CommandStatus::Failed(SlotErrorCode::decode(error)),
            },
            specific,
            data,
        })
    }

    /// Writes the message, as a reader does; gives its length, or `None` where it does not fit.
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let (command, error) = match self.outcome {
            CommandStatus::Done => (0, 0x81),
            CommandStatus::Failed(error) => (1, error.code()),
            CommandStatus::TimeExtension(times) => (2, times),
        };
        let specific = [self.icc as u8 + (command << 6), error, self.specific];
        encode(self.kind as u8, self.slot, self.seq, specific, self.data, out)
    }
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The bytes end before the header, or before the length that it announces.
    #[error("the message ends before its announced length")]
    Truncated,
    /// A type that is not of this direction, or of none.
    #[error("there is no message of type {0:02X}")]
    Kind(u8),
    /// The field at this offset has a value that it cannot have.
    #[error("the message's field at offset {offset} is wrong")]
    Value {
        /// Offset in the message.
        offset: u8,
    },
}

/// The header and the data of the message that `bytes` begin with.
fn split(bytes: &[u8]) -> Result<(&[u8; HEADER_SIZE], &[u8]), Malformed> {
    let end = ResponseMessage::announced(bytes).ok_or(Malformed::Truncated)?;
    let message = bytes.get(..end).ok_or(Malformed::Truncated)?;
    message.split_first_chunk().ok_or(Malformed::Truncated)
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

/// Two numbers of four bytes.
fn unpair(data: &[u8]) -> Option<(u32, u32)> {
    let &[a, b, c, d, e, f, g, h] = data else {
        return None;
    };
    Some((u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])))
}

#[cfg(test)]
mod tests;
