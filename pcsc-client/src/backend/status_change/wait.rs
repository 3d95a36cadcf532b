//! The wait for a change, which is the same for all backends.

use std::time::{Duration, Instant};

use super::look::{Comparison, StatusChange};
use super::watched::Watched;
use crate::error::{Error, Outcome};

/// The readers of a backend, for the time of one call.
pub trait Readers {
    /// Passes the current readers to [`StatusChange::compare`]. With `register`, the next [`Readers::wait`]
    /// ends if they have changed since.
    fn look(&mut self, call: &mut StatusChange<'_, '_>, register: bool) -> Outcome<Comparison>;

    /// Waits until readers have changed since the last look. Returns false if the deadline has passed; `None`
    /// waits forever. Returns at once if the last look has not registered.
    ///
    /// # Errors
    /// [`Error::Cancelled`] for a cancel or a release.
    fn wait(&mut self, deadline: Option<Instant>) -> Outcome<bool>;

    /// Ends a registration that no [`Readers::wait`] has ended.
    fn stop(&mut self);
}

/// Waits until a state differs from the one that the caller knows, at most `timeout`; `None` waits forever.
pub fn wait_for_change(
    readers: &mut dyn Readers,
    timeout: Option<Duration>,
    watched: &mut [Watched<'_>],
) -> Outcome<()> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut may_wait = timeout != Some(Duration::ZERO);
    // If any state is a change, the first look ends the call, so that it need not register.
    let mut register = may_wait && !watched.iter().any(Watched::is_unaware);
    let mut call = StatusChange::new(watched)?;
    loop {
        match readers.look(&mut call, register)? {
            Comparison::Unchanged if !may_wait => return Err(Error::Timeout.into()),
            Comparison::Unchanged => (),
            Comparison::Changed => {
                readers.stop();
                return Ok(());
            }
            Comparison::UnknownReader => {
                readers.stop();
                return Err(Error::UnknownReader.into());
            }
        }
        if !readers.wait(deadline)? {
            return Err(Error::Timeout.into());
        }
        // Changes that the caller does not watch must not extend its time. One more look, without a wait,
        // reports a change that came with the end of that time.
        may_wait = deadline.is_none_or(|deadline| deadline > Instant::now());
        register = may_wait;
    }
}
