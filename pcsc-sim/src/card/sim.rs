//! A whole card: answer to reset, PPS, one of the protocols, an application.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pcsc_ccid::internals::lock;

use super::program::Program;
use super::{t0, t1, App, Burst, CharacterCard, LineSettings, Offer, Profile, Rate, Switches, VirtualCard};

/// Guard time that the card keeps: the reader sees 12 etu between leading edges.
const SPACING: u64 = 12;
/// How long a card works before it asks for more time. Shorter than the least work waiting time and block
/// waiting time that matter: with WI 1 at 372/1 and 4 MHz the former is 89 ms.
const STEP: Duration = Duration::from_millis(50);
/// The most NULL bytes before an answer, which are made in memory at once: 14 hours of work in steps of 50
/// ms.
const MOST_NULLS: u32 = 1 << 20;
/// Leaves a receiver its block guard time of 22 etu (clause 11.4.3).
const TURNAROUND: u64 = 24;

/// How the card treats a PPS request (clause 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PpsBehaviour {
    /// Accepts what its TA1 allows, otherwise stays at 372/1.
    #[default]
    Accept,
    /// Answers without PPS1: the protocol yes, the rate no.
    RefuseRate,
    /// Goes mute on any PPS until the next reset.
    Mute,
    /// Accepts its own TA1, and goes mute on any other rate until the next reset, as Acos-ID does.
    OwnRateOrMute,
}

/// What a card does that is too fast for it or its contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overspeed {
    /// Hears nothing.
    #[default]
    Mute,
    /// Its characters arrive with parity errors.
    Garbled,
}

/// What is odd or wrong about a card. The default is a good one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Behaviour {
    /// The rate in bits per second above which it fails.
    pub fails_above: Option<u32>,
    /// How it fails then.
    pub overspeed: Overspeed,
    /// PPS.
    pub pps: PpsBehaviour,
    /// T=1: the number of waiting time extensions that it requests before each answer.
    pub wtx: u32,
    /// T=1: with this multiplier; 0 is sent as 1.
    pub wtx_multiplier: u8,
    /// T=1: asks for this IFSC before its first answer.
    pub new_ifsc: Option<u8>,
    /// T=1: the length in bytes beyond which it aborts a chained command.
    pub abort_beyond: Option<usize>,
    /// Damages every nth run of characters that it sends after the ATR.
    pub corrupt_every: Option<u32>,
    /// The number of received characters after which it is pulled out.
    pub removed_after: Option<u64>,
    /// T=0: NULL bytes before each answer.
    pub nulls: u32,
    /// T=0: acknowledges byte by byte.
    pub byte_by_byte: bool,
    /// T=0: does not support ENVELOPE.
    pub no_envelope: bool,
    /// No answer to reset.
    pub mute: bool,
    /// Answers to reset with these bytes rather than its profile's, before its convention is applied.
    pub atr: Option<Vec<u8>>,
    /// Answers at these supply voltages only, lowest and highest in millivolts.
    pub supply: Option<(u16, u16)>,
    /// etu of work before each answer.
    pub work: u64,
    /// Works at least this long on each command, in the simulation's time, and asks for that time as its
    /// protocol has it: with S(WTX request) blocks, or with NULL bytes.
    pub time: Duration,
}

/// A behaviour that a test changes while the card is in a reader. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct SharedBehaviour(Arc<Mutex<Behaviour>>);

impl SharedBehaviour {
    /// Changes it from the card's next reset or answer on. Counters of characters and of answers begin anew
    /// if it is another one.
    pub fn set(&self, behaviour: Behaviour) {
        *lock(&self.0) = behaviour;
    }

    fn get(&self) -> Behaviour {
        lock(&self.0).clone()
    }
}

impl Behaviour {
    /// Asks for waiting time extensions without end.
    pub fn wtx_for_ever() -> Self {
        Behaviour {
            wtx: u32::MAX,
            ..Behaviour::default()
        }
    }

    /// How often the card asks for time while it works on a command.
    pub(super) fn steps(&self) -> u32 {
        u32::try_from(self.time.as_millis().div_ceil(STEP.as_millis())).unwrap_or(u32::MAX)
    }

