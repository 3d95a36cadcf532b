//! One slot: power, parameters and negotiation (CCID 1.1, clauses 6.1.1 to 6.1.7 and 6.1.14).

use std::time::Duration;

use super::model::Model;
use super::parameters::{Parameters, OFFSET};
use super::speed;
use crate::card::{CharacterCard, Contact, Rate, Tally};
use pcsc_ccid::atr::{self, Atr, AtrError, Mode, Warning, DEFAULT_TA1};
use pcsc_ccid::descriptor::Features;
use pcsc_ccid::message::{IccStatus, SlotErrorCode, Voltage};
use pcsc_ccid::t1;

/// etu to the ATR's first character, and between its characters (ISO 7816-3 clauses 6.2.2 and 8.1).
const ATR_WAIT: (u64, u64) = (40_000 / 372 + 1, 9_600);
/// etu in which what follows an ATR belongs to it.
const STRAY_WAIT: u64 = 24;
/// WWT before anything is negotiated.
const INITIAL_WAIT: u64 = 9_600;

#[derive(Default)]
pub(super) struct Slot {
    contact: Option<Contact>,
    /// Time and bits of the cards that were in before.
    past: Tally,
    pub(super) parameters: Parameters,
    atr: Vec<u8>,
    /// The same decoded, if its interface bytes are whole.
    said: Option<Atr>,
    /// Nothing was sent since the reset: PPS may come.
    pub(super) fresh: bool,
    /// The host has set parameters since the reset.
    is_told: bool,
    /// The reader's T=1, at the APDU levels.
    pub(super) engine: Option<Box<t1::Engine>>,
    /// The reader has announced IFSD, at TPDU level.
    pub(super) ifsd_told: bool,
    /// Parts of a command APDU, and what is left of a response APDU.
    pub(super) command: Vec<u8>,
    pub(super) response: Vec<u8>,
    /// The sequence numbers of ABORT on the control pipe and of PC_to_RDR_Abort, until both have come.
    pub(super) abort_request: Option<u8>,
    pub(super) abort_message: Option<u8>,
    pub(super) clock_stopped: bool,
    clock_hz: u32,
    /// When the reader asks the host for time, on the contact's clock, and the multiplier.
    pub(super) extensions: Vec<(Duration, u8)>,
    /// When the command that is going on began, on the contact's clock.
    pub(super) began: Duration,
    /// Since when, on the device's clock, a card is in.
    pub(super) inserted_at: Duration,
}

impl Slot {
    pub fn new(model: &Model) -> Slot {
        Slot {
            clock_hz: model.clock_hz(),
            ..Slot::default()
        }
    }

    pub fn insert(&mut self, card: Box<dyn CharacterCard>, at: Duration) {
        self.remove();
        self.contact = Some(Contact::new(card));
        self.inserted_at = at;
    }

    pub fn remove(&mut self) {
        self.past = self.tally();
        self.contact = None;
        self.forget();
    }

    /// Whether there is a card; one that pulled itself out is noticed here.
    pub fn notice(&mut self) -> bool {
        if self.contact.as_ref().is_some_and(|contact| !contact.present()) {
            self.remove();
        }
        self.contact.is_some()
    }

