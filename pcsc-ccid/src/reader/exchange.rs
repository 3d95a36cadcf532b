//! APDUs over each level of exchange (CCID 1.1, clause 3.2).

use core::time::Duration;

use super::port::Port;
use super::reply::Reply;
use super::session::{Carriage, Chosen, Protocol};
use super::{Error, Reader};
use crate::apdu::{self, Case, Command as Apdu};
use crate::descriptor::{ExchangeLevel, Flavour};
use crate::message::{Chain, Command, SlotError};
use crate::part10::escape;
use crate::t0;
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
    /// # Errors
    /// [`Error::CardReset`] if the card failed at a raised speed and was reset to a lower one, or if the
    /// previous exchange over T=0 failed half-way, which only a reset can repair (ISO 7816-3, clause 10.3);
    /// the command was not sent then. [`Error::BufferTooSmall`] after the whole exchange, so that the card is
    /// ready for the next one.
    pub fn transmit(&mut self, slot: u8, command: &[u8], response: &mut [u8]) -> Result<usize, Error> {
        if self.quirks.info_apdus {
            if let Some(answer) = escape::info_answer(command, self.device.release) {
                return copy(&answer, response);
            }
        }
        let is_pseudo = escape::is_pseudo_apdu(command);
        let takes_pseudo = self.firmware.is_some_and(|f| f.pseudo_apdus);
        let (level, flavour) = (self.exchange_level(), self.flavour);
        if self.slot(slot)?.atr_bytes.is_empty() {
            return Err(Error::NotPowered);
        }
        self.bring_back(slot)?;
        let state = self.slots.get_mut(usize::from(slot)).ok_or(Error::NoSuchSlot)?;
        let chosen = state.session.chosen().ok_or(Error::NotPowered)?;
        let least = if is_pseudo {
            escape::PSEUDO_APDU_LIMIT
        } else {
            Duration::ZERO
        };
        let block_limit = chosen.block_limit.max(least);
        let port = &mut self.port;
        let result = match (level, chosen.protocol) {
            _ if is_pseudo && takes_pseudo => whole(port, slot, command, response, least),
            (ExchangeLevel::ShortApdu, _) => {
                let limit = apdu_limit(chosen, command, response).max(least);
                whole(port, slot, command, response, limit).and_then(with_status_word)
            }
            (ExchangeLevel::ExtendedApdu, _) => {
                let limit = apdu_limit(chosen, command, response).max(least);
                chained(port, slot, command, response, limit).and_then(with_status_word)
            }
            (ExchangeLevel::Tpdu | ExchangeLevel::Character, Protocol::T1) => {
                blocks(port, slot, chosen, command, response, block_limit)
            }
            (ExchangeLevel::Tpdu, Protocol::T0) => tpdus(port, slot, command, response, tpdu, block_limit),
            (ExchangeLevel::Character, Protocol::T0) if flavour == Flavour::IccdA => {
                tpdus(port, slot, command, response, tpdu, block_limit)
            }
            (ExchangeLevel::Character, Protocol::T0) => {
                tpdus(port, slot, command, response, characters, block_limit)
            }
        };
        if let Err(error) = result {
            chosen.note_failure(level, error);
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
fn with_status_word(length: usize) -> Result<usize, Error> {
    match length {
        0 | 1 => Err(Error::WrongReply),
        length => Ok(length),
    }
}

/// An APDU in one message, and its response in one.
fn whole<T: Transport>(
    port: &mut Port<T>,
    slot: u8,
    apdu: &[u8],
    response: &mut [u8],
    limit: Duration,
) -> Result<usize, Error> {
    let command = Command::XfrBlock {
        bwi: 0,
        level: 0,
        data: apdu,
    };
    let reply = port.call(slot, &command, limit)?;
    copy(port.data(&reply), response)
}

/// An APDU in as many messages as it takes, and its response likewise (clause 3.2, extended APDU level).
fn chained<T: Transport>(
    port: &mut Port<T>,
    slot: u8,
    apdu: &[u8],
    response: &mut [u8],
    limit: Duration,
) -> Result<usize, Error> {
    if apdu.len() > apdu::MAX_EXTENDED_COMMAND {
        return Err(Error::CommandTooLong {
            max: apdu::MAX_EXTENDED_COMMAND,
        });
    }
    let deadline = port.deadline();
    let mut parts = apdu.chunks(port.max_data());
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
        let command = Command::XfrBlock {
            bwi: 0,
            level: chain as u16,
            data: part,
        };
        let reply = port.call(slot, &command, limit)?;
        match next {
            None => break reply,
            Some(_) if reply.specific != Chain::Expected as u8 => {
                // The card has answered a part of the command, which can only be with an error.
                if port.data(&reply).len() == 2 {
                    break reply;
                }
                return Err(Error::WrongReply);
            }
            Some(next) => part = next,
        }
        is_first = false;
        port.check(deadline)?;
    };
    let mut received = 0;
    let mut idle = 0;
    loop {
        let data = port.data(&reply);
        idle = if data.is_empty() { idle + 1 } else { 0 };
        if let Some(room) = response.get_mut(received..received + data.len()) {
            room.copy_from_slice(data);
        }
        received += data.len();
        if !matches!(reply.specific, 0x01 | 0x03 | 0x10) {
            break;
        }
        // The reader never ends the chain, or sends more than a response can have.
        if idle > MAX_IDLE || received > apdu::MAX_RESPONSE {
            return Err(Error::WrongReply);
        }
        port.check(deadline)?;
        let go_on = Command::XfrBlock {
            bwi: 0,
            level: Chain::Expected as u16,
            data: &[],
        };
        reply = port.call(slot, &go_on, limit)?;
    }
    if received > response.len() {
        return Err(Error::BufferTooSmall);
    }
    Ok(received)
}

/// How many empty parts in a row a response may have.
const MAX_IDLE: u32 = 8;

/// An APDU as T=1 blocks.
fn blocks<T: Transport>(
    port: &mut Port<T>,
    slot: u8,
    chosen: &mut Chosen,
    apdu: &[u8],
    response: &mut [u8],
    limit: Duration,
) -> Result<usize, Error> {
    let carriage = chosen.carriage;
    let engine = chosen.engine.as_mut().ok_or(Error::NotPowered)?;
    drive_t1(port, slot, engine.exchange(apdu, response), carriage, limit)
}

/// Drives a T=1 exchange; each block may take `limit`, times what the card's WTX asks for.
pub fn drive_t1<T: Transport>(
    port: &mut Port<T>,
    slot: u8,
    mut exchange: t1::Exchange<'_>,
    carriage: Carriage,
    limit: Duration,
) -> Result<usize, Error> {
    let result = drive_blocks(port, slot, &mut exchange, carriage, limit);
    exchange.wipe();
    result
}

fn drive_blocks<T: Transport>(
    port: &mut Port<T>,
    slot: u8,
    exchange: &mut t1::Exchange<'_>,
    carriage: Carriage,
    limit: Duration,
) -> Result<usize, Error> {
    let deadline = port.deadline();
    let mut action = exchange.start();
    loop {
        let wait = match action {
            t1::Action::Done(length) => return Ok(length),
            t1::Action::Failed(error) => return Err(error.into()),
            t1::Action::Send { wait } => wait,
        };
        port.check(deadline)?;
        let command = Command::XfrBlock {
            bwi: if wait == 1 { 0 } else { wait },
            level: match carriage {
                Carriage::Whole => 0,
                Carriage::Parts(_) => PROLOGUE as u16,
            },
            data: exchange.block(),
        };
        let limit = limit.saturating_mul(u32::from(wait.max(1))).min(LONGEST);
        let mut block = [0; t1::MAX_BLOCK];
        let answer = port.call(slot, &command, limit).and_then(|reply| match carriage {
            Carriage::Whole => Ok(port.data(&reply)),
            Carriage::Parts(edc) => whole_block(port, slot, reply, edc, limit, &mut block),
        });
        action = match answer {
            Ok(bytes) => exchange.on_block(bytes),
            Err(Error::Slot(SlotError::Parity)) => exchange.on_parity_error(),
            Err(Error::Slot(SlotError::Mute | SlotError::Overrun)) => exchange.on_timeout(),
            Err(error) => return Err(error),
        };
    }
}

/// NAD, PCB and LEN.
const PROLOGUE: usize = 3;

/// At character level a block is asked for in parts: the prologue, then as much as its LEN says.
fn whole_block<'a, T: Transport>(
    port: &mut Port<T>,
    slot: u8,
    prologue: Reply,
    edc: t1::Edc,
    limit: Duration,
    block: &'a mut [u8; t1::MAX_BLOCK],
) -> Result<&'a [u8], Error> {
    let mut end = copy(port.data(&prologue), block).map_err(|_| Error::WrongReply)?;
    if end != PROLOGUE {
        return Ok(&block[..end]);
    }
    // The reserved LEN 'FF' with a CRC would be longer. The engine refuses it.
    let length = (PROLOGUE + usize::from(block[2]) + edc.size()).min(t1::MAX_BLOCK);
    while end < length {
        let part = port.part(length - end);
        let command = Command::XfrBlock {
            bwi: 0,
            level: part,
            data: &[],
        };
        let reply = port.call(slot, &command, limit)?;
        let came = copy(port.data(&reply), &mut block[end..]).map_err(|_| Error::WrongReply)?;
        end += came;
        if came < usize::from(part.max(1)) {
            break;
        }
    }
    Ok(&block[..end])
}