    /// T=0: how many NULL bytes come before the answer to a header.
    pub(super) fn null_bytes(&self) -> u32 {
        self.nulls.max(self.steps()).min(MOST_NULLS)
    }
}

enum CardState {
    Off,
    /// Negotiable mode: PPS may come first.
    Fresh,
    Mute,
    T0(t0::Protocol),
    T1(t1::Protocol),
}

/// A simulated card.
pub struct SimCard {
    profile: Profile,
    behaviour: Behaviour,
    shared: Option<SharedBehaviour>,
    switches: Option<Arc<Switches>>,
    program: Program,
    state: CardState,
    rate: Rate,
    heard: u64,
    bursts: u32,
    removed: bool,
}

impl SimCard {
    /// A card with this profile, behaviour and application.
    pub fn new(profile: Profile, behaviour: Behaviour, app: Box<dyn App>) -> Self {
        SimCard::running(profile, behaviour, Program::App(app))
    }

    /// A card that a test writes. Its ATR says which protocols and which speed it has.
    pub fn of(card: Box<dyn VirtualCard>, behaviour: SharedBehaviour) -> Self {
        SimCard {
            shared: Some(behaviour),
            ..SimCard::running(Profile::new(&[]), Behaviour::default(), Program::Card(card))
        }
    }

    fn running(profile: Profile, behaviour: Behaviour, program: Program) -> Self {
        SimCard {
            profile,
            behaviour,
            shared: None,
            switches: None,
            program,
            state: CardState::Off,
            rate: Rate::DEFAULT,
            heard: 0,
            bursts: 0,
            removed: false,
        }
    }

    /// The same card, with the switches of its reader.
    pub(super) fn with_switches(mut self, switches: Arc<Switches>) -> Self {
        self.switches = Some(switches);
        self
    }

    /// A well-behaved card.
    pub fn good(profile: Profile, app: Box<dyn App>) -> Self {
        SimCard::new(profile, Behaviour::default(), app)
    }

    fn protocol(&self, number: Option<u8>) -> CardState {
        let offers = &self.profile.offers;
        let offer = match number {
            Some(n) => offers.iter().find(|o| o.number() == n),
            None => offers.first(),
        };
        match offer {
            Some(Offer::T1 { edc, .. }) => CardState::T1(t1::Protocol::new(*edc)),
            Some(Offer::T0 { .. }) => CardState::T0(t0::Protocol::default()),
            None => CardState::Mute,
        }
    }

    /// Takes over the behaviour that a test has set.
    fn obey(&mut self) {
        let wanted = self.shared.as_ref().map(SharedBehaviour::get);
        if let Some(wanted) = wanted.filter(|wanted| *wanted != self.behaviour) {
            self.behaviour = wanted;
            (self.heard, self.bursts) = (0, 0);
        }
    }

    /// Answers a PPS request and changes to what was agreed.
    fn pps(&mut self, request: &[u8]) -> Vec<u8> {
        let sound = matches!(request, [0xFF, pps0, ..]
            if request.len() == 3 + (pps0 >> 4 & 7).count_ones() as usize && pps0 & 0x80 == 0)
            && request.iter().fold(0, |x, b| x ^ b) == 0;
        let offered = |n| self.profile.offers.iter().any(|o| o.number() == n);
        if !sound || !offered(request[1] & 0x0F) || self.behaviour.pps == PpsBehaviour::Mute {
            self.state = CardState::Mute;
            return Vec::new();
        }
        let own = self.profile.ta1.and_then(Rate::from_ta1).unwrap_or(Rate::DEFAULT);
        let pps1 = (request[1] & 0x10 != 0).then(|| request[2]);
        let asked = pps1.map_or(Some(Rate::DEFAULT), Rate::from_ta1);
        let within =
            |rate: Rate| u32::from(rate.d) * u32::from(own.f) <= u32::from(own.d) * u32::from(rate.f);
        let agreed = match (self.behaviour.pps, asked) {
            (PpsBehaviour::RefuseRate, _) => None,
            (PpsBehaviour::OwnRateOrMute, asked) if pps1.is_some() && asked != Some(own) => {
                self.state = CardState::Mute;
                return Vec::new();
            }
            (_, asked) => asked.filter(|rate| within(*rate)),
        };
        self.state = self.protocol(Some(request[1] & 0x0F));
        match agreed {
            Some(rate) => {
                self.rate = rate;
                request.to_vec()
            }
            None => {
                let pps0 = request[1] & 0x0F;
                Vec::from([0xFF, pps0, 0xFF ^ pps0])
            }
        }
    }

    fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
        if matches!(self.state, CardState::Fresh) {
            if bytes.first() == Some(&0xFF) {
                return self.pps(bytes);
            }
            self.state = self.protocol(None);
        }
        match &mut self.state {
            CardState::T0(protocol) => protocol.hear(bytes, &self.behaviour, &mut self.program),
            CardState::T1(protocol) => protocol
                .hear(bytes, &self.behaviour, &mut self.program)
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    fn burst(&self, mut bytes: Vec<u8>, delay: u64, garbled: bool) -> Burst {
        for byte in &mut bytes {
            *byte = self.profile.convention.apply(*byte);
        }
        Burst {
            bytes,
            delay,
            spacing: SPACING,
            garbled,
            nulls: 0,
        }
    }
}

impl CharacterCard for SimCard {
    fn present(&self) -> bool {
        !self.removed
    }

    fn reset(&mut self, line: LineSettings) -> Burst {
        self.obey();
        self.program.reset();
        let own = self.program.atr();
        if let Some(own) = &own {
            self.profile = Profile::from_atr(own).unwrap_or_else(|_| Profile::new(&[Offer::T0]));
        }
        self.rate = Rate::DEFAULT;
        let supplied = self
            .behaviour
            .supply
            .is_none_or(|(lowest, highest)| (lowest..=highest).contains(&line.millivolts));
        let is_mute = self.behaviour.mute || self.switches.as_deref().is_some_and(Switches::is_mute);
        if self.removed || is_mute || !supplied {
            self.state = CardState::Mute;
            return Burst::default();
        }
        self.state = match self.profile.ta2 {
            None => CardState::Fresh,
            Some(ta2) => {
                // b5 of TA2: implicit values rather than TA1; a simulated card implies the default.
                if ta2 & 0x10 == 0 {
                    self.rate = self.profile.ta1.and_then(Rate::from_ta1).unwrap_or(Rate::DEFAULT);
                }
                self.protocol(Some(ta2 & 0x0F))
            }
        };
        let other = self.behaviour.atr.clone().or(own);
        let atr = other.unwrap_or_else(|| self.profile.atr());
        self.burst(atr, 40, false)
    }

    fn power_off(&mut self) {
        self.state = CardState::Off;
    }

    fn hear(&mut self, bytes: &[u8], line: LineSettings) -> Burst {
        if self.switches.as_deref().is_some_and(Switches::fails) {
            return Burst::default();
        }
        self.obey();
        self.heard += bytes.len() as u64;
        self.removed |= self.behaviour.removed_after.is_some_and(|n| self.heard >= n);
        let too_fast = self
            .behaviour
            .fails_above
            .is_some_and(|limit| line.bits_per_second() > limit);
        if self.removed
            || !line.rate.same_etu(self.rate)
            || (too_fast && self.behaviour.overspeed == Overspeed::Mute)
        {
            return Burst::default();
        }
        let bytes: Vec<u8> = bytes.iter().map(|&b| self.profile.convention.apply(b)).collect();
        let mut answer = self.answer(&bytes);
        self.bursts = self.bursts.wrapping_add(1);
        if self
            .behaviour
            .corrupt_every
            .is_some_and(|n| n > 0 && self.bursts % n == 0)
        {
            if let Some(last) = answer.last_mut() {
                *last ^= 0x5A;
            }
        }
        let steps = self.behaviour.steps();
        let nulls = match (&self.state, steps) {
            (CardState::T0(_), 1..) => answer.iter().take_while(|byte| **byte == t0::NULL).count(),
            _ => 0,
        };
        let works = nulls > 0 || (steps > 0 && matches!(self.state, CardState::T1(_)));
        let step = if works {
            STEP.as_nanos() as u64 * 1000 / line.etu_ps().max(1)
        } else {
            0
        };
        let delay = self.behaviour.work.saturating_add(TURNAROUND + step);
        Burst {
            nulls,
            ..self.burst(answer, delay, too_fast)
        }
    }
}
