//! XfrBlock at each level of exchange (CCID 1.1, clause 6.1.4).

use std::time::Duration;

use super::model::Model;
use super::oddities::Oddities;
use super::slot::Slot;
use crate::card::Contact;
use pcsc_ccid::apdu::{CommandApdu, MAX_RESPONSE};
use pcsc_ccid::descriptor::{ExchangeLevel, Features, Flavour};
use pcsc_ccid::message::{Chain, SlotErrorCode, HEADER_SIZE};
use pcsc_ccid::t0::{self, T0Error};
use pcsc_ccid::t1::{self, Edc, Pcb, Supervisory, T1Error};

/// The longest command APDU that a firmware gathers.
const MAX_COMMAND: usize = pcsc_ccid::apdu::MAX_EXTENDED_COMMAND;

/// How often a reader that is busy with a card says so.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// How often in a row a firmware that speaks T=1 itself grants a card more time. ISO/IEC 7816-3 sets no
/// limit; this one ends an exchange with a card that does nothing else.
const PATIENCE: u16 = 1024;

/// One XfrBlock.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    pub bwi: u8,
    pub level: u16,
    pub data: &'a [u8],
}

/// What goes back in the data block: the data and `bChainParameter`.
pub(super) type Answer = Result<(Vec<u8>, u8), SlotErrorCode>;

impl Slot {
    /// Does what the block asks for.
    pub(super) fn xfr(&mut self, block: Block<'_>, model: &Model, oddities: &Oddities) -> Answer {
        let level = model.descriptor.features.exchange_level();
        self.began = self.elapsed();
        let line = self.live()?.line();
        let too_fast = oddities
            .contact_limit_bps
            .is_some_and(|limit| line.bits_per_second() > limit);
        if too_fast || self.clock_stopped {
            self.fresh = false;
            return Err(SlotErrorCode::Hardware);
        }
        // FF is PPSS: between the ATR and the first exchange, a block that begins with it is a PPS request.
        if self.fresh {
            if block.data.first() == Some(&0xFF) {
                self.fresh = false;
                return Ok((self.exchange_pps(block.data)?, 0));
            }
            self.agree_late(model)?;
            self.fresh = false;
        }
        match level {
            ExchangeLevel::Character => {
                let room = model.descriptor.max_message_length as usize;
                // At the character level, `wLevelParameter` is the number of bytes to receive.
                if model.flavour() == Flavour::Ccid && usize::from(block.level) + HEADER_SIZE > room {
                    return Err(SlotErrorCode::Parameter(8));
                }
                Ok((self.characters(block)?, 0))
            }
            ExchangeLevel::Tpdu => Ok((self.tpdu(block, model)?, 0)),
            ExchangeLevel::ShortApdu => {
                if block.data.len() > pcsc_ccid::apdu::MAX_SHORT_COMMAND {
                    return Err(SlotErrorCode::Parameter(1));
                }
                Ok((self.apdu(block.data, model)?, 0))
            }
            ExchangeLevel::ExtendedApdu if oddities.no_extended_apdu => {
                let is_extended = CommandApdu::parse(block.data).is_ok_and(|command| command.extended);
                match block.level {
                    0 if is_extended => Err(SlotErrorCode::Parameter(1)),
                    0 => Ok((self.apdu(block.data, model)?, 0)),
                    _ => Err(SlotErrorCode::Parameter(8)),
                }
            }
            ExchangeLevel::ExtendedApdu => self.chained(block, model),
        }
    }

    fn characters(&mut self, block: Block<'_>) -> Result<Vec<u8>, SlotErrorCode> {
        let parameters = self.parameters;
        let contact = self.live()?;
        let line = contact.line();
        contact.send(block.data);
        let mut answer = Vec::new();
        let wait = match parameters.protocol {
            1 => (parameters.block_wait(line), parameters.character_wait()),
            _ => (parameters.work_wait(line), parameters.work_wait(line)),
        };
        let received = contact.receive(
            &mut answer,
            usize::from(block.level),
            wait.0 * u64::from(block.bwi.max(1)),
            wait.1,
        );
        if received.parity_error {
            return Err(SlotErrorCode::Parity);
        }
        match answer.is_empty() && block.level > 0 {
            true => Err(SlotErrorCode::Mute),
            false => Ok(answer),
        }
    }

