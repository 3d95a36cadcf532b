//! The choice of protocol and speed (CCID 1.1, clauses 6.1.7 and 6.1.14; ISO 7816-3, clauses 6.3 and 9), and
//! stepping down where a card fails at a raised speed.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::exchange::SlotPort;
use super::reply::Reply;
use super::session::{Chosen, Protocol};
use super::{Reader, ReaderError, Reset};
use crate::atr::{Atr, Mode, WaitingIntegers, DEFAULT_TA1};
use crate::attributes::Current;
use crate::descriptor::{ExchangeLevel, Features, Flavour};
use crate::message::{CommandMessage, SlotErrorCode};
use crate::parameters::{self, Parameters, Specific};
use crate::pps;
use crate::quirks;
use crate::speed::{self, ReaderSpeeds, SpeedChoice};
use crate::t1;
use crate::transport::{Transport, TransportError};
use crate::waiting::Waiting;

impl<T: Transport> Reader<T> {
    /// Selects the protocol after a reset, at the fastest speed that card and reader have in common. If the
    /// card refuses a speed or goes mute at it, the card is reset and the next lower one is tried, down to
    /// 372/1. The caller does not notice these resets.
    ///
    /// # Errors
    /// [`ReaderError::ProtocolUnsupported`] if the card or the reader does not offer it;
    /// [`ReaderError::NotPowered`] before a reset.
    pub fn set_protocol(&mut self, slot: u8, protocol: Protocol) -> Result<(), ReaderError> {
        let state = self.slot(slot)?;
        if state.atr_bytes.is_empty() {
            return Err(ReaderError::NotPowered);
        }
        match &state.chosen {
            Some(chosen) if chosen.protocol == protocol => return Ok(()),
            // PPS is allowed after a reset only (ISO 7816-3, clause 9), and this call does not reset the
            // card.
            Some(_) => return Err(ReaderError::ProtocolUnsupported),
            None => (),
        }
        let slowed = state.slowed.filter(|(of, _)| *of == protocol);
        let known = self.speeds.steps(self.atr(slot), protocol as u8);
        // The slower one: what has failed since power-up counts even if it is not remembered yet.
        let steps = slowed.map_or(known, |(_, steps)| steps.max(known));
        let result = self.choose(slot, protocol, steps, steps == known);
        self.heed(slot, result)
    }

    /// The parameters in force since [`Reader::set_protocol`]. For a reader that negotiates by itself they
    /// are those of the ATR.
    pub fn current(&self, slot: u8) -> Option<Current> {
        let chosen = self.chosen(slot)?;
        Some(Current {
            clock_khz: chosen.clock_khz,
            ifsd: self.ifsd(),
            parameters: chosen.parameters,
        })
    }

    /// The speed chosen, in bits per second.
    pub fn bits_per_second(&self, slot: u8) -> Option<u32> {
        Some(self.chosen(slot)?.bits_per_second)
    }

    fn chosen(&self, slot: u8) -> Option<&Chosen> {
        self.slots.get(usize::from(slot))?.chosen.as_deref()
    }

    /// Resets the card to a lower speed after a failure that a lower speed may cure; returns the error to
    /// report.
    pub(super) fn step_down(&mut self, slot: u8, error: ReaderError) -> ReaderError {
        let Some(Chosen { protocol, steps, .. }) = self.chosen(slot) else {
            return error;
        };
        let (protocol, steps) = (*protocol, *steps);
        let Ok((_, ladder)) = self.ladder(slot, protocol) else {
            return error;
        };
        // At the default speed the fault is another one.
        if steps + 1 >= ladder.len() {
            return error;
        }
        let bytes = self.atr(slot).to_vec();
        let is_slow = self.speeds.doubt(&bytes, protocol as u8, steps);
        let result = self
            .reset_same_card(slot)
            .and_then(|()| self.choose(slot, protocol, steps + 1, is_slow));
        match self.heed(slot, result) {
            Ok(()) => ReaderError::CardReset,
            Err(later @ (ReaderError::NoCard | ReaderError::Transport(_))) => later,
            Err(_) => error,
        }
    }

    /// Resets a card that may be in the middle of a command, which would take the next command for the rest
    /// of it. Fails with [`ReaderError::CardReset`] then, so that the caller does not send its command to a
    /// card without its state.
    pub(super) fn bring_back(&mut self, slot: u8) -> Result<(), ReaderError> {
        let chosen = self.chosen(slot).ok_or(ReaderError::NotPowered)?;
        if !chosen.is_adrift {
            return Ok(());
        }
        let (protocol, steps) = (chosen.protocol, chosen.steps);
        let result = self
            .reset_same_card(slot)
            .and_then(|()| self.choose(slot, protocol, steps, false));
        self.heed(slot, result)?;
        Err(ReaderError::CardReset)
    }

