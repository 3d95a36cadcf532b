//! A card that answers as another one did.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pcsc_ccid::secrets::shown_of_command;

use super::VirtualCard;
use crate::Mismatch;

/// A command and its response, as they were recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The command's bytes. `None` for one that was hidden, in the place of which any byte is right.
    pub command: Vec<Option<u8>>,
    /// The response.
    pub response: Vec<u8>,
}

/// A card that gives recorded responses, if it gets the recorded commands in their order. Clones are the same
/// card, so that a test that has inserted one can ask for its [`Replay::outcome`].
///
/// ```
/// use pcsc_sim::card::{Exchange, Replay, VirtualCard};
///
/// let exchange = Exchange {
///     command: [0x00, 0xB0, 0x00, 0x00].map(Some).to_vec(),
///     response: vec![0x47, 0x11, 0x90, 0x00],
/// };
/// let card = Replay::new(vec![0x3B, 0x00], vec![exchange]);
/// assert!(card.outcome().is_err());
/// assert_eq!(card.clone().transmit(&[0x00, 0xB0, 0x00, 0x00]), [0x47, 0x11, 0x90, 0x00]);
/// assert_eq!(card.outcome(), Ok(()));
/// ```
#[derive(Debug, Clone)]
pub struct Replay {
    atr: Vec<u8>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    exchanges: Vec<Exchange>,
    /// The number of exchanges that took place.
    done: usize,
    mismatch: Option<Mismatch>,
}

fn digits(bytes: impl Iterator<Item = Option<u8>>) -> String {
    bytes
        .map(|byte| byte.map_or("**".into(), |byte| format!("{byte:02X}")))
        .collect()
}

impl Replay {
    /// A card with this ATR and these exchanges.
    pub fn new(atr: Vec<u8>, exchanges: Vec<Exchange>) -> Replay {
        let state = State {
            exchanges,
            done: 0,
            mismatch: None,
        };
        Replay {
            atr,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Whether the recorded commands came, all and no others.
    ///
    /// # Errors
    /// The first difference.
    pub fn outcome(&self) -> Result<(), Mismatch> {
        let state = self.state();
        if let Some(mismatch) = &state.mismatch {
            return Err(mismatch.clone());
        }
        match state.exchanges.get(state.done) {
            Some(next) => Err(state.mismatch(Some(next), None)),
            None => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn mismatch(&self, expected: Option<&Exchange>, found: Option<&[u8]>) -> Mismatch {
        let shown = |command: &[u8]| {
            let shown = shown_of_command(command);
            let bytes = command.iter().enumerate();
            digits(bytes.map(|(at, byte)| (at < shown).then_some(*byte)))
        };
        Mismatch {
            number: self.done + 1,
            line: None,
            expected: expected.map(|exchange| digits(exchange.command.iter().copied())),
            found: found.map(shown),
        }
    }
}

impl VirtualCard for Replay {
    fn atr(&self) -> Vec<u8> {
        self.atr.clone()
    }

    /// Gives the recorded response. After the first command that was not recorded: 6F 00.
    fn transmit(&mut self, command: &[u8]) -> Vec<u8> {
        let mut state = self.state();
        let is_like = |exchange: &&Exchange| {
            let pairs = exchange.command.iter().zip(command);
            let are_equal = pairs
                .into_iter()
                .all(|(recorded, byte)| recorded.is_none_or(|known| known == *byte));
            exchange.command.len() == command.len() && are_equal
        };
        let expected = state.exchanges.get(state.done);
        if state.mismatch.is_none() {
            if let Some(exchange) = expected.filter(is_like) {
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

    fn card() -> Replay {
        let select = [0x00, 0xA4, 0x04, 0x00].map(Some).to_vec();
        let verify = [&[0x00, 0x20, 0x00, 0x80, 0x02].map(Some)[..], &[None, None]].concat();
        let exchange = |command, response: [u8; 2]| Exchange {
            command,
            response: response.to_vec(),
        };
        Replay::new(
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