    pub(super) fn tpdu(&mut self, block: Block<'_>, model: &Model) -> Result<Vec<u8>, SlotErrorCode> {
        if self.parameters.protocol == 0 {
            let mut header = [0; 5];
            let length = block.data.len().min(5);
            header[..length].copy_from_slice(&block.data[..length]);
            let direction = match block.data {
                [] | [_] | [_, _] | [_, _, _] => return Err(SlotErrorCode::Parameter(1)),
                // A header alone is of case 1 or 2: no data go to the card.
                [_, _, _, _] | [_, _, _, _, _] => t0::DataDirection::FromCard,
                [_, _, _, _, _, data @ ..] => t0::DataDirection::ToCard(data),
            };
            return self.t0_tpdu(header, direction);
        }
        if !self.ifsd_told && model.descriptor.features.has(Features::AUTOMATIC_IFSD) {
            self.tell_ifsd(model)?;
        }
        self.t1_block(block.data, block.bwi)
    }

    /// The reader's own S(IFS request).
    fn tell_ifsd(&mut self, model: &Model) -> Result<(), SlotErrorCode> {
        self.ifsd_told = true;
        let ifsd = model.descriptor.max_ifsd.clamp(1, 254) as u8;
        let mut buffer = [0; t1::MAX_BLOCK];
        let length = t1::Block {
            nad: 0,
            pcb: Pcb::Request(Supervisory::Ifs),
            inf: &[ifsd],
        }
        .encode(self.parameters.edc(), &mut buffer);
        // A card that does not answer the announcement stays at 32, the default.
        self.t1_block(&buffer[..length], 1).map(drop)
    }

    fn t1_block(&mut self, block: &[u8], bwi: u8) -> Result<Vec<u8>, SlotErrorCode> {
        match self.t1_transfer(block, bwi)? {
            (answer, _) if answer.is_empty() => Err(SlotErrorCode::Mute),
            (_, false) => Err(SlotErrorCode::Parity),
            (answer, true) => Ok(answer),
        }
    }

    /// Sends a block and receives one within `times` the block waiting time. Returns whether it is sound too.
    fn t1_transfer(&mut self, block: &[u8], times: u8) -> Result<(Vec<u8>, bool), SlotErrorCode> {
        let parameters = self.parameters;
        let contact = self.live()?;
        contact.send(block);
        let wait = parameters.block_wait(contact.line()) * u64::from(times.max(1));
        let mut answer = Vec::with_capacity(t1::MAX_BLOCK);
        let next = parameters.character_wait();
        let is_sound = receive_block(contact, &mut answer, wait, next, parameters.edc());
        Ok((answer, is_sound))
    }

    fn t0_tpdu(
        &mut self,
        header: [u8; 5],
        direction: t0::DataDirection<'_>,
    ) -> Result<Vec<u8>, SlotErrorCode> {
        let mut response = [0; t0::MAX_TPDU_RESPONSE];
        let mut line = t0::Character::new(header, direction, &mut response).map_err(t0_error)?;
        let parameters = self.parameters;
        let mut step = line.start();
        loop {
            match step {
                t0::CharacterAction::Done(length) => return Ok(response[..length].to_vec()),
                t0::CharacterAction::Failed(error) => return Err(t0_error(error)),
                t0::CharacterAction::Transfer { expect } => {
                    let contact = self.live()?;
                    let wait = parameters.work_wait(contact.line());
                    contact.send(line.outgoing());
                    let mut bytes = Vec::with_capacity(expect);
                    let received = contact.receive(&mut bytes, expect, wait, wait);
                    self.show_life();
                    step = match bytes.is_empty() {
                        _ if received.parity_error => line.on_parity_error(),
                        true => line.on_timeout(),
                        false => line.on_bytes(&bytes),
                    };
                }
            }
        }
    }

