//! APDUs over each level of exchange (CCID 1.1, clause 3.2).

use core::time::Duration;

use super::port::Port;
use super::reply::Reply;
use super::session::{Chosen, Protocol};
use super::{Reader, ReaderError};
use crate::apdu::{self, ApduError, Case, CommandApdu as Apdu};
use crate::descriptor::{ExchangeLevel, Flavour};
use crate::message::{Chain, CommandMessage, SlotErrorCode};
use crate::part10::{escape, secure};
use crate::t0::{self, T0Error};
use crate::t1;
use crate::transport::Transport;
use crate::waiting::LONGEST;

impl<T: Transport> Reader<T> {
    /// Exchanges an APDU and returns the response's length. Allocates nothing after the first call. An APDU
    /// that fits one message takes one bulk OUT and one bulk IN transfer.
    ///
    /// Over T=0 at TPDU and character level, the status words 61xx and 6Cxx of commands of cases 1 to 3 go to
    /// the caller, as with every other driver; commands that T=0 cannot carry in one TPDU (case 4, extended
    /// lengths) are mapped whole (ISO 7816-3, clause 12.2).
    ///
    /// If the reader reports that no PIN was entered at its PIN pad, the response is the status word 6400 (no
    /// PIN in time) or 6401 (cancelled), as after a control function of part 10 and with libccid.
    ///
    /// # Errors
    /// [`ReaderError::CardReset`] if the card failed at a raised speed and was reset to a lower one, or if
    /// the previous exchange over T=0 failed half-way, which only a reset can repair (ISO 7816-3, clause
    /// 10.3); the command was not sent then. [`ReaderError::BufferTooSmall`] after the whole exchange, so
    /// that the card is ready for the next one.
    pub fn transmit(&mut self, slot: u8, command: &[u8], response: &mut [u8]) -> Result<usize, ReaderError> {
        if self.quirks.info_apdus {
            if let Some(answer) = escape::info_answer(command, self.device.release) {
                return copy(&answer, response);
            }
        }
        let is_pseudo = escape::is_pseudo_apdu(command);
        let takes_pseudo = self.firmware.is_some_and(|f| f.pseudo_apdus);
        let (level, flavour) = (self.exchange_level(), self.flavour);
        if self.slot(slot)?.atr_bytes.is_empty() {
            return Err(ReaderError::NotPowered);
        }
        // Before the state of the slot is borrowed, as it may reset the card and choose the protocol again.
        self.bring_back(slot)?;
        let state = self
            .slots
            .get_mut(usize::from(slot))
            .ok_or(ReaderError::NoSuchSlot)?;
        let chosen = state.chosen.as_deref_mut().ok_or(ReaderError::NotPowered)?;
        // The reader itself works on these, for as long as it likes: no time of the card's bounds that.
        let least = if is_pseudo {
            escape::PSEUDO_APDU_LIMIT
        } else {
            Duration::ZERO
        };
        let limit = match level {
            _ if is_pseudo && takes_pseudo => least,
            _ if level.is_apdu() => apdu_limit(chosen, command, response).max(least),
            _ => chosen.block_limit.max(least),
        };
        let mut port = SlotPort {
            port: &mut self.port,
            slot,
            limit,
        };
        let result = match (level, chosen.protocol) {
            _ if is_pseudo && takes_pseudo => port.whole(command, response),
            (ExchangeLevel::ShortApdu, _) => port.whole(command, response).and_then(with_status_word),
            (ExchangeLevel::ExtendedApdu, _) => port.chained(command, response).and_then(with_status_word),
            (ExchangeLevel::Tpdu | ExchangeLevel::Character, Protocol::T1) => {
                let engine = chosen.engine.as_mut().ok_or(ReaderError::NotPowered)?;
                port.drive_t1(engine.exchange(command, response), level)
            }
            (ExchangeLevel::Tpdu | ExchangeLevel::Character, Protocol::T0) => {
                // A token of version A takes whole TPDUs, though it announces characters.
                let is_whole = level == ExchangeLevel::Tpdu || flavour == Flavour::IccdA;
                port.tpdus(command, response, is_whole)
            }
        };
        if let Err(error) = result {
            chosen.note_failure(level, error);
        }
        if let Err(ReaderError::Slot(error)) = result {
            if let Some(status) = secure::status_word(error) {
                return copy(&status, response);
            }
        }
        match result {
            Err(error) if error.may_be_speed() => Err(self.step_down(slot, error)),
            result => self.heed(slot, result),
        }
    }
}

fn apdu_limit(chosen: &Chosen, command: &[u8], response: &[u8]) -> Duration {
    let ne = Apdu::parse(command).ok().and_then(|command| command.ne);
    chosen.apdu_limit(
        command.len(),
        ne.unwrap_or(256).saturating_add(2).min(response.len()),
    )
}

/// Refuses a successful reply that is shorter than a status word.
fn with_status_word(length: usize) -> Result<usize, ReaderError> {
    match length {
        0 | 1 => Err(ReaderError::WrongReply),
        length => Ok(length),
    }
}

