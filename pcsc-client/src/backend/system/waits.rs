//! Waits for changes in the library, and their end by a cancel.
//!
//! `SCardCancel` ends a wait that the library has begun, and has no effect on one that is about to begin. So
//! a cancel is repeated until each wait that it is meant for has ended.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backend::cancel_signal::CancelSignal;
use crate::error::{Error, Outcome};

/// The pause between two cancels. Most waits have ended by then.
const PAUSE: Duration = Duration::from_millis(5);
/// How often a cancel is repeated. A library that takes longer does not end its waits.
const MOST_CANCELS: u32 = 2000;

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
    pub fn run<T>(&self, signal: &CancelSignal, since: u64, wait: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        {
            let mut begun_at = self.lock();
            begun_at.try_reserve(1).map_err(|_| Error::NoMemory)?;
            begun_at.push(since);
        }
        // After the wait is listed: a cancel either is seen here, or sees the wait.
        let result = if signal.is_cancelled(since) {
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

    /// Calls `cancel` until the waits that `signal` has cancelled have ended.
    ///
    /// # Errors
    /// Those of `cancel`; [`Error::WaitedTooLong`] if the library does not end a wait.
    pub fn interrupt(&self, signal: &CancelSignal, mut cancel: impl FnMut() -> Outcome<()>) -> Outcome<()> {
        let mut begun_at = self.lock();
        for _ in 0..MOST_CANCELS {
            if !begun_at.iter().any(|begun| signal.is_cancelled(*begun)) {
                return Ok(());
            }
            drop(begun_at);
            cancel()?;
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
        let (waits, signal) = &(Waits::default(), CancelSignal::default());
        let since = signal.now();
        let (begin, begun) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let waited = waits.run(signal, since, || {
                    begin.send(()).unwrap();
                    ended.recv().unwrap();
                    Ok(())
                });
                waited.unwrap();
            });
            begun.recv().unwrap();
            signal.cancel();
            let mut cancels = 0;
            // As in a library that does not wait yet, only the third cancel has an effect.
            let cancel = || {
                cancels += 1;
                if cancels == 3 {
                    end.send(()).unwrap();
                }
                Ok(())
            };
            waits.interrupt(signal, cancel).unwrap();
            assert!(cancels >= 3, "{cancels} cancels");
        });
        // Without a wait nothing is cancelled.
        waits.interrupt(signal, || panic!("there is no wait")).unwrap();
    }

    #[test]
    fn a_wait_that_was_cancelled_does_not_begin() {
        let (waits, signal) = (Waits::default(), CancelSignal::default());
        let since = signal.now();
        signal.cancel();
        let waited = waits.run(&signal, since, || -> Outcome<()> { panic!("a wait has begun") });
        assert_eq!(waited.unwrap_err().error(), Error::Cancelled);
        // The next call is not cancelled.
        assert!(waits.run(&signal, signal.now(), || Ok(())).is_ok());
    }
}