    /// A whole APDU over the protocol in force.
    pub(super) fn apdu(&mut self, command: &[u8], model: &Model) -> Result<Vec<u8>, SlotErrorCode> {
        // Bytes that are no command APDU (ISO/IEC 7816-4, clause 5.1) cannot be mapped to TPDUs.
        let parsed = CommandApdu::parse(command).map_err(|_| SlotErrorCode::Parameter(HEADER_SIZE as u8))?;
        let mut response = Vec::from([0; 258]);
        if !parsed.fits_short() {
            response.resize(MAX_RESPONSE, 0);
        }
        let length = match self.parameters.protocol {
            0 => self.t0_apdu(command, parsed, &mut response)?,
            _ => self.t1_apdu(command, &mut response, model)?,
        };
        response.truncate(length);
        Ok(response)
    }

    fn t0_apdu(
        &mut self,
        apdu: &[u8],
        command: CommandApdu<'_>,
        response: &mut [u8],
    ) -> Result<usize, SlotErrorCode> {
        let mut exchange = t0::T0Exchange::new(apdu, command, t0::StatusWordPolicy::default(), response)
            .map_err(t0_error)?;
        let mut action = exchange.start();
        loop {
            action = match action {
                t0::T0Action::Done(length) => return Ok(length),
                t0::T0Action::Failed(error) => return Err(t0_error(error)),
                t0::T0Action::Send => {
                    let (header, direction) = exchange.parts();
                    let answer = self.t0_tpdu(header, direction)?;
                    exchange.on_response(&answer)
                }
            };
        }
    }

    fn t1_apdu(
        &mut self,
        command: &[u8],
        response: &mut [u8],
        model: &Model,
    ) -> Result<usize, SlotErrorCode> {
        let parameters = self.parameters;
        let descriptor = &model.descriptor;
        let nad = match descriptor.features.has(Features::NAD) {
            true => parameters.nad(),
            false => 0,
        };
        let ifsd = match descriptor.features.has(Features::AUTOMATIC_IFSD) {
            true => descriptor.max_ifsd.clamp(1, 254) as u8,
            false => 32,
        };
        let mut engine = self.engine.take().unwrap_or_else(|| {
            Box::new(t1::Engine::new(t1::Config {
                nad,
                edc: parameters.edc(),
                ifsc: parameters.ifsc(),
                ifsd,
                wtx_in_a_row: PATIENCE,
                ..t1::Config::default()
            }))
        });
        let result = self.t1_exchange(&mut engine, command, response);
        self.engine = Some(engine);
        result
    }

    fn t1_exchange(
        &mut self,
        engine: &mut t1::Engine,
        command: &[u8],
        response: &mut [u8],
    ) -> Result<usize, SlotErrorCode> {
        let mut exchange = engine.exchange(command, response);
        let mut action = exchange.start();
        let mut parity = false;
        loop {
            let wait = match action {
                t1::T1Action::Send { wait } => wait,
                t1::T1Action::Done(length) => return Ok(length),
                t1::T1Action::Failed(T1Error::ResponseTooLong) => return Err(SlotErrorCode::Overrun),
                t1::T1Action::Failed(_) if parity => return Err(SlotErrorCode::Parity),
                t1::T1Action::Failed(_) => return Err(SlotErrorCode::Mute),
            };
            let now = self.live()?.elapsed();
            if wait > 1 {
                self.extensions.push((now, wait));
            }
            let (block, is_sound) = self.t1_transfer(exchange.block(), wait)?;
            parity = !is_sound;
            self.show_life();
            action = match block.is_empty() {
                true => exchange.on_timeout(),
                false if parity => exchange.on_parity_error(),
                false => exchange.on_block(&block),
            };
        }
    }