/// The port, for the card in one slot.
pub struct SlotPort<'a, T> {
    pub port: &'a mut Port<T>,
    pub slot: u8,
    /// How long one message may take.
    pub limit: Duration,
}

/// How many empty parts in a row a response may have.
const MAX_IDLE: u32 = 8;

/// NAD, PCB and LEN of a T=1 block.
const PROLOGUE: usize = 3;

impl<T: Transport> SlotPort<'_, T> {
    /// Sends a message to the card and gets its answer (XfrBlock, clause 6.1.4).
    fn transfer(&mut self, level: u16, data: &[u8]) -> Result<Reply, ReaderError> {
        let command = CommandMessage::XfrBlock { bwi: 0, level, data };
        self.port.call(self.slot, &command, self.limit)
    }

    /// An APDU in one message, and its response in one.
    fn whole(&mut self, apdu: &[u8], response: &mut [u8]) -> Result<usize, ReaderError> {
        let reply = self.transfer(0, apdu)?;
        copy(self.port.data(&reply), response)
    }

    /// An APDU in as many messages as it takes, and its response likewise (clause 3.2, extended APDU level).
    fn chained(&mut self, apdu: &[u8], response: &mut [u8]) -> Result<usize, ReaderError> {
        if apdu.len() > apdu::MAX_EXTENDED_COMMAND {
            return Err(ReaderError::CommandTooLong {
                max: apdu::MAX_EXTENDED_COMMAND,
            });
        }
        let deadline = self.port.deadline();
        let mut parts = apdu.chunks(self.port.max_data());
        let mut part = parts.next().unwrap_or(&[]);
        let mut is_first = true;
        let mut reply = loop {
            let next = parts.next();
            let chain = match (is_first, next) {
                (true, None) => Chain::Whole,
                (true, Some(_)) => Chain::Begins,
                (false, Some(_)) => Chain::Continues,
                (false, None) => Chain::Ends,
            };
            let reply = self.transfer(chain as u16, part)?;
            match next {
                None => break reply,
                // An empty block asks for the next part, whatever its chain parameter: libccid does not
                // compare it.
                Some(next)
                    if reply.specific == Chain::Expected as u8 || self.port.data(&reply).is_empty() =>
                {
                    part = next;
                }
                // The card has answered a part of the command, which can only be with an error.
                Some(_) if self.port.data(&reply).len() == 2 => break reply,
                Some(_) => return Err(ReaderError::WrongReply),
            }
            is_first = false;
            self.port.check(deadline)?;
        };
        let mut received = 0;
        let mut idle = 0;
        loop {
            let data = self.port.data(&reply);
            idle = if data.is_empty() { idle + 1 } else { 0 };
            // What does not fit is counted and dropped: the chain is received to its end, so that the next
            // command finds the reader ready.
            if let Some(room) = response.get_mut(received..received + data.len()) {
                room.copy_from_slice(data);
            }
            received += data.len();
            // bChainParameter: the response begins, goes on, or is asked for with an empty block (clause
            // 6.2.1).
            if !matches!(reply.specific, 0x01 | 0x03 | 0x10) {
                break;
            }
            // The reader never ends the chain, or sends more than a response can have.
            if idle > MAX_IDLE || received > apdu::MAX_RESPONSE {
                return Err(ReaderError::WrongReply);
            }
            self.port.check(deadline)?;
            reply = self.transfer(Chain::Expected as u16, &[])?;
        }
        if received > response.len() {
            return Err(ReaderError::BufferTooSmall);
        }
        Ok(received)
    }

    /// Drives a T=1 exchange. Each block may take the limit, times what the card's WTX asks for.
    pub fn drive_t1(
        &mut self,
        mut exchange: t1::T1Exchange<'_>,
        level: ExchangeLevel,
    ) -> Result<usize, ReaderError> {
        let result = self.drive_blocks(&mut exchange, level);
        exchange.wipe();
        result
    }

    fn drive_blocks(
        &mut self,
        exchange: &mut t1::T1Exchange<'_>,
        level: ExchangeLevel,
    ) -> Result<usize, ReaderError> {
        let deadline = self.port.deadline();
        let block_limit = self.limit;
        let in_parts = level == ExchangeLevel::Character;
        let mut action = exchange.start();
        loop {
            let wait = match action {
                t1::T1Action::Done(length) => return Ok(length),
                t1::T1Action::Failed(error) => return Err(error.into()),
                t1::T1Action::Send { wait } => wait,
            };
            self.port.check(deadline)?;
            let command = CommandMessage::XfrBlock {
                // bBWI is the extension of the block waiting time (clause 6.1.4). 0 leaves the reader its
                // own.
                bwi: if wait == 1 { 0 } else { wait },
                level: if in_parts { PROLOGUE as u16 } else { 0 },
                data: exchange.block(),
            };
            let extended = block_limit.saturating_mul(u32::from(wait));
            // Not shorter than without an extension: for some readers the limit of a block is longer than
            // LONGEST.
            self.limit = extended.min(LONGEST).max(block_limit);
            let mut block = [0; t1::MAX_BLOCK];
            let answer = match self.port.call(self.slot, &command, self.limit) {
                Ok(reply) if in_parts => self.rest_of_block(reply, exchange.edc(), &mut block),
                Ok(reply) => Ok(self.port.data(&reply)),
                Err(error) => Err(error),
            };
            action = match answer {
                Ok(bytes) => exchange.on_block(bytes),
                Err(ReaderError::Slot(SlotErrorCode::Parity)) => exchange.on_parity_error(),
                Err(ReaderError::Slot(SlotErrorCode::Mute | SlotErrorCode::Overrun)) => exchange.on_timeout(),
                Err(error) => return Err(error),
            };
        }
    }

    /// At character level a block is asked for in parts: the prologue, then as much as its LEN says.
    fn rest_of_block<'b>(
        &mut self,
        prologue: Reply,
        edc: t1::Edc,
        block: &'b mut [u8; t1::MAX_BLOCK],
    ) -> Result<&'b [u8], ReaderError> {
        let mut end = copy(self.port.data(&prologue), block).map_err(|_| ReaderError::WrongReply)?;
        // The engine judges it, as it judges any block that is too short.
        if end != PROLOGUE {
            return Ok(&block[..end]);
        }
        // The reserved LEN 'FF' with a CRC would be longer. The engine refuses it.
        let length = (PROLOGUE + usize::from(block[2]) + edc.size()).min(t1::MAX_BLOCK);
        while end < length {
            let part = self.port.part(length - end);
            let reply = self.transfer(part, &[])?;
            let came =
                copy(self.port.data(&reply), &mut block[end..]).map_err(|_| ReaderError::WrongReply)?;
            end += came;
            if came < usize::from(part.max(1)) {
                break;
            }
        }
        Ok(&block[..end])
    }

    /// An APDU as T=0 TPDUs, each in one message (`is_whole`) or character by character.
    fn tpdus(&mut self, apdu: &[u8], response: &mut [u8], is_whole: bool) -> Result<usize, ReaderError> {
        let command = match Apdu::parse(apdu) {
            Ok(command) => command,
            // A pseudo-APDU for the reader itself.
            Err(ApduError::InvalidClass) => return self.whole(apdu, response),
            Err(error) => return Err(ReaderError::Apdu(error)),
        };
        let policy = if command.fits_short() && command.case() != Case::Four {
            t0::StatusWordPolicy::Transparent
        } else {
            t0::StatusWordPolicy::Complete
        };
        let deadline = self.port.deadline();
        let mut exchange = t0::T0Exchange::new(apdu, command, policy, response)?;
        let mut action = exchange.start();
        loop {
            match action {
                t0::T0Action::Done(length) => return Ok(length),
                t0::T0Action::Failed(error) => return Err(error.into()),
                t0::T0Action::Send => (),
            }
            self.port.check(deadline)?;
            let mut answer = [0; t0::MAX_TPDU_RESPONSE];
            let length = match is_whole {
                true => self
                    .whole(exchange.tpdu(), &mut answer)
                    .map_err(|error| match error {
                        ReaderError::BufferTooSmall => T0Error::UnexpectedData.into(),
                        error => error,
                    }),
                false => self.characters(&exchange, &mut answer),
            }?;
            action = exchange.on_response(answer.get(..length).unwrap_or(&answer));
        }
    }

    /// A TPDU character by character: `wLevelParameter` says how many are expected (clause 6.1.4).
    fn characters(&mut self, exchange: &t0::T0Exchange<'_>, answer: &mut [u8]) -> Result<usize, ReaderError> {
        let deadline = self.port.deadline();
        let (header, direction) = exchange.parts();
        let mut line = t0::Character::new(header, direction, answer)?;
        let mut step = line.start();
        loop {
            let expect = match step {
                t0::CharacterAction::Done(length) => return Ok(length),
                t0::CharacterAction::Failed(error) => return Err(error.into()),
                t0::CharacterAction::Transfer { expect } => expect,
            };
            self.port.check(deadline)?;
            let mut outgoing = line.outgoing();
            while let Some((part, rest)) = outgoing.split_at_checked(self.port.max_data()) {
                if rest.is_empty() {
                    break;
                }
                // The card does not answer a part of the command.
                let reply = self.transfer(0, part)?;
                if !self.port.data(&reply).is_empty() {
                    return Err(ReaderError::WrongReply);
                }
                outgoing = rest;
            }
            step = match self.transfer(self.port.part(expect), outgoing) {
                Ok(reply) => line.on_bytes(self.port.data(&reply)),
                Err(ReaderError::Slot(SlotErrorCode::Mute)) => line.on_timeout(),
                Err(error) => return Err(error),
            };
        }
    }
}

pub fn copy(data: &[u8], response: &mut [u8]) -> Result<usize, ReaderError> {
    response
        .get_mut(..data.len())
        .ok_or(ReaderError::BufferTooSmall)?
        .copy_from_slice(data);
    Ok(data.len())
}