/// How a T=0 TPDU goes to the card: the exchange that says what to send, a buffer for the answer.
type Carry<T> = fn(
    &mut Port<T>,
    u8,
    &t0::Exchange<'_>,
    &mut [u8; t0::MAX_TPDU_RESPONSE],
    Duration,
) -> Result<usize, Error>;

/// An APDU as T=0 TPDUs.
fn tpdus<T: Transport>(
    port: &mut Port<T>,
    slot: u8,
    apdu: &[u8],
    response: &mut [u8],
    carry: Carry<T>,
    limit: Duration,
) -> Result<usize, Error> {
    let command = match Apdu::parse(apdu) {
        Ok(command) => command,
        // A pseudo-APDU for the reader itself.
        Err(apdu::Error::InvalidClass) => return whole(port, slot, apdu, response, limit),
        Err(error) => return Err(Error::Apdu(error)),
    };
    let is_one_tpdu = command.data.len() <= 255 && command.ne.unwrap_or(0) <= 256;
    let policy = if is_one_tpdu && command.case() != Case::Four {
        t0::Policy::TRANSPARENT
    } else {
        t0::Policy::default()
    };
    let deadline = port.deadline();
    let mut exchange = t0::Exchange::new(apdu, command, policy, response)?;
    let mut action = exchange.start();
    loop {
        match action {
            t0::Action::Done(length) => return Ok(length),
            t0::Action::Failed(error) => return Err(error.into()),
            t0::Action::Send => (),
        }
        port.check(deadline)?;
        let mut answer = [0; t0::MAX_TPDU_RESPONSE];
        let length = carry(port, slot, &exchange, &mut answer, limit)?;
        action = exchange.on_response(answer.get(..length).unwrap_or(&answer));
    }
}