    /// The speeds to try, fastest first; the last one is the card's default. There is at least one.
    fn ladder(&mut self, slot: u8, protocol: Protocol) -> Result<(Atr, Vec<SpeedChoice>), ReaderError> {
        let mut rates = self.data_rates.clone();
        self.quirks.limit_rates(slot, &mut rates);
        let descriptor = &self.descriptor;
        let speeds = ReaderSpeeds {
            default_clock_khz: descriptor.default_clock_khz,
            maximum_clock_khz: descriptor.max_clock_khz,
            data_rate_bps: descriptor.data_rate_bps,
            max_data_rate_bps: descriptor.max_data_rate_bps,
            num_data_rates: descriptor.data_rate_count,
            data_rates: &rates,
            has_automatic_clock: descriptor.features.has(Features::AUTOMATIC_CLOCK),
        };
        let bytes = self.atr(slot);
        let atr = Atr::parse(bytes).map_err(ReaderError::Atr)?;
        let offered = descriptor.protocols & 3;
        // A reader that offers nothing, or in the wrong byte order, offers what its card does.
        let reader_offers = offered == 0 || offered & 1 << protocol as u8 != 0;
        let card_offers = match atr.mode() {
            Mode::Specific { protocol: only, .. } => only == protocol as u8,
            Mode::Negotiable => atr.protocols().contains(&(protocol as u8)),
        };
        if !reader_offers || !card_offers {
            return Err(ReaderError::ProtocolUnsupported);
        }
        let mut candidates = speed::candidates(&atr, &speeds);
        if !self.may_change_speed() {
            if atr.mode() == Mode::Negotiable
                && protocol as u8 != atr.first_protocol()
                && !self.reader_negotiates()
            {
                return Err(ReaderError::ProtocolUnsupported);
            }
            if self.reader_negotiates() {
                // It selects the speed itself.
                candidates.truncate(1);
            } else {
                // The card stays at its default.
                candidates.drain(..candidates.len() - 1);
            }
        }
        Ok((atr, candidates))
    }

    /// Whether the reader agrees on the speed with the card by rules of its own.
    fn reader_negotiates(&self) -> bool {
        self.descriptor.features.has(Features::AUTOMATIC_NEGOTIATION) || self.flavour != Flavour::Ccid
    }

    /// Whether the speed is ours to choose: by PPS, or by parameters from which the reader makes one.
    fn may_change_speed(&self) -> bool {
        let by_reader = self.descriptor.features.has(Features::AUTOMATIC_PPS);
        !self.reader_negotiates() && (by_reader || self.can_carry_pps())
    }

    /// A PPS request is no APDU.
    fn can_carry_pps(&self) -> bool {
        let level = self.descriptor.features.exchange_level();
        matches!(level, ExchangeLevel::Tpdu | ExchangeLevel::Character) && !self.quirks.no_pps
    }

    /// Tries the speeds from this step on. If that takes minutes, it goes on with the slowest one. The result
    /// holds until the card is powered off, or, if it `is_for_later`, is remembered for the card.
    fn choose(
        &mut self,
        slot: u8,
        protocol: Protocol,
        from: usize,
        is_for_later: bool,
    ) -> Result<(), ReaderError> {
        let (atr, ladder) = self.ladder(slot, protocol)?;
        // The last step of the card's first protocol sends nothing: it is how the card is after a reset.
        let has_default = atr.mode() == Mode::Negotiable && protocol as u8 == atr.first_protocol();
        let is_choice = atr.mode() == Mode::Negotiable && !has_default;
        let last = if has_default {
            ladder.len()
        } else {
            ladder.len() - 1
        };
        let deadline = self.port.deadline();
        for steps in from.min(last)..=last {
            if steps < last && self.port.check(deadline).is_err() {
                continue;
            }
            let settled = match ladder.get(steps) {
                Some(candidate) => self.negotiate(slot, &atr, protocol, *candidate, steps),
                None => self.settle(slot, &atr, protocol, ladder[ladder.len() - 1], steps),
            };
            match settled.and_then(|chosen| self.announce_ifsd(slot, chosen)) {
                Ok(chosen) => {
                    if is_for_later {
                        let bytes = self.atr(slot).to_vec();
                        self.speeds.remember(&bytes, protocol as u8, chosen.steps);
                    } else {
                        self.slot(slot)?.slowed = Some((protocol, chosen.steps));
                    }
                    self.slot(slot)?.chosen = Some(Box::new(chosen));
                    return Ok(());
                }
                Err(error) if is_worth_a_step(error) && (steps < last || is_choice) => {
                    self.reset_same_card(slot)?;
                }
                Err(error) => return Err(error),
            }
        }
        // The card does not accept this protocol. It is left ready for its first one.
        Err(ReaderError::ProtocolUnsupported)
    }

