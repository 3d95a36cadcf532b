//! PIN entry at the reader (CCID 1.1, clause 6.1.11; PC/SC part 10, clauses 2.5.2 and 2.5.3). The reader
//! inserts the PIN into the command, so the host never has it.

use core::time::Duration;

use super::exchange::SlotPort;
use super::reply::Reply;
use super::session::Protocol;
use super::{exchange, Reader, ReaderError};
use crate::descriptor::ExchangeLevel;
use crate::message::CommandMessage;
use crate::part10::pin::{Apdu, Modification, PinEntry, Verification};
use crate::part10::secure::{self, SecureData};
use crate::part10::tpdu::{self, Answer};
use crate::t1::{Edc, MAX_BLOCK};
use crate::transport::Transport;

/// How often a card may request a waiting time extension while it checks a PIN. The deadline bounds the time;
/// this bounds a card that requests without a pause.
const MAX_WTX: u16 = u16::MAX;

/// What T=1 at TPDU level adds to a PIN command.
struct Framing {
    prologue: [u8; 3],
    edc: Edc,
    /// N(S) of the card's answer.
    expected: u8,
    nad: u8,
}

impl<T: Transport> Reader<T> {
    pub(super) fn verify_pin(
        &mut self,
        slot: u8,
        data: &[u8],
        answer: &mut [u8],
    ) -> Result<usize, ReaderError> {
        let pin = Verification::decode(data).ok_or(ReaderError::InvalidParameter)?;
        if let Some(escape) = secure::escape_before(&pin, &self.quirks.pin) {
            self.escape(slot, escape, &mut [0; 16])?;
        }
        let framing = self.framing(slot, &pin.apdu)?;
        let prologue = framing.as_ref().map_or([0; 3], |framing| framing.prologue);
        let secure = secure::verification(&pin, &self.quirks.pin, self.firmware.as_ref(), prologue);
        if !self.quirks.pin.key_release.is_zero() {
            self.port.transport().pause(self.quirks.pin.key_release)?;
        }
        self.enter_pin(slot, &secure, &pin.entry, framing, answer)
    }

    pub(super) fn modify_pin(
        &mut self,
        slot: u8,
        data: &[u8],
        answer: &mut [u8],
    ) -> Result<usize, ReaderError> {
        let pin = Modification::decode(data).ok_or(ReaderError::InvalidParameter)?;
        let framing = self.framing(slot, &pin.apdu)?;
        let prologue = framing.as_ref().map_or([0; 3], |framing| framing.prologue);
        let secure = secure::modification(&pin, &self.quirks.pin, self.firmware.as_ref(), prologue);
        self.enter_pin(slot, &secure, &pin.entry, framing, answer)
    }

    /// The block around a command, if the reader leaves T=1 to the host.
    fn framing(&mut self, slot: u8, apdu: &Apdu<'_>) -> Result<Option<Framing>, ReaderError> {
        let level = self.exchange_level();
        let chosen = self
            .slots
            .get_mut(usize::from(slot))
            .and_then(|slot| slot.chosen.as_deref_mut())
            .ok_or(ReaderError::NotPowered)?;
        if level != ExchangeLevel::Tpdu || chosen.protocol != Protocol::T1 {
            return Ok(None);
        }
        let engine = chosen.engine.as_mut().ok_or(ReaderError::NotPowered)?;
        let mut port = SlotPort {
            port: &mut self.port,
            slot,
            limit: chosen.block_limit,
        };
        // Resynchronises after an exchange that was given up, and sends nothing otherwise. The card of such
        // an exchange answers the PIN's block with what it still has of the command before, and that would
        // pass for the answer to the PIN.
        let in_step = port.drive_t1(engine.negotiate(), level);
        let (seq, expected) = engine.sequence();
        let (nad, edc) = (engine.config().nad, engine.config().edc);
        self.heed(slot, in_step)?;
        let length = apdu.bytes().len();
        Ok(Some(Framing {
            prologue: tpdu::prologue(nad, seq, length).ok_or(ReaderError::InvalidParameter)?,
            edc,
            expected,
            nad,
        }))
    }

    fn enter_pin(
        &mut self,
        slot: u8,
        secure: &SecureData,
        entry: &PinEntry,
        framing: Option<Framing>,
        answer: &mut [u8],
    ) -> Result<usize, ReaderError> {
        let command = CommandMessage::Secure {
            bwi: 0,
            level: 0,
            data: secure.bytes(),
        };
        let limit = secure::answer_limit(entry);
        // Before the user types: a PIN that goes to a card in the middle of a command may be taken for its
        // data.
        self.bring_back(slot)?;
        let result = match self.port.call(slot, &command, limit) {
            Err(ReaderError::Slot(error)) => match secure::status_word(error) {
                // The reader has not sent the command to the card.
                // Without `note_entry`: the sequence numbers of T=1 have not moved.
                Some(status) => return exchange::copy(&status, answer),
                None => Err(ReaderError::Slot(error)),
            },
            Err(error) => Err(error),
            Ok(reply) => match framing {
                None => exchange::copy(self.port.data(&reply), answer),
                Some(framing) => self.finish_block(slot, &framing, reply, answer, limit),
            },
        };
        self.note_entry(slot, &result)?;
        self.heed(slot, result)
    }

    /// Notes the state of the protocol after a command that the reader has built and sent.
    fn note_entry(&mut self, slot: u8, result: &Result<usize, ReaderError>) -> Result<(), ReaderError> {
        let level = self.exchange_level();
        let Some(chosen) = self.slot(slot)?.chosen.as_deref_mut() else {
            return Ok(());
        };
        match (&mut chosen.engine, result) {
            (Some(engine), Ok(_)) => engine.note_foreign_exchange(true),
            // Whether the block has reached the card is not known.
            (Some(engine), Err(error)) if error.is_half_way() => engine.note_foreign_exchange(false),
            (None, Err(error)) => chosen.note_failure(level, *error),
            _ => (),
        }
        Ok(())
    }

    /// Extracts the answer from the card's block, after granting the waiting time extensions that it
    /// requests.
    fn finish_block(
        &mut self,
        slot: u8,
        framing: &Framing,
        mut reply: Reply,
        answer: &mut [u8],
        limit: Duration,
    ) -> Result<usize, ReaderError> {
        let deadline = self.port.deadline();
        for _ in 0..MAX_WTX {
            self.port.check(deadline)?;
            let factor = match tpdu::answer(self.port.data(&reply), framing.edc, framing.expected) {
                Ok(Answer::Apdu(apdu)) => return exchange::copy(apdu, answer),
                Ok(Answer::Wtx(factor)) => factor,
                Err(_) => return Err(ReaderError::WrongReply),
            };
            let mut more = [0; MAX_BLOCK];
            let size = tpdu::more_time(framing.nad, factor, framing.edc, &mut more);
            let command = CommandMessage::XfrBlock {
                bwi: factor,
                level: 0,
                data: more.get(..size).unwrap_or(&[]),
            };
            reply = self.port.call(slot, &command, limit)?;
        }
        Err(ReaderError::TooSlow)
    }
}
