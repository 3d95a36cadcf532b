//! The state of a context: the process that it belongs to, its cancels, and whether it was released.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Cause, Error, Failure, Outcome};
use pcsc_process::generation;

/// Whether a context can be used, and a count of its cancels. Waking the waits is the backend's part, after
/// the count has changed: a wait that wakes compares counts, and would sleep again.
///
/// A wait reads the count when its call begins, and ends when the count has changed. So a cancel between the
/// call's beginning and its registration with the daemon is not lost. A cancel while no call is in progress
/// has no effect on the next one, unless that call is sticky.
#[derive(Debug)]
pub struct Lifecycle {
    generation: u32,
    cancels: AtomicU64,
    answered: AtomicU64,
    released: AtomicBool,
}

impl Lifecycle {
    /// That of a new context of this process.
    pub fn new() -> Lifecycle {
        Lifecycle {
            generation: generation(),
            cancels: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            released: AtomicBool::new(false),
        }
    }

    /// Whether this process is a forked child of the one that the context belongs to.
    pub fn is_inherited(&self) -> bool {
        self.generation != generation()
    }

    /// Whether [`Lifecycle::check`] succeeds.
    pub fn is_usable(&self) -> bool {
        !self.is_inherited() && !self.is_released()
    }

    /// Refuses a context that a forked child has inherited, and one that was released.
    pub fn check(&self) -> Outcome<()> {
        if self.is_inherited() {
            return Err(Failure::quiet(Error::InvalidHandle, Cause::Forked));
        }
        if self.is_released() {
            return Err(Error::InvalidHandle.into());
        }
        Ok(())
    }

    /// The count of cancels now.
    pub fn now(&self) -> u64 {
        self.cancels.load(Ordering::SeqCst)
    }

    /// Calls `wait` with the count that it compares with: the current one or, where `sticky`, that of the
    /// last cancel that ended a sticky wait. A release ends a wait that has begun as a cancel does.
    ///
    /// # Errors
    /// As [`Lifecycle::check`], and those of `wait`.
    pub fn wait(&self, sticky: bool, wait: impl FnOnce(u64) -> Outcome<()>) -> Outcome<()> {
        self.check()?;
        if !sticky {
            return wait(self.now());
        }
        let since = self.answered.load(Ordering::SeqCst);
        // Compared with the last cancel that ended a sticky wait, and not with now: a cancel between two
        // waits ends the second.
        let result = if self.now() == since {
            wait(since)
        } else {
            Err(Error::Cancelled.into())
        };
        if matches!(&result, Err(failure) if failure.error() == Error::Cancelled) {
            // `max`: of two waits that end together, the later count stays.
            self.answered.fetch_max(self.now(), Ordering::SeqCst);
        }
        result
    }

    /// Counts a cancel. Safe in a signal handler: allocates nothing, also where it fails.
    ///
    /// # Errors
    /// [`Error::InvalidHandle`] where [`Lifecycle::check`] fails.
    pub fn cancel(&self) -> Outcome<()> {
        if !self.is_usable() {
            return Err(Error::InvalidHandle.into());
        }
        self.cancels.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Marks the context as released.
    ///
    /// # Errors
    /// As [`Lifecycle::check`].
    pub fn release(&self) -> Outcome<()> {
        self.check()?;
        // One of two threads that release has done it. The other one gets the error of a double release.
        if self.released.swap(true, Ordering::SeqCst) {
            return Err(Error::InvalidHandle.into());
        }
        Ok(())
    }

    /// Whether the context was released.
    pub fn is_released(&self) -> bool {
        self.released.load(Ordering::SeqCst)
    }

    /// Whether a call that began at the count `since` has been cancelled.
    pub fn is_cancelled(&self, since: u64) -> bool {
        self.now() != since || self.is_released()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sticky_cancel_ends_one_wait_that_it_meets() {
        fn is_cancelled(outcome: &Outcome<()>) -> bool {
            matches!(outcome, Err(failure) if failure.error() == Error::Cancelled)
        }
        let lifecycle = Lifecycle::new();
        assert!(lifecycle.wait(true, |_| Ok(())).is_ok());
        lifecycle.cancel().unwrap();
        assert!(lifecycle.wait(false, |_| Ok(())).is_ok());
        let not_begun = lifecycle.wait(true, |_| panic!("a wait has begun"));
        assert!(is_cancelled(&not_begun));
        // A cancel while a wait ends for another reason ends the next one.
        let found_change = lifecycle.wait(true, |_| {
            lifecycle.cancel().unwrap();
            Ok(())
        });
        assert!(found_change.is_ok());
        assert!(is_cancelled(&lifecycle.wait(true, |_| Ok(()))));
        assert!(lifecycle.wait(true, |_| Ok(())).is_ok());
    }

    #[test]
    fn a_release_counts_as_a_cancel_and_is_refused_the_second_time() {
        let lifecycle = Lifecycle::new();
        lifecycle.cancel().unwrap();
        let since = lifecycle.now();
        assert!(!lifecycle.is_cancelled(since));
        lifecycle.cancel().unwrap();
        assert!(lifecycle.is_cancelled(since));
        assert!(lifecycle.release().is_ok());
        assert!(lifecycle.is_cancelled(lifecycle.now()));
        for refused in [lifecycle.release(), lifecycle.cancel(), lifecycle.check()] {
            assert_eq!(refused.unwrap_err().error(), Error::InvalidHandle);
        }
    }
}
