//! Readers without bulk pipes: USB cards that take commands over the control pipe (ICCD 1.0, clause 6).
//!
//! The same commands as over bulk pipes, as far as there are requests for them.

use alloc::vec::Vec;
use core::time::Duration;

use super::limit::Limit;
use super::reply::Reply;
use super::ReaderError;
use crate::descriptor::Flavour;
use crate::message::{Chain, CommandMessage, IccStatus, Malformed, SlotErrorCode, HEADER_SIZE};
use crate::transport::{Transport, TransportError};

const ICC_POWER_ON: u8 = 0x62;
const ICC_POWER_OFF: u8 = 0x63;
const XFR_BLOCK: u8 = 0x65;
const DATA_BLOCK: u8 = 0x6F;
/// Version A's.
const GET_ICC_STATUS: u8 = 0xA0;
/// Version B's.
const SLOT_STATUS: u8 = 0x81;

/// The longest control transfer that hosts carry.
const MAX_TRANSFER: usize = 4096;
/// What every card takes, whatever it announces: a short APDU of 4 + 1 + 255 + 1 bytes.
const SHORT_APDU: usize = 261;
/// How long one control transfer may take.
const CONTROL: Duration = Duration::from_secs(5);
/// The interval of polling if the card does not give one (clause 6.2.3 leaves it to the host).
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// What version A's card expects next (`GET_ICC_STATUS`, clause 6.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    /// A command's header.
    Header,
    /// Data, in the direction of the command.
    Data,
    /// To be asked for SW1 and SW2.
    Status,
}

/// The control pipe of a reader without bulk pipes.
pub struct Pipe<T> {
    pub transport: T,
    flavour: Flavour,
    /// Holds the data of the last reply.
    pub buffer: Vec<u8>,
    /// How many bytes of data one request can carry to the card.
    pub max_data: usize,
}

impl<T: Transport> Pipe<T> {
    pub fn new(transport: T, flavour: Flavour, announced_max: u32) -> Pipe<T> {
        let announced = usize::try_from(announced_max).unwrap_or(MAX_TRANSFER);
        Pipe {
            transport,
            flavour,
            max_data: announced
                .saturating_sub(HEADER_SIZE)
                .clamp(SHORT_APDU, MAX_TRANSFER),
            buffer: alloc::vec![0; MAX_TRANSFER],
        }
    }

    /// Sends a command and gets its answer. `deadline` is the caller's, on the transport's clock.
    pub fn call(
        &mut self,
        command: &CommandMessage<'_>,
        timeout: Duration,
        deadline: Option<Duration>,
    ) -> Result<Reply, ReaderError> {
        let limit = Limit::new(self.transport.now() + timeout, deadline);
        match (*command, self.flavour) {
            (CommandMessage::IccPowerOn(_), Flavour::IccdA) => {
                // The card may have power, from the process that had it before.
                self.power_off()?;
                self.until_ready(limit)?;
                let length = self
                    .transport
                    .control_in(ICC_POWER_ON, 0, &mut self.buffer, CONTROL)?;
                Ok(Reply::new(IccStatus::Active, 0, 0, length))
            }
            (CommandMessage::IccPowerOn(_), _) => {
                self.power_off()?;
                self.out(ICC_POWER_ON, 1, &[])?;
                self.data_block(limit)
            }
            (CommandMessage::IccPowerOff, _) => {
                self.power_off()?;
                Ok(Reply::new(IccStatus::Inactive, 0, 0, 0))
            }
            (CommandMessage::GetSlotStatus, _) => Ok(Reply::new(self.status(limit)?, 0, 0, 0)),
            (CommandMessage::XfrBlock { data, .. }, Flavour::IccdA) => self.exchange_t0(data, limit),
            (CommandMessage::XfrBlock { data, level, .. }, _) => {
                // The high byte of wValue has the meaning of wLevelParameter over bulk pipes.
                self.out(XFR_BLOCK, level.min(0xFF) << 8, data)?;
                self.data_block(limit)
            }
            _ => Err(ReaderError::Unsupported),
        }
    }