    /// A cold reset; fails if another card answers.
    fn reset_same_card(&mut self, slot: u8) -> Result<(), ReaderError> {
        let before = self.atr(slot).to_vec();
        // The reset is not the caller's, who would go on with another card as if it were this one.
        if self.power_on(slot, Reset::Cold)? != before {
            self.cut_power(slot)?;
            return Err(ReaderError::NoCard);
        }
        Ok(())
    }

    /// Brings card and reader to one speed.
    fn negotiate(
        &mut self,
        slot: u8,
        atr: &Atr,
        protocol: Protocol,
        mut candidate: SpeedChoice,
        steps: usize,
    ) -> Result<Chosen, ReaderError> {
        if self.reader_negotiates() {
            self.check_readers_choice(slot, atr, protocol)?;
            return self.settle(slot, atr, protocol, candidate, steps);
        }
        // PPS comes before SetParameters: the card answers it at the old speed, which the reader must still
        // use (ISO 7816-3, clause 9).
        if self.can_carry_pps() && !self.descriptor.features.has(Features::AUTOMATIC_PPS) {
            if let Some(request) = pps::PpsRequest::needed(atr, protocol as u8, candidate.ta1) {
                if self.exchange_pps(slot, request)? == pps::PpsOutcome::RateRefused {
                    candidate = SpeedChoice::new(DEFAULT_TA1, candidate.clock_khz);
                }
            }
        }
        let mut chosen = self.settle(slot, atr, protocol, candidate, steps)?;
        if let Some(ta1) = self.set_parameters(slot, &chosen.parameters)? {
            candidate = SpeedChoice::new(ta1, candidate.clock_khz);
            chosen = self.settle(slot, atr, protocol, candidate, steps)?;
        }
        if !self.descriptor.features.has(Features::AUTOMATIC_BAUD_RATE) && candidate.ta1 != DEFAULT_TA1 {
            let command = CommandMessage::SetDataRateAndClockFrequency {
                clock_khz: candidate.clock_khz,
                rate_bps: candidate.bits_per_second,
            };
            match self.call(slot, &command) {
                // Many readers follow the parameters without announcing it, and refuse this command in their
                // way: libccid never sends it. The exchange that follows shows whether the rate is in force.
                Ok(_) | Err(ReaderError::Slot(_)) => (),
                Err(error) => return Err(error),
            }
        }
        Ok(chosen)
    }

    /// Builds the state of the protocol at this speed. Sends nothing.
    fn settle(
        &self,
        slot: u8,
        atr: &Atr,
        protocol: Protocol,
        candidate: SpeedChoice,
        steps: usize,
    ) -> Result<Chosen, ReaderError> {
        let mut parameters = Parameters::for_card(atr, protocol as u8, candidate.ta1)
            .ok_or(ReaderError::ProtocolUnsupported)?;
        if let Specific::T1(t1) = &mut parameters.specific {
            if let Some(card) = quirks::for_card(self.atr(slot)) {
                // A card whose ATR promises shorter times than it keeps.
                t1.waiting = WaitingIntegers::from_byte(card.waiting);
            }
        }
        let waiting = Waiting::new(atr, &parameters, candidate.clock_khz);
        let level = self.exchange_level();
        let extra = if protocol == Protocol::T1 {
            self.quirks.exchange_extra
        } else {
            Duration::ZERO
        };
        let block_limit = waiting.tpdu().max(self.quirks.command_limit()) + extra;
        let engine = match (&parameters.specific, level) {
            (Specific::T1(t1), ExchangeLevel::Tpdu | ExchangeLevel::Character) => {
                Some(t1::Engine::new(t1::Config {
                    edc: t1.edc,
                    ifsc: t1.ifsc,
                    longest: self.largest_block(),
                    ifsd: self.ifsd(),
                    ifsd_is_known: self.descriptor.features.has(Features::AUTOMATIC_IFSD),
                    ..t1::Config::default()
                }))
            }
            _ => None,
        };
        Ok(Chosen {
            protocol,
            steps,
            parameters,
            clock_khz: candidate.clock_khz,
            bits_per_second: candidate.bits_per_second,
            engine,
            waiting,
            extra,
            block_limit,
            is_adrift: false,
        })
    }

    /// The longest information field that fits a message: without NAD, PCB, LEN and the longest check.
    fn largest_block(&self) -> u8 {
        u8::try_from(self.port.max_data().saturating_sub(5).clamp(1, 254)).unwrap_or(254)
    }

