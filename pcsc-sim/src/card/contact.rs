//! The reader's end of the contact: a UART with a virtual clock.

use std::collections::VecDeque;
use std::time::Duration;

use pcsc_ccid::atr;

use super::fault::FaultKind;
use super::{Burst, CharacterCard, Convention, Faults, LineSettings, Rate};

/// Ten bits and two of guard time (clause 7.2).
const CHARACTER_ETU: u64 = 12;

/// What went over the contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Tally {
    /// Characters sent to the card.
    pub to_card: u64,
    /// Characters that came from the card.
    pub from_card: u64,
    /// Bits of both, ten a character.
    pub bits: u64,
    /// Resets, cold and warm.
    pub resets: u64,
}

/// The outcome of one [`Contact::receive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// How many characters were added to the buffer.
    pub count: usize,
    /// One of them had a parity error.
    pub parity_error: bool,
}

struct Arrival {
    at_ps: u64,
    byte: u8,
    parity_error: bool,
}

/// The contact between a simulated reader and a card. Time passes only by what goes over it and by
/// waiting for it.
pub struct Contact {
    card: Box<dyn CharacterCard>,
    line: LineSettings,
    powered: bool,
    convention: Option<Convention>,
    extra_guard: u8,
    repeat_on_parity: bool,
    now_ps: u64,
    pending: VecDeque<Arrival>,
    tally: Tally,
    faults: Option<Faults>,
}

impl Contact {
    /// A card just inserted, without power.
    pub fn new(card: Box<dyn CharacterCard>) -> Self {
        Contact {
            card,
            // Until the first reset, which sets the clock.
            line: LineSettings {
                clock_hz: 4_000_000,
                rate: Rate::DEFAULT,
                millivolts: 5000,
            },
            powered: false,
            convention: None,
            extra_guard: 0,
            repeat_on_parity: false,
            now_ps: 0,
            pending: VecDeque::new(),
            tally: Tally::default(),
            faults: None,
        }
    }

    /// Disturbs what comes after.
    pub fn set_faults(&mut self, faults: Option<Faults>) {
        self.faults = faults;
    }

    /// Whether the card is in the slot.
    pub fn present(&self) -> bool {
        self.card.present()
    }

    /// Whether the card has power.
    pub fn powered(&self) -> bool {
        self.powered
    }

    /// Clock and rate in use.
    pub fn line(&self) -> LineSettings {
        self.line
    }