/// A TPDU in one message.
fn tpdu<T: Transport>(
    port: &mut Port<T>,
    slot: u8,
    exchange: &t0::Exchange<'_>,
    answer: &mut [u8; t0::MAX_TPDU_RESPONSE],
    limit: Duration,
) -> Result<usize, Error> {
    whole(port, slot, exchange.tpdu(), answer, limit).map_err(|error| match error {
        Error::BufferTooSmall => t0::Error::UnexpectedData.into(),
        error => error,
    })
}

/// A TPDU character by character: `wLevelParameter` says how many are expected (clause 6.1.4).
fn characters<T: Transport>(
    port: &mut Port<T>,
    slot: u8,
    exchange: &t0::Exchange<'_>,
    answer: &mut [u8; t0::MAX_TPDU_RESPONSE],
    limit: Duration,
) -> Result<usize, Error> {
    let deadline = port.deadline();
    let (header, direction) = exchange.parts();
    // Some cards send thousands of NULL bytes. The deadline bounds them.
    let mut line = t0::Character::new(header, direction, answer)?.max_nulls(u16::MAX);
    let mut step = line.start();
    loop {
        let expect = match step {
            t0::Step::Done(length) => return Ok(length),
            t0::Step::Failed(error) => return Err(error.into()),
            t0::Step::Transfer { expect } => expect,
        };
        port.check(deadline)?;
        let mut outgoing = line.outgoing();
        while let Some((part, rest)) = outgoing.split_at_checked(port.max_data()) {
            if rest.is_empty() {
                break;
            }
            send_characters(port, slot, part, limit)?;
            outgoing = rest;
        }
        let command = Command::XfrBlock {
            bwi: 0,
            level: port.part(expect),
            data: outgoing,
        };
        step = match port.call(slot, &command, limit) {
            Ok(reply) => line.on_bytes(port.data(&reply)),
            Err(Error::Slot(SlotError::Mute)) => line.on_timeout(),
            Err(error) => return Err(error),
        };
    }
}

/// Sends characters of a command that does not fit one message. The card does not answer these.
fn send_characters<T: Transport>(
    port: &mut Port<T>,
    slot: u8,
    characters: &[u8],
    limit: Duration,
) -> Result<(), Error> {
    let command = Command::XfrBlock {
        bwi: 0,
        level: 0,
        data: characters,
    };
    let reply = port.call(slot, &command, limit)?;
    match port.data(&reply) {
        [] => Ok(()),
        _ => Err(Error::WrongReply),
    }
}

pub fn copy(data: &[u8], response: &mut [u8]) -> Result<usize, Error> {
    response
        .get_mut(..data.len())
        .ok_or(Error::BufferTooSmall)?
        .copy_from_slice(data);
    Ok(data.len())
}