    pub fn icc(&self) -> IccStatus {
        match &self.contact {
            None => IccStatus::Absent,
            Some(contact) if contact.powered() => IccStatus::Active,
            Some(_) => IccStatus::Inactive,
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.contact.as_ref().map_or(Duration::ZERO, Contact::elapsed)
    }

    pub fn tally(&self) -> Tally {
        let now = self.contact.as_ref().map(Contact::tally).unwrap_or_default();
        Tally {
            to_card: self.past.to_card + now.to_card,
            from_card: self.past.from_card + now.from_card,
            bits: self.past.bits + now.bits,
            resets: self.past.resets + now.resets,
        }
    }

    pub fn contact_mut(&mut self) -> Option<&mut Contact> {
        self.contact.as_mut()
    }

    /// The contact with power.
    pub(super) fn live(&mut self) -> Result<&mut Contact, SlotErrorCode> {
        self.contact
            .as_mut()
            .filter(|contact| contact.powered() && contact.present())
            .ok_or(SlotErrorCode::Mute)
    }

    fn forget(&mut self) {
        self.parameters = Parameters::default();
        self.atr.clear();
        self.said = None;
        self.fresh = false;
        self.is_told = false;
        self.clock_stopped = false;
        self.restart();
    }

    fn restart(&mut self) {
        self.engine = None;
        self.ifsd_told = false;
        self.abort();
    }

    /// Drops what is half way.
    pub fn abort(&mut self) {
        self.command.clear();
        self.response.clear();
    }

    pub fn power_off(&mut self) {
        if let Some(contact) = &mut self.contact {
            contact.power_off();
        }
        self.forget();
    }

    /// IccPowerOn: a cold reset, or a warm one of a card with power. Gives the ATR.
    pub fn power_on(&mut self, voltage: Voltage, model: &Model) -> Result<Vec<u8>, SlotErrorCode> {
        let features = model.descriptor.features;
        let supported = match model.descriptor.voltages & 7 {
            0 => 7,
            voltages => voltages,
        };
        let chosen_by_us =
            features.has(Features::AUTOMATIC_VOLTAGE) || features.has(Features::AUTOMATIC_ACTIVATION);
        let candidates: &[(u8, u16)] = match voltage {
            Voltage::Automatic if !chosen_by_us => return Err(SlotErrorCode::Parameter(7)),
            Voltage::Automatic => &[(1, 5000), (2, 3000), (4, 1800)],
            Voltage::V5 => &[(1, 5000)],
            Voltage::V3 => &[(2, 3000)],
            Voltage::V1_8 => &[(4, 1800)],
        };
        let mut result = Err(SlotErrorCode::Parameter(7));
        for (_, millivolts) in candidates.iter().filter(|(bit, _)| supported & bit != 0) {
            result = self.activate(*millivolts, model);
            match result {
                Err(SlotErrorCode::Mute) => self.power_off(),
                _ => break,
            }
        }
        result?;
        if features.has(Features::AUTOMATIC_NEGOTIATION) {
            let protocol = self
                .first_protocol(model)
                .ok_or(SlotErrorCode::ProtocolUnsupported);
            if let Err(error) = protocol.and_then(|protocol| self.negotiate(protocol, model)) {
                self.power_off();
                return Err(error);
            }
        }
        Ok(self.atr.clone())
    }

    fn activate(&mut self, millivolts: u16, model: &Model) -> Result<(), SlotErrorCode> {
        self.forget();
        self.clock_hz = model.clock_hz();
        let clock_hz = self.clock_hz;
        let contact = self.contact.as_mut().ok_or(SlotErrorCode::Mute)?;
        if contact.line().millivolts != millivolts && contact.powered() {
            contact.power_off();
        }
        contact.set_voltage(millivolts);
        contact.reset(clock_hz);
        let (atr, parity_error) = receive_atr(contact);
        let error = match *atr {
            [] => Some(SlotErrorCode::Mute),
            _ if parity_error => Some(SlotErrorCode::Parity),
            [0x3B | 0x3F, _, ..] => None,
            _ => Some(SlotErrorCode::BadTs),
        };
        let said = Atr::parse(&atr).ok();
        let features = model.descriptor.features;
        let reads_it =
            features.has(Features::AUTOMATIC_PARAMETERS) || features.has(Features::AUTOMATIC_NEGOTIATION);
        let is_fault =
            |warning: &Warning| is_missing_bytes(warning) || matches!(warning, Warning::WrongTck(_));
        let is_sound = said
            .as_ref()
            .is_some_and(|atr| !atr.warnings.iter().any(is_fault));
        let error = error.or((reads_it && !is_sound).then_some(SlotErrorCode::BadTck));
        if let Some(error) = error {
            self.power_off();
            return Err(error);
        }
        self.fresh = true;
        self.atr = atr;
        if let Some(said) = said.as_ref().filter(|_| reads_it) {
            let mut parameters = Parameters::from_atr(said, said.first_protocol());
            if let (Mode::Specific { implicit: false, .. }, Some(ta1)) = (said.mode(), said.ta1()) {
                parameters = parameters.with_fidi(ta1);
            }
            self.apply(parameters);
        }
        self.said = said;
        Ok(())
    }

    /// The first protocol of the ATR that the reader has too.
    fn first_protocol(&self, model: &Model) -> Option<u8> {
        let said = self.said.as_ref()?;
        let offered = said
            .specific_mode()
            .map_or_else(|| said.protocols(), |only| vec![only]);
        offered
            .into_iter()
            .find(|protocol| *protocol < 2 && model.descriptor.protocols & 1 << protocol != 0)
    }

    /// Whether TA2 has settled protocol and rate.
    fn is_specific(&self) -> bool {
        self.said
            .as_ref()
            .is_some_and(|said| said.specific_mode().is_some())
    }

    /// TA1, or what stands for it.
    fn ta1(&self) -> u8 {
        self.said.as_ref().and_then(Atr::ta1).unwrap_or(DEFAULT_TA1)
    }

    /// The reader's own negotiation: PPS at the fastest rate; where the card is mute, a reset and the
    /// default rate.
    fn negotiate(&mut self, protocol: u8, model: &Model) -> Result<(), SlotErrorCode> {
        if self.is_specific() {
            return Ok(());
        }
        let said = self.said.as_ref().ok_or(SlotErrorCode::Mute)?;
        let parameters = Parameters::from_atr(said, protocol);
        let first = said.first_protocol();
        let fastest = speed::fastest(model, self.clock_hz, self.ta1());
        for fidi in [fastest, 0x11] {
            if fidi == 0x11 && first == protocol {
                self.apply(parameters);
                return Ok(());
            }
            match self.pps(parameters.with_fidi(fidi)) {
                Ok(agreed) => {
                    self.apply(agreed);
                    return Ok(());
                }
                Err(_) => self.reset_again()?,
            }
        }
        Err(SlotErrorCode::Mute)
    }

    /// PPS for these parameters (ISO 7816-3 clause 9); gives them back as the card has agreed.
    fn pps(&mut self, wanted: Parameters) -> Result<Parameters, SlotErrorCode> {
        self.fresh = false;
        let pps0 = 0x10 | wanted.protocol;
        let request = [0xFF, pps0, wanted.fidi(), 0xFF ^ pps0 ^ wanted.fidi()];
        let answer = self.exchange_pps(&request)?;
        if answer == request {
            return Ok(wanted);
        }
        let without_pps1 = [0xFF, wanted.protocol, 0xFF ^ wanted.protocol];
        match answer == without_pps1 {
            true => Ok(wanted.with_fidi(0x11)),
            false => Err(SlotErrorCode::Mute),
        }
    }

    /// Sends a PPS request as it is, and receives what answers it.
    pub(super) fn exchange_pps(&mut self, request: &[u8]) -> Result<Vec<u8>, SlotErrorCode> {
        let contact = self.live()?;
        contact.send(request);
        let mut answer = Vec::new();
        let mut received = contact.receive(&mut answer, 2, INITIAL_WAIT, INITIAL_WAIT);
        let mut parity_error = received.parity_error;
        if let [_, pps0] = *answer {
            let left = (pps0 >> 4 & 7).count_ones() as usize + 1;
            received = contact.receive(&mut answer, left, INITIAL_WAIT, INITIAL_WAIT);
            parity_error |= received.parity_error;
        }
        match *answer {
            [] => Err(SlotErrorCode::Mute),
            _ if parity_error => Err(SlotErrorCode::Parity),
            _ => Ok(answer),
        }
    }

    /// SetParameters; the slot's parameters afterwards are the answer.
    pub fn set_parameters(&mut self, protocol: u8, data: &[u8], model: &Model) -> Result<(), SlotErrorCode> {
        let wanted = Parameters::read(protocol, data).map_err(SlotErrorCode::Parameter)?;
        if model.descriptor.protocols & 1 << protocol == 0 {
            return Err(SlotErrorCode::Parameter(7));
        }
        self.live()?;
        let features = model.descriptor.features;
        if features.has(Features::AUTOMATIC_NEGOTIATION) {
            return self.switch_protocol(wanted, model);
        }
        if !speed::can_do(model, self.clock_hz, wanted.rate()) {
            return Err(SlotErrorCode::Parameter(OFFSET));
        }
        self.is_told = true;
        let wanted = match features.has(Features::AUTOMATIC_PPS) {
            true => self.agree(wanted)?,
            false => wanted,
        };
        match features.has(Features::AUTOMATIC_BAUD_RATE) || features.has(Features::AUTOMATIC_PPS) {
            true => self.apply(wanted),
            false => {
                let rate = self.live()?.line().rate;
                self.apply(wanted);
                self.live()?.set_rate(rate);
            }
        }
        Ok(())
    }

    /// A reader that negotiates by itself takes another protocol, and nothing else.
    fn switch_protocol(&mut self, wanted: Parameters, model: &Model) -> Result<(), SlotErrorCode> {
        if wanted.protocol == self.parameters.protocol {
            return Ok(());
        }
        let offered = self.said.as_ref().map(Atr::protocols).unwrap_or_default();
        if self.is_specific() || !offered.contains(&wanted.protocol) {
            return Err(SlotErrorCode::Parameter(7));
        }
        self.reset_again()?;
        self.negotiate(wanted.protocol, model)
    }

    /// Resets the card, whose ATR is known.
    fn reset_again(&mut self) -> Result<(), SlotErrorCode> {
        let clock_hz = self.clock_hz;
        let contact = self.live()?;
        contact.reset(clock_hz);
        receive_atr(contact);
        self.restart();
        self.fresh = true;
        Ok(())
    }

    /// Automatic PPS according to the parameters that the host sets.
    fn agree(&mut self, wanted: Parameters) -> Result<Parameters, SlotErrorCode> {
        let first = self.said.as_ref().map(Atr::first_protocol) == Some(wanted.protocol);
        if !self.fresh || self.is_specific() {
            let same = wanted.fidi() == self.parameters.fidi() || self.is_specific();
            return same.then_some(wanted).ok_or(SlotErrorCode::Parameter(OFFSET));
        }
        if first && wanted.rate() == Rate::DEFAULT {
            return Ok(wanted);
        }
        self.pps(wanted)
    }

    /// Automatic parameters with automatic PPS: what the ATR says is agreed on before the first exchange,
    /// where the host has set nothing.
    pub(super) fn agree_late(&mut self, model: &Model) -> Result<(), SlotErrorCode> {
        let features = model.descriptor.features;
        let due = self.fresh
            && !self.is_told
            && !self.is_specific()
            && !features.has(Features::AUTOMATIC_NEGOTIATION)
            && features.has(Features::AUTOMATIC_PARAMETERS)
            && features.has(Features::AUTOMATIC_PPS);
        if due && self.parameters.fidi() == 0x11 {
            let fastest = speed::fastest(model, self.clock_hz, self.ta1());
            if fastest != 0x11 {
                let agreed = self.pps(self.parameters.with_fidi(fastest))?;
                self.apply(agreed);
            }
        }
        Ok(())
    }

    /// ResetParameters.
    pub fn reset_parameters(&mut self) -> Result<(), SlotErrorCode> {
        self.live()?;
        self.apply(Parameters::default());
        Ok(())
    }

    fn apply(&mut self, parameters: Parameters) {
        self.parameters = parameters;
        self.restart();
        if let Some(contact) = &mut self.contact {
            contact.set_rate(parameters.rate());
            contact.set_extra_guard(parameters.guard());
            contact.set_repeat_on_parity(parameters.protocol == 0);
        }
    }

    /// SetDataRateAndClockFrequency; gives what is in force.
    pub fn set_rates(
        &mut self,
        clock_khz: u32,
        bps: u32,
        model: &Model,
    ) -> Result<(u32, u32), SlotErrorCode> {
        let descriptor = &model.descriptor;
        let known = match model.clocks_khz.is_empty() {
            true => (1..=descriptor.max_clock_khz).contains(&clock_khz),
            false => model.clocks_khz.contains(&clock_khz),
        };
        let clock_hz = match clock_khz == descriptor.default_clock_khz {
            true => Some(model.clock_hz()),
            false => clock_khz.checked_mul(1000).filter(|_| known),
        };
        let clock_hz = clock_hz.ok_or(SlotErrorCode::Parameter(OFFSET))?;
        let rate = match self.parameters.rate() {
            rate if rate.bits_per_second(clock_hz).abs_diff(bps) <= 2 => Some(rate),
            _ => speed::find(clock_hz, bps),
        };
        let rate = rate
            .filter(|rate| speed::can_do(model, clock_hz, *rate))
            .ok_or(SlotErrorCode::Parameter(OFFSET + 4))?;
        let contact = self.live()?;
        contact.set_clock(clock_hz);
        contact.set_rate(rate);
        self.clock_hz = clock_hz;
        Ok((clock_khz, rate.bits_per_second(clock_hz)))
    }
}

/// Receives an ATR up to the end that it announces; reports wrong parity. What comes right after it is
/// thrown away.
fn receive_atr(contact: &mut Contact) -> (Vec<u8>, bool) {
    let mut atr = Vec::new();
    let mut parity_error = false;
    let mut wait = ATR_WAIT.0;
    let is_whole = |bytes: &[u8]| match Atr::parse(bytes) {
        Ok(atr) => !atr.warnings.iter().any(is_missing_bytes),
        Err(error) => error != AtrError::Truncated,
    };
    while atr.len() < atr::MAX_SIZE && !is_whole(&atr) {
        let received = contact.receive(&mut atr, 1, wait, ATR_WAIT.1);
        parity_error |= received.parity_error;
        if received.count == 0 {
            break;
        }
        wait = ATR_WAIT.1;
    }
    contact.receive(&mut Vec::new(), 256, STRAY_WAIT, STRAY_WAIT);
    (atr, parity_error)
}

fn is_missing_bytes(warning: &Warning) -> bool {
    matches!(warning, Warning::MissingHistorical(_) | Warning::MissingTck)
}