    /// Version B answers each request by another one, here the slot's status (clause 6.2). A token that does
    /// not have it after a power-off is as good.
    fn power_off(&mut self) -> Result<(), ReaderError> {
        self.out(ICC_POWER_OFF, 0, &[])?;
        if self.flavour == Flavour::IccdB {
            let answered = self.transport.control_in(SLOT_STATUS, 0, &mut [0; 3], CONTROL);
            if let Err(error @ (TransportError::Gone | TransportError::Cancelled)) = answered {
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn status(&mut self, limit: Limit) -> Result<IccStatus, ReaderError> {
        if self.flavour == Flavour::IccdA {
            return match self.until_ready(limit) {
                Ok(_) => Ok(IccStatus::Active),
                Err(ReaderError::Slot(SlotErrorCode::Mute)) => Ok(IccStatus::Absent),
                Err(error) => Err(error),
            };
        }
        // 2 is "no card": what a short answer leaves in place.
        let mut status = [0, 2, 0];
        self.transport.control_in(SLOT_STATUS, 0, &mut status, CONTROL)?;
        Ok(IccStatus::from_bits(status[1]))
    }

    /// Version B's answer: data, a status, or when to ask again (clause 6.2.3).
    fn data_block(&mut self, limit: Limit) -> Result<Reply, ReaderError> {
        loop {
            let left = limit.at.saturating_sub(self.transport.now());
            if left.is_zero() {
                return Err(limit.error(ReaderError::TooSlow));
            }
            let length = self
                .transport
                .control_in(DATA_BLOCK, 0, &mut self.buffer, CONTROL)?;
            match self.buffer[..length.min(MAX_TRANSFER)] {
                [0x80, ref delay @ ..] => {
                    let units = match *delay {
                        [low, high, ..] => u16::from_le_bytes([low, high]),
                        _ => 0,
                    };
                    // In units of 10 ms. A card that asks for 0 would be polled without a pause.
                    let delay = ASK_AGAIN * u32::from(units.max(1));
                    // Up to the limit, which the next round then finds.
                    self.transport.pause(delay.min(left))?;
                }
                [0x40, _, error, ..] => return Err(ReaderError::Slot(SlotErrorCode::decode(error))),
                // The card has more data than one transfer holds, and does not chain.
                [0x00 | 0x02, ..] if length >= MAX_TRANSFER => return Err(ReaderError::WrongReply),
                [chain @ (0x00..=0x03 | 0x10), ..] => {
                    return Ok(Reply::new(IccStatus::Active, chain, 1, length))
                }
                [kind, ..] => return Err(ReaderError::Malformed(Malformed::Kind(kind))),
                [] => return Err(ReaderError::Malformed(Malformed::Truncated)),
            }
        }
    }

    /// Version A's T=0 TPDU: the header, the data one way or the other, SW1 and SW2 (clause 6.1).
    fn exchange_t0(&mut self, tpdu: &[u8], limit: Limit) -> Result<Reply, ReaderError> {
        let (header, data) = tpdu.split_at_checked(5).ok_or(ReaderError::InvalidParameter)?;
        self.out(XFR_BLOCK, 0, header)?;
        let mut received = 0;
        if self.until_ready(limit)? == Ready::Data {
            if data.is_empty() {
                let wanted = if header[4] == 0 {
                    256
                } else {
                    usize::from(header[4])
                };
                received = self
                    .transport
                    .control_in(DATA_BLOCK, 0, &mut self.buffer[..wanted], CONTROL)?
                    .min(wanted);
            } else {
                self.out(XFR_BLOCK, 0, data)?;
            }
        }
        if self.until_ready(limit)? != Ready::Status {
            return Err(ReaderError::WrongReply);
        }
        let status = &mut self.buffer[received..received + 2];
        if self.transport.control_in(DATA_BLOCK, 0, status, CONTROL)? != 2 {
            return Err(ReaderError::Malformed(Malformed::Truncated));
        }
        Ok(Reply::new(IccStatus::Active, Chain::Whole as u8, 0, received + 2))
    }

    /// Asks version A's card until it is not busy.
    fn until_ready(&mut self, limit: Limit) -> Result<Ready, ReaderError> {
        loop {
            let left = limit.at.saturating_sub(self.transport.now());
            if left.is_zero() {
                return Err(limit.error(ReaderError::TooSlow));
            }
            let mut status = [0];
            if self
                .transport
                .control_in(GET_ICC_STATUS, 0, &mut status, CONTROL)?
                != 1
            {
                return Err(ReaderError::Malformed(Malformed::Truncated));
            }
            match status[0] {
                0x80 => return Err(ReaderError::Slot(SlotErrorCode::Mute)),
                busy if busy & 0x40 != 0 => self.transport.pause(ASK_AGAIN.min(left))?,
                0x10 => return Ok(Ready::Data),
                0x20 => return Ok(Ready::Status),
                _ => return Ok(Ready::Header),
            }
        }
    }

    fn out(&mut self, request: u8, value: u16, data: &[u8]) -> Result<(), ReaderError> {
        if data.len() > self.max_data {
            return Err(ReaderError::CommandTooLong { max: self.max_data });
        }
        Ok(self.transport.control_out(request, value, data, CONTROL)?)
    }
}