    /// Virtual time since the contact was made.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now_ps / 1000)
    }

    /// What went over the contact so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Power, clock, reset: a cold reset, or a warm one if the card had power. The rate is the
    /// default again; the ATR waits to be received.
    pub fn reset(&mut self, clock_hz: u32) {
        self.line = LineSettings {
            clock_hz,
            rate: Rate::DEFAULT,
            millivolts: self.line.millivolts,
        };
        self.convention = None;
        self.extra_guard = 0;
        self.repeat_on_parity = false;
        self.pending.clear();
        self.powered = self.card.present();
        if self.powered {
            self.tally.resets += 1;
            let burst = self.card.reset(self.line);
            self.schedule(burst);
        }
    }

    /// Takes power away.
    pub fn power_off(&mut self) {
        self.powered = false;
        self.pending.clear();
        self.card.power_off();
    }

    /// Resets and receives the whole ATR; `None` from a mute card or an empty slot.
    pub fn activate(&mut self, clock_hz: u32) -> Option<Vec<u8>> {
        self.reset(clock_hz);
        let mut atr = Vec::new();
        // 40,000 clock cycles to TS, 9,600 etu between characters (clauses 6.2.2 and 8.1).
        self.receive(&mut atr, atr::MAX_SIZE, 40_000 / 372 + 1, 9_600);
        (!atr.is_empty()).then_some(atr)
    }

    /// Changes the rate, as after PPS or by SetParameters.
    pub fn set_rate(&mut self, rate: Rate) {
        self.line.rate = rate;
    }

    /// The supply voltage from the next [`reset`](Self::reset) on, in millivolts.
    pub fn set_voltage(&mut self, millivolts: u16) {
        self.line.millivolts = millivolts;
    }

    /// Changes the clock.
    pub fn set_clock(&mut self, clock_hz: u32) {
        self.line.clock_hz = clock_hz;
    }

    /// Extra guard time N in etu between the characters that we send (clause 8.3, TC1); 255 means none.
    pub fn set_extra_guard(&mut self, n: u8) {
        self.extra_guard = n;
    }

    /// T=0's error signal (clause 7.3): characters with a parity error are repeated.
    pub fn set_repeat_on_parity(&mut self, on: bool) {
        self.repeat_on_parity = on;
    }

    /// Sends characters in the card's convention. What the card is still sending meanwhile is lost,
    /// and so is what we send.
    pub fn send(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let spacing = if self.extra_guard == 255 {
            CHARACTER_ETU
        } else {
            CHARACTER_ETU + u64::from(self.extra_guard)
        };
        self.pass(spacing * bytes.len() as u64);
        self.tally.to_card += bytes.len() as u64;
        self.tally.bits += 10 * bytes.len() as u64;
        let collided = self.pending.front().is_some_and(|a| a.at_ps <= self.now_ps);
        self.pending.retain(|a| a.at_ps > self.now_ps);
        if !self.powered || !self.card.present() || collided {
            return;
        }
        let convention = self.convention.unwrap_or(Convention::Direct);
        let mut raw: Vec<u8> = bytes.iter().map(|&b| convention.apply(b)).collect();
        if let Some((at, kind)) = self.faults.as_mut().and_then(|f| f.strike(raw.len())) {
            match kind {
                FaultKind::Lost => drop(raw.remove(at)),
                FaultKind::Duplicated => raw.insert(at, raw[at]),
                FaultKind::Corrupted(mask) => raw[at] ^= mask,
                // Past its waiting time a receiver has given up on the rest.
                FaultKind::Late(_) => raw.truncate(at),
                FaultKind::Parity if self.repeat_on_parity => self.pass(CHARACTER_ETU + 2),
                FaultKind::Parity => raw[at] ^= 1,
                FaultKind::Mute => raw.clear(),
            }
        }
        if raw.is_empty() {
            return;
        }
        let burst = self.card.hear(&raw, self.line);
        self.schedule(burst);
    }

    /// Receives up to `max` characters into `buffer`: the first within `first` etu, each other within
    /// `next` etu of the one before. Stops at whichever wait goes by.
    pub fn receive(&mut self, buffer: &mut Vec<u8>, max: usize, first: u64, next: u64) -> Received {
        let mut received = Received {
            count: 0,
            parity_error: false,
        };
        let etu = self.line.etu_ps();
        let mut deadline = self.now_ps.saturating_add(etu.saturating_mul(first));
        while received.count < max {
            if !self.card.present() {
                self.pending.clear();
            }
            if self.pending.front().is_none_or(|a| a.at_ps > deadline) {
                self.now_ps = self.now_ps.max(deadline);
                break;
            }
            let Some(arrival) = self.pending.pop_front() else {
                break;
            };
            self.now_ps = self.now_ps.max(arrival.at_ps);
            deadline = self.now_ps.saturating_add(etu.saturating_mul(next));
            self.tally.from_card += 1;
            self.tally.bits += 10;
            let convention = *self.convention.get_or_insert(match arrival.byte {
                0x03 => Convention::Inverse,
                _ => Convention::Direct,
            });
            buffer.push(convention.apply(arrival.byte));
            received.count += 1;
            received.parity_error |= arrival.parity_error;
        }
        received
    }

    fn pass(&mut self, etu: u64) {
        self.now_ps = self.now_ps.saturating_add(self.line.etu_ps().saturating_mul(etu));
    }

    /// Whether another character begins within the next `etu` etu.
    pub fn is_busy(&self, etu: u64) -> bool {
        let until = self.now_ps.saturating_add(self.line.etu_ps().saturating_mul(etu));
        self.pending.front().is_some_and(|arrival| arrival.at_ps <= until)
    }

    fn schedule(&mut self, burst: Burst) {
        let etu = self.line.etu_ps();
        let mut bytes: Vec<(u8, bool)> = burst.bytes.into_iter().map(|b| (b, burst.garbled)).collect();
        let mut late = None;
        if let Some((at, kind)) = self.faults.as_mut().and_then(|f| f.strike(bytes.len())) {
            match kind {
                FaultKind::Lost => drop(bytes.remove(at)),
                FaultKind::Duplicated => bytes.insert(at, bytes[at]),
                FaultKind::Corrupted(mask) => bytes[at].0 ^= mask,
                FaultKind::Late(delay) => late = Some((at, delay)),
                FaultKind::Parity if self.repeat_on_parity => late = Some((at, CHARACTER_ETU + 2)),
                FaultKind::Parity => bytes[at] = (bytes[at].0 ^ 1, true),
                FaultKind::Mute => bytes.clear(),
            }
        }
        let mut at_ps = self.now_ps.saturating_add(etu.saturating_mul(burst.delay));
        for (i, (byte, parity_error)) in bytes.into_iter().enumerate() {
            if i > 0 {
                let apart = if i <= burst.nulls {
                    burst.delay
                } else {
                    burst.spacing
                };
                at_ps = at_ps.saturating_add(etu.saturating_mul(apart));
            }
            if let Some((_, delay)) = late.filter(|(at, _)| *at == i) {
                at_ps = at_ps.saturating_add(etu.saturating_mul(delay));
            }
            self.pending.push_back(Arrival {
                at_ps,
                byte,
                parity_error,
            });
        }
    }
}
