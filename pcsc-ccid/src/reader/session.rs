//! What was agreed with a card since its reset.

use alloc::boxed::Box;
use core::time::Duration;

use super::Error;
use crate::descriptor::ExchangeLevel;
use crate::parameters::Parameters;
use crate::t1;
use crate::waiting::{Transfer, Waiting};

/// A transmission protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    /// T=0.
    T0 = 0,
    /// T=1.
    T1 = 1,
}

/// What was agreed with the card since its reset.
#[derive(Default)]
pub enum Session {
    #[default]
    None,
    Chosen(Box<Chosen>),
}

impl Session {
    pub fn chosen(&mut self) -> Option<&mut Chosen> {
        match self {
            Session::None => None,
            Session::Chosen(chosen) => Some(chosen),
        }
    }
}

/// How a T=1 block comes from the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carriage {
    /// In one message: TPDU level.
    Whole,
    /// In parts, of which the first says how much there is: character level.
    Parts(t1::Edc),
}

/// The protocol and how it is spoken.
pub struct Chosen {
    pub protocol: Protocol,
    /// How many steps down from the fastest.
    pub steps: usize,
    pub parameters: Parameters,
    pub clock_khz: u32,
    pub bits_per_second: u32,
    /// T=1, where the reader leaves it to us.
    pub engine: Option<t1::Engine>,
    pub carriage: Carriage,
    pub waiting: Waiting,
    /// What this reader needs on top.
    pub extra: Duration,
    /// How long one TPDU, block or character may take.
    pub block_limit: Duration,
    /// T=0: the card may be in the middle of a command.
    pub is_adrift: bool,
}

/// The least that an APDU is given: a card may work for this long, and not every reader asks for the time.
const APDU_LIMIT: Duration = Duration::from_secs(60);

impl Chosen {
    /// Notes how far the card may be in a command that failed. Over T=0 there is no way back but a reset.
    pub fn note_failure(&mut self, level: ExchangeLevel, error: Error) {
        let is_half_way = match level {
            ExchangeLevel::Tpdu => error.is_half_way(),
            // The refusal may be of a message in the middle.
            ExchangeLevel::Character => error.is_half_way() || matches!(error, Error::Slot(_)),
            // The reader has left the card where it was, for all we know.
            ExchangeLevel::ShortApdu | ExchangeLevel::ExtendedApdu => {
                matches!(error, Error::Slot(_)) && error.may_be_speed()
            }
        };
        self.is_adrift = self.protocol == Protocol::T0 && is_half_way;
    }

    /// How long an APDU of so many bytes, with a response of so many, may take in a reader that does the rest.
    pub fn apdu_limit(&self, command: usize, response: usize) -> Duration {
        let transfer = Transfer::Apdu { command, response };
        self.waiting.transfer(transfer).max(APDU_LIMIT) + self.extra
    }
}
