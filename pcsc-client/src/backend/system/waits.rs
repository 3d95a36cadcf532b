//! Waits for changes in the library, and their end by a cancel.
//!
//! `SCardCancel` ends a wait that the library has begun, and has no effect on one that is about to begin. So
//! a cancel is repeated until each wait that it is meant for has ended.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backend::lifecycle::Lifecycle;
use crate::error::{Error, Outcome};

/// The pause between two cancels. Most waits have ended by then.
const PAUSE: Duration = Duration::from_millis(5);
/// How often a cancel is repeated. A library that takes longer does not end its waits.
const MOST_CANCELS: u32 = 2000;
/// The most cancels in a row that the library may refuse. With [`PAUSE`], they take five seconds.
const MOST_REFUSALS: u32 = 1000;

/// The waits of a context that are in progress.
#[derive(Debug, Default)]
pub struct Waits {
    /// For each, the count of cancels when its call began.
    begun_at: Mutex<Vec<u64>>,
    ended: Condvar,
}

impl Waits {
    /// Calls `wait`, unless the call that began at the count `since` has been cancelled. Cancels that come
    /// later reach it.
    pub fn run<T>(&self, lifecycle: &Lifecycle, since: u64, wait: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        {
            let mut begun_at = self.lock();
            begun_at.try_reserve(1).map_err(|_| Error::NoMemory)?;
            begun_at.push(since);
        }
        // After the wait is listed: a cancel either is seen here, or sees the wait.
        let result = if lifecycle.is_cancelled(since) {
            Err(Error::Cancelled.into())
        } else {
            wait()
        };
        let mut begun_at = self.lock();
        if let Some(at) = begun_at.iter().position(|begun| *begun == since) {
            begun_at.swap_remove(at);
        }
        self.ended.notify_all();
        result
    }

    /// Calls `cancel` until the waits that `lifecycle` has cancelled have ended.
    ///
    /// # Errors
    /// Those of `cancel`. [`Error::InvalidHandle`] is one only if it lasts: PC/SC Lite 1.9.9 returns it for a
    /// wait that has not reached the daemon yet. [`Error::WaitedTooLong`] if the library does not end a
    /// wait.
    pub fn interrupt(&self, lifecycle: &Lifecycle, mut cancel: impl FnMut() -> Outcome<()>) -> Outcome<()> {
        let mut begun_at = self.lock();
        let mut refusals = 0;
        for _ in 0..MOST_CANCELS {
            if !begun_at.iter().any(|begun| lifecycle.is_cancelled(*begun)) {
                return Ok(());
            }
            // The wait takes this lock when it ends.
            drop(begun_at);
            match cancel() {
                Err(failure) if failure.error() != Error::InvalidHandle => return Err(failure),
                Err(failure) if refusals == MOST_REFUSALS => return Err(failure),
                Err(_) => refusals += 1,
                // In a row: the library refuses for a moment while a wait is on its way to the daemon.
                Ok(()) => refusals = 0,
            }
            begun_at = self
                .ended
                .wait_timeout(self.lock(), PAUSE)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Err(Error::WaitedTooLong.into())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.begun_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_cancel_is_repeated_until_the_library_notices_it() {
        let (waits, lifecycle) = &(Waits::default(), Lifecycle::new());
        let since = lifecycle.now();
        let (begin, begun) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let waited = waits.run(lifecycle, since, || {
                    begin.send(()).unwrap();
                    ended.recv().unwrap();
                    Ok(())
                });
                waited.unwrap();
            });
            begun.recv().unwrap();
            lifecycle.cancel().unwrap();
            let failed = waits.interrupt(lifecycle, || Err(Error::CommError.into()));
            assert_eq!(failed.unwrap_err().error(), Error::CommError);
            // The library has lost the context.
            let failed = waits.interrupt(lifecycle, || Err(Error::InvalidHandle.into()));
            assert_eq!(failed.unwrap_err().error(), Error::InvalidHandle);
            let mut cancels = 0;
            // As in a library that does not wait yet, only the third cancel has an effect.
            let cancel = || {
                cancels += 1;
                match cancels {
                    1 => return Err(Error::InvalidHandle.into()),
                    3 => end.send(()).unwrap(),
                    _ => (),
                }
                Ok(())
            };
            waits.interrupt(lifecycle, cancel).unwrap();
            assert!(cancels >= 3, "{cancels} cancels");
        });
        // Without a wait nothing is cancelled.
        waits.interrupt(lifecycle, || panic!("there is no wait")).unwrap();
    }

    #[test]
    fn a_wait_that_was_cancelled_does_not_begin() {
        let (waits, lifecycle) = (Waits::default(), Lifecycle::new());
        let since = lifecycle.now();
        lifecycle.cancel().unwrap();
        let waited = waits.run(&lifecycle, since, || -> Outcome<()> {
            panic!("a wait has begun")
        });
        assert_eq!(waited.unwrap_err().error(), Error::Cancelled);
        // The next call is not cancelled.
        assert!(waits.run(&lifecycle, lifecycle.now(), || Ok(())).is_ok());
    }
}