    /// The IFSD of the reader; 32, which needs no announcement, if the descriptor has 0.
    fn ifsd(&self) -> u8 {
        match self.descriptor.max_ifsd {
            0 => 32,
            ifsd => u8::try_from(ifsd).unwrap_or(254).min(self.largest_block()),
        }
    }

    /// Announces IFSD to the card. As the first exchange at a new speed it also detects a speed that does not
    /// work, before the application sends a command.
    fn announce_ifsd(&mut self, slot: u8, mut chosen: Chosen) -> Result<Chosen, ReaderError> {
        let level = self.exchange_level();
        if let Some(engine) = &mut chosen.engine {
            let mut port = SlotPort {
                port: &mut self.port,
                slot,
                limit: chosen.block_limit,
            };
            port.drive_t1(engine.negotiate(), level)?;
        }
        Ok(chosen)
    }

    /// PPS through the reader, as bytes to the card (ISO 7816-3, clause 9).
    fn exchange_pps(&mut self, slot: u8, request: pps::PpsRequest) -> Result<pps::PpsOutcome, ReaderError> {
        let mut buffer = [0; pps::MAX_SIZE];
        let bytes = request.encode(&mut buffer);
        let is_character = self.exchange_level() == ExchangeLevel::Character;
        let command = CommandMessage::XfrBlock {
            bwi: 0,
            level: if is_character { bytes.len() as u16 } else { 0 },
            data: bytes,
        };
        let reply = self.call(slot, &command)?;
        request
            .check(self.port.data(&reply))
            // A wrong answer ends the negotiation as none does: the card is reset and the next step tried
            // (clause 9.1).
            .ok_or(ReaderError::Slot(SlotErrorCode::Mute))
    }

    /// Sends SetParameters. Returns F and D, coded as TA1, if the reader reports that others than those asked
    /// for are in force: a reader that sets the parameters itself, or supports the default only, may refuse
    /// the command; one that makes the PPS reports that the card has refused the rate.
    fn set_parameters(&mut self, slot: u8, parameters: &Parameters) -> Result<Option<u8>, ReaderError> {
        let mut buffer = [0; parameters::MAX_SIZE];
        let protocol = parameters.protocol();
        let command = CommandMessage::SetParameters {
            protocol,
            data: parameters.encode(&mut buffer),
        };
        let features = self.descriptor.features;
        let asked = parameters.f_index_d_index;
        let may_refuse = asked == DEFAULT_TA1 || features.has(Features::AUTOMATIC_PARAMETERS);
        let told = match self.call(slot, &command) {
            // The answer repeats what was asked for, unless the reader has made the PPS.
            Ok(_) if !features.has(Features::AUTOMATIC_PPS) => None,
            Ok(reply) => self.read_parameters(&reply).filter(|told| told.1 == DEFAULT_TA1),
            Err(ReaderError::Slot(SlotErrorCode::Parameter(_) | SlotErrorCode::CommandUnsupported))
                if may_refuse =>
            {
                self.parameters_in_force(slot)?
            }
            Err(error) => return Err(error),
        };
        Ok(told
            .filter(|told| told.0 == protocol && told.1 != asked)
            .map(|told| told.1))
    }

    /// A reader that negotiates by rules of its own has selected the protocol as well. At APDU level the
    /// reader speaks it and any protocol will do; otherwise the host does, and it must be this one.
    fn check_readers_choice(&mut self, slot: u8, atr: &Atr, protocol: Protocol) -> Result<(), ReaderError> {
        if self.exchange_level().is_apdu() || self.flavour != Flavour::Ccid || atr.protocols().len() < 2 {
            return Ok(());
        }
        match self.parameters_in_force(slot)? {
            Some((other, _)) if other != protocol as u8 => Err(ReaderError::ProtocolUnsupported),
            _ => Ok(()),
        }
    }

    /// The protocol in force and its F and D, if the reader reports them (GetParameters).
    fn parameters_in_force(&mut self, slot: u8) -> Result<Option<(u8, u8)>, ReaderError> {
        match self.call(slot, &CommandMessage::GetParameters) {
            Ok(reply) => Ok(self.read_parameters(&reply)),
            // A reader without the command: what was asked for is taken to be in force.
            Err(ReaderError::Slot(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_parameters(&self, reply: &Reply) -> Option<(u8, u8)> {
        let parameters = Parameters::decode(reply.specific, self.port.data(reply))?;
        Some((reply.specific, parameters.f_index_d_index))
    }
}

/// Whether a failed negotiation may succeed at a lower speed.
fn is_worth_a_step(error: ReaderError) -> bool {
    error.may_be_speed()
        || matches!(
            error,
            ReaderError::Slot(_)
                | ReaderError::Malformed(_)
                | ReaderError::WrongReply
                | ReaderError::T1(_)
                | ReaderError::Transport(TransportError::Stall)
        )
}