    /// Extended APDU level: parts of an APDU either way, by `wLevelParameter`.
    fn chained(&mut self, block: Block<'_>, model: &Model) -> Answer {
        const LEVEL: SlotErrorCode = SlotErrorCode::Parameter(8);
        let begun = !self.command.is_empty();
        match block.level {
            0x10 if begun || self.response.is_empty() => Err(LEVEL),
            0x10 => Ok(self.next_part(false, model)),
            0 | 1 if begun => {
                self.abort();
                Err(LEVEL)
            }
            2 | 3 if !begun => Err(LEVEL),
            0..=3 => {
                self.response.clear();
                if self.command.len() + block.data.len() > MAX_COMMAND {
                    self.abort();
                    return Err(SlotErrorCode::Overrun);
                }
                self.command.extend_from_slice(block.data);
                if matches!(block.level, 1 | 3) {
                    return Ok((Vec::new(), Chain::Expected as u8));
                }
                let command = std::mem::take(&mut self.command);
                self.response = self.apdu(&command, model)?;
                Ok(self.next_part(true, model))
            }
            _ => Err(LEVEL),
        }
    }

    fn next_part(&mut self, first: bool, model: &Model) -> (Vec<u8>, u8) {
        let room = (model.descriptor.max_message_length as usize)
            .saturating_sub(HEADER_SIZE)
            .max(1);
        let length = self.response.len().min(room);
        let part: Vec<u8> = self.response.drain(..length).collect();
        let chain = match (first, self.response.is_empty()) {
            (true, true) => Chain::Whole,
            (true, false) => Chain::Begins,
            (false, false) => Chain::Continues,
            (false, true) => Chain::Ends,
        };
        (part, chain as u8)
    }

    /// A command that takes long: the reader asks the host for time once a second.
    fn show_life(&mut self) {
        let last = self.extensions.last().map_or(self.began, |(at, _)| *at);
        let now = self.elapsed();
        if now.saturating_sub(last) >= SIGN_OF_LIFE {
            self.extensions.push((now, 1));
        }
    }

    /// Takes the times at which the reader asked for more.
    pub(super) fn take_extensions(&mut self) -> Vec<(Duration, u8)> {
        std::mem::take(&mut self.extensions)
    }
}

/// Block guard time in etu (ISO 7816-3 clause 11.4.3).
const BLOCK_GUARD: u64 = 22;

/// Receives a T=1 block by its length byte. Returns whether every character's parity was right, and whether
/// the block ended where it says.
fn receive_block(contact: &mut Contact, block: &mut Vec<u8>, first: u64, next: u64, edc: Edc) -> bool {
    let mut received = contact.receive(block, 3, first, next);
    let mut is_sound = !received.parity_error;
    if let [_, _, length] = **block {
        // LEN 255 is reserved; what follows is taken as it comes.
        let left = usize::from(length) + edc.size();
        received = contact.receive(block, left, next, next);
        is_sound &= !received.parity_error;
    }
    if contact.is_busy(BLOCK_GUARD) {
        is_sound = false;
        contact.receive(&mut Vec::new(), t1::MAX_BLOCK, BLOCK_GUARD, next);
    }
    is_sound
}

fn t0_error(error: T0Error) -> SlotErrorCode {
    match error {
        T0Error::Timeout | T0Error::NullLimit => SlotErrorCode::Mute,
        T0Error::Parity => SlotErrorCode::Parity,
        T0Error::UnexpectedData | T0Error::ResponseTooLong => SlotErrorCode::Overrun,
        T0Error::InvalidInstruction(_) | T0Error::InvalidLength => {
            SlotErrorCode::Parameter(HEADER_SIZE as u8)
        }
        _ => SlotErrorCode::ProcedureByte,
    }
}
