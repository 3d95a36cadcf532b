//! Readers with their identity and state.

use std::ffi::{CStr, CString};
use std::time::Duration;

use crate::context::Context;
use crate::error::{Error, Failure};
use crate::identity::ReaderIdentity;
use crate::reader_state::ReaderState;
use crate::values::State;

/// A reader, as [`Context::readers`] finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderInfo {
    /// The name, for [`Context::connect`].
    pub name: CString,
    /// The reader's state and that of its card. [`State::UNAVAILABLE`] for a reader that another process has.
    pub state: State,
    /// The card's ATR; empty without a card, and for a card that does not answer.
    pub atr: Vec<u8>,
    /// The device that the reader is.
    pub identity: ReaderIdentity,
}

impl Context {
    /// The readers with their identity and state, in the order of [`Context::list_readers`].
    ///
    /// It does not connect to cards. Without a daemon it opens the readers that are free, to see whether a
    /// card is there. A daemon is asked over a connection to the reader alone, and returns less: of a reader
    /// that another connection uses exclusively or in a transaction, it gives the slot alone, the latter
    /// after a second.
    ///
    /// # Errors
    /// Those of the connection with the daemon.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), pcsc_client::Failure> {
    /// let context = pcsc_client::Context::builder().establish()?;
    /// for reader in context.readers()? {
    ///     println!("{:?} at port {:?}: {:?}", reader.name, reader.identity.port, reader.state);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn readers(&self) -> Result<Vec<ReaderInfo>, Failure> {
        let states = self.states()?;
        let is_used = |state: &ReaderState| state.event_state().intersects(State::INUSE | State::EXCLUSIVE);
        let readers: Vec<(&CStr, bool)> = states
            .iter()
            .map(|state| (state.name(), is_used(state)))
            .collect();
        let identities = self.session().identities(&readers);
        let reader = |(state, identity): (&ReaderState, ReaderIdentity)| ReaderInfo {
            name: state.name().to_owned(),
            state: state.event_state() - State::CHANGED,
            atr: state.atr().to_vec(),
            identity,
        };
        Ok(states.iter().zip(identities).map(reader).collect())
    }

    /// The state of each reader.
    fn states(&self) -> Result<Vec<ReaderState>, Failure> {
        loop {
            let names = self.try_list_readers()?;
            let new = |name| ReaderState::new(name, State::UNAWARE);
            let mut states: Vec<ReaderState> = names.into_iter().map(new).collect();
            match self.try_get_status_change(Duration::ZERO, &mut states) {
                // A reader went between the two calls.
                Err(failure) if failure.error() == Error::UnknownReader => (),
                // A wait from SCARD_STATE_UNAWARE times out if the state is unknown.
                Err(failure) if failure.error() == Error::Timeout => return Ok(states),
                result => return result.map(|()| states),
            }
        }
    }
}
