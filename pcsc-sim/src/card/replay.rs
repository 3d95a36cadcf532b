//! A card that answers as another one did.

use std::sync::{Arc, Mutex};

use pcsc_ccid::internals::lock;
use pcsc_ccid::secrets::shown_of_command;

use super::VirtualCard;
use crate::masked::{self, Masked};
use crate::Mismatch;

/// A command and its response, as they were recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedExchange {
    /// The command.
    pub command: Masked,
    /// The response.
    pub response: Vec<u8>,
}

/// A card that gives recorded responses, if it gets the recorded commands in their order. Clones are the same
/// card, so that a test that has inserted one can ask for its [`CardReplay::outcome`].
///
/// ```
/// use pcsc_sim::card::{CardReplay, RecordedExchange, VirtualCard};
///
/// let exchange = RecordedExchange {
///     command: [0x00, 0xB0, 0x00, 0x00].map(Some).to_vec(),
///     response: vec![0x47, 0x11, 0x90, 0x00],
/// };
/// let card = CardReplay::new(vec![0x3B, 0x00], vec![exchange]);
/// assert!(card.outcome().is_err());
/// assert_eq!(card.clone().transmit(&[0x00, 0xB0, 0x00, 0x00]), [0x47, 0x11, 0x90, 0x00]);
/// assert_eq!(card.outcome(), Ok(()));
/// ```
#[derive(Debug, Clone)]
pub struct CardReplay {
    atr: Vec<u8>,
    state: Arc<Mutex<Progress>>,
}

#[derive(Debug)]
struct Progress {
    exchanges: Vec<RecordedExchange>,
    /// The number of exchanges that took place.
    done: usize,
    mismatch: Option<Mismatch>,
}

impl CardReplay {
    /// A card with this ATR and these exchanges.
    pub fn new(atr: Vec<u8>, exchanges: Vec<RecordedExchange>) -> CardReplay {
        let state = Progress {
            exchanges,
            done: 0,
            mismatch: None,
        };
        CardReplay {
            atr,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Whether the recorded commands came, all and no others.
    ///
    /// # Errors
    /// The first difference.
    pub fn outcome(&self) -> Result<(), Mismatch> {
        let state = lock(&self.state);
        if let Some(mismatch) = &state.mismatch {
            return Err(mismatch.clone());
        }
        match state.exchanges.get(state.done) {
            Some(next) => Err(state.mismatch(Some(next), None)),
            None => Ok(()),
        }
    }
}

impl Progress {
    fn mismatch(&self, expected: Option<&RecordedExchange>, found: Option<&[u8]>) -> Mismatch {
        let text = |command: &[Option<u8>]| masked::public(command, shown_of_command);
        Mismatch {
            number: self.done + 1,
            line: None,
            expected: expected.map(|exchange| text(&exchange.command)),
            found: found.map(|command| text(&masked::shown(command))),
        }
    }
}

impl VirtualCard for CardReplay {
    fn atr(&self) -> Vec<u8> {
        self.atr.clone()
    }

    /// Gives the recorded response. After the first command that was not recorded: 6F 00.
    fn transmit(&mut self, command: &[u8]) -> Vec<u8> {
        let mut state = lock(&self.state);
        let expected = state.exchanges.get(state.done);
        if state.mismatch.is_none() {
            if let Some(exchange) = expected.filter(|exchange| masked::matches(&exchange.command, command)) {
                let response = exchange.response.clone();
                state.done += 1;
                return response;
            }
            state.mismatch = Some(state.mismatch(expected, Some(command)));
        }
        vec![0x6F, 0x00]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> CardReplay {
        let select = [0x00, 0xA4, 0x04, 0x00].map(Some).to_vec();
        let verify = [&[0x00, 0x20, 0x00, 0x80, 0x02].map(Some)[..], &[None, None]].concat();
        let exchange = |command, response: [u8; 2]| RecordedExchange {
            command,
            response: response.to_vec(),
        };
        CardReplay::new(
            vec![0x3B, 0x00],
            vec![exchange(select, [0x90, 0x00]), exchange(verify, [0x63, 0xC2])],
        )
    }

    const SELECT: [u8; 4] = [0x00, 0xA4, 0x04, 0x00];
    const VERIFY: [u8; 7] = [0x00, 0x20, 0x00, 0x80, 0x02, 0x31, 0x32];

    #[test]
    fn recorded_commands_get_recorded_responses_whatever_was_hidden() {
        let mut card = card();
        assert_eq!(card.transmit(&SELECT), [0x90, 0x00]);
        let left = card.outcome().unwrap_err().to_string();
        assert_eq!(left, "exchange 2: 0020008002**** was recorded, no command came");
        assert_eq!(card.transmit(&VERIFY), [0x63, 0xC2]);
        assert_eq!(card.outcome(), Ok(()));
        assert_eq!(card.transmit(&SELECT), [0x6F, 0x00]);
        let more = card.outcome().unwrap_err().to_string();
        assert_eq!(more, "exchange 3: no command was recorded, 00A40400 came");
    }

    #[test]
    fn no_pin_of_a_record_is_told() {
        let verify = RecordedExchange {
            command: masked::shown(&VERIFY),
            response: vec![0x90, 0x00],
        };
        let mut card = CardReplay::new(vec![0x3B, 0x00], vec![verify]);
        assert_eq!(card.transmit(&SELECT), [0x6F, 0x00]);
        let text = card.outcome().unwrap_err().to_string();
        assert_eq!(text, "exchange 1: 0020008002**** was recorded, 00A40400 came");
    }

    #[test]
    fn the_first_difference_is_told_without_a_pin() {
        let mut card = card();
        assert_eq!(card.transmit(&VERIFY), [0x6F, 0x00]);
        assert_eq!(card.transmit(&SELECT), [0x6F, 0x00], "nothing follows a mismatch");
        let text = card.outcome().unwrap_err().to_string();
        assert_eq!(text, "exchange 1: 00A40400 was recorded, 0020008002**** came");
        let mut card = self::card();
        for command in [&[0x00, 0xA4, 0x04, 0x00, 0x00][..], &[0x00, 0xA4, 0x04]] {
            assert_eq!(card.transmit(command), [0x6F, 0x00], "a part is no match");
        }
    }
}
