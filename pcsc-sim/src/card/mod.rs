//! Simulated cards at the level of bytes on the contact, in virtual time.
//!
//! ```text
//! reader ── Contact (UART, clock, faults) ── Card ── SimCard (ATR, PPS, T=0, T=1) ── App or VirtualCard
//! ```
//!
//! [`Contact`] is what a reader has: it activates, sends and receives bytes, changes the speed, and
//! counts time and bits. [`SimCard`] is a card made of a [`Profile`] (what its ATR says), a
//! [`Behaviour`] (what it does wrong) and an [`App`], or of a [`VirtualCard`], to which APDUs go as they are.
//! The protocols are written here from the card's
//! side of the clauses and share only the T=1 block codec with the driver.

pub mod apps;
mod contact;
mod fault;
pub mod named;
mod profile;
mod program;
mod replay;
mod sim;
mod switches;
mod t0;
mod t1;
#[cfg(test)]
mod tests;
mod virtual_card;

use std::time::Duration;

use pcsc_ccid::atr::Speed;

pub use apps::App;
pub use contact::{Contact, Received, Tally};
pub use fault::{FaultKind, Faults};
pub use profile::{Convention, Offer, Profile};
pub use replay::{CardReplay, RecordedExchange};
pub use sim::{Behaviour, Overspeed, PpsBehaviour, SharedBehaviour, SimCard};
pub use switches::Switches;
pub use virtual_card::VirtualCard;

/// The clock rate conversion and baud rate adjustment integers: one etu is F/D clock cycles
/// (ISO 7816-3 clause 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// F.
    pub f: u16,
    /// D.
    pub d: u8,
}

impl Rate {
    /// 372/1, what every card starts with.
    pub const DEFAULT: Rate = Rate { f: 372, d: 1 };

    /// Decodes a TA1 or PPS1 byte (clause 8.3, tables 7 and 8); `None` for reserved values.
    pub fn from_ta1(ta1: u8) -> Option<Rate> {
        let speed = Speed::from_ta1(ta1)?;
        Some(Rate {
            f: speed.fi as u16,
            d: speed.di as u8,
        })
    }

    /// Bits per second at this clock frequency in Hz.
    pub fn bits_per_second(self, clock_hz: u32) -> u32 {
        (u64::from(clock_hz) * u64::from(self.d) / u64::from(self.f.max(1))) as u32
    }

    fn same_etu(self, other: Rate) -> bool {
        u32::from(self.f) * u32::from(other.d) == u32::from(other.f) * u32::from(self.d)
    }
}

/// What the reader drives the contact with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineSettings {
    /// Clock frequency in Hz.
    pub clock_hz: u32,
    /// The reader's F and D.
    pub rate: Rate,
    /// Supply voltage in millivolts: 5000, 3000 or 1800 (clause 5.1.3).
    pub millivolts: u16,
}

impl LineSettings {
    /// Bits per second.
    pub fn bits_per_second(&self) -> u32 {
        self.rate.bits_per_second(self.clock_hz)
    }

    /// Duration of one etu in picoseconds.
    pub fn etu_ps(&self) -> u64 {
        let hz = u64::from(self.clock_hz.max(1)) * u64::from(self.rate.d.max(1));
        u64::from(self.rate.f) * 1_000_000_000_000 / hz
    }

    /// The duration of a number of etu.
    pub fn etu(&self, n: u64) -> Duration {
        Duration::from_nanos(self.etu_ps().saturating_mul(n) / 1000)
    }
}

/// A run of characters that the card sends, as a receiver in direct convention reads them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Burst {
    /// The characters.
    pub bytes: Vec<u8>,
    /// etu from the end of what the reader sent last to the first leading edge.
    pub delay: u64,
    /// etu between leading edges.
    pub spacing: u64,
    /// So many of the first characters are `delay` apart instead: NULL bytes of a card that works (ISO 7816-3
    /// clause 10.3.3).
    pub nulls: usize,
    /// The reader sees parity errors: the card speaks at another rate, or too fast for the contact.
    pub garbled: bool,
}

/// A card in the slot, seen from its contacts.
pub trait CharacterCard: Send {
    /// Whether it is still in the slot.
    fn present(&self) -> bool {
        true
    }

    /// RST went high, after a cold or warm reset; the answer is the ATR. Nothing, for a mute card.
    fn reset(&mut self, line: LineSettings) -> Burst;

    /// Power went off.
    fn power_off(&mut self);

    /// The reader sent these characters, read in direct convention, and is silent now.
    fn hear(&mut self, bytes: &[u8], line: LineSettings) -> Burst;
}
