//! The protocol and its parameters, from their selection to the card's next reset.

use core::time::Duration;

use super::ReaderError;
use crate::descriptor::ExchangeLevel;
use crate::parameters::Parameters;
use crate::t1;
use crate::waiting::Waiting;

/// A transmission protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    /// T=0.
    T0 = 0,
    /// T=1.
    T1 = 1,
}

/// The selected protocol and its parameters.
pub struct Chosen {
    pub protocol: Protocol,
    /// Its step in the ladder of speeds; 0 is the fastest.
    pub steps: usize,
    pub parameters: Parameters,
    pub clock_khz: u32,
    pub bits_per_second: u32,
    /// The state of T=1, if the reader leaves it to the host.
    pub engine: Option<t1::Engine>,
    pub waiting: Waiting,
    /// What to add to every timeout for this reader.
    pub extra: Duration,
    /// How long one TPDU, block or character may take.
    pub block_limit: Duration,
    /// T=0: the card may be in the middle of a command and take the next one for its data.
    pub is_adrift: bool,
}

/// The shortest timeout of an APDU. A card may need this long, and not every reader requests time extensions.
const APDU_LIMIT: Duration = Duration::from_secs(60);

impl Chosen {
    /// Notes whether the card may be in the middle of the command that failed. T=0 has no recovery but a
    /// reset.
    pub fn note_failure(&mut self, level: ExchangeLevel, error: ReaderError) {
        let is_half_way = match level {
            ExchangeLevel::Tpdu => error.is_half_way(),
            // The reader may have refused a message in the middle of the command.
            ExchangeLevel::Character => error.is_half_way() || matches!(error, ReaderError::Slot(_)),
            // The reader speaks T=0 itself. After an error on the contact its state is unknown.
            ExchangeLevel::ShortApdu | ExchangeLevel::ExtendedApdu => {
                matches!(error, ReaderError::Slot(_)) && error.may_be_speed()
            }
        };
        // T=1 resynchronises by itself.
        self.is_adrift = self.protocol == Protocol::T0 && is_half_way;
    }

    /// The timeout of an APDU and a response of these lengths, for a reader that takes APDUs.
    pub fn apdu_limit(&self, command: usize, response: usize) -> Duration {
        self.waiting.apdu(command, response).max(APDU_LIMIT) + self.extra
    }
}
