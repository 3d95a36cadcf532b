//! Cancels: a counter of them, and a descriptor that wakes a poll in another thread where the backend has
//! one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::OnceLock;

use super::daemon::Waker;
use crate::error::{Error, Outcome};

/// The cancels of a context.
///
/// A wait reads the count when its call begins, and ends when the count has changed. So a cancel between the
/// call's beginning and its registration with the daemon is not lost. A cancel while no call is in progress
/// has no effect on the next one, unless that call is sticky.
#[derive(Debug, Default)]
pub struct CancelSignal {
    cancels: AtomicU64,
    answered: AtomicU64,
    released: AtomicBool,
    /// Its lock may be held at the time of a fork. A child is refused before it uses the context.
    pub(super) waker: OnceLock<Waker>,
}

impl CancelSignal {
    /// The count of cancels now.
    pub fn now(&self) -> u64 {
        self.cancels.load(Ordering::SeqCst)
    }

    /// Calls `wait` with the count that it compares with: the current one or, where `sticky`, that of the
    /// last cancel that ended a sticky wait.
    pub fn wait(&self, sticky: bool, wait: impl FnOnce(u64) -> Outcome<()>) -> Outcome<()> {
        if !sticky {
            return wait(self.now());
        }
        let since = self.answered.load(Ordering::SeqCst);
        let result = if self.now() == since {
            wait(since)
        } else {
            Err(Error::Cancelled.into())
        };
        if matches!(&result, Err(failure) if failure.error() == Error::Cancelled) {
            self.answered.fetch_max(self.now(), Ordering::SeqCst);
        }
        result
    }

    /// Cancels the calls in progress.
    pub fn cancel(&self) {
        self.cancels.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }

    /// Marks the context as released.
    pub fn release(&self) -> Release {
        if self.released.swap(true, Ordering::SeqCst) {
            return Release::Repeated;
        }
        if self.wake() {
            Release::First
        } else {
            Release::Unreached
        }
    }

    /// Whether the context was released.
    pub fn is_released(&self) -> bool {
        self.released.load(Ordering::SeqCst)
    }

    /// Whether a call that began at the count `since` has been cancelled.
    pub fn is_cancelled(&self, since: u64) -> bool {
        self.now() != since || self.is_released()
    }

    /// False if a thread may wait and cannot be woken.
    fn wake(&self) -> bool {
        self.waker.get().is_none_or(Waker::wake)
    }
}

/// The result of [`CancelSignal::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The context was in use. A wait in progress ends.
    First,
    /// The context was in use. The program has closed the descriptors: a wait in progress may last.
    Unreached,
    /// The context was released before.
    Repeated,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sticky_cancel_ends_one_wait_that_it_meets() {
        fn is_cancelled(outcome: &Outcome<()>) -> bool {
            matches!(outcome, Err(failure) if failure.error() == Error::Cancelled)
        }
        let signal = CancelSignal::default();
        assert!(signal.wait(true, |_| Ok(())).is_ok());
        signal.cancel();
        assert!(signal.wait(false, |_| Ok(())).is_ok());
        let not_begun = signal.wait(true, |_| panic!("a wait has begun"));
        assert!(is_cancelled(&not_begun));
        // A cancel while a wait ends for another reason ends the next one.
        let found_change = signal.wait(true, |_| {
            signal.cancel();
            Ok(())
        });
        assert!(found_change.is_ok());
        assert!(is_cancelled(&signal.wait(true, |_| Ok(()))));
        assert!(signal.wait(true, |_| Ok(())).is_ok());
    }
}
