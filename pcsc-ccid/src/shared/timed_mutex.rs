//! A mutex whose lock can time out.
//!
//! parking_lot has one too, but not for a forked child: its table of waiting threads may have been locked at
//! the fork.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{fence, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, TryLockError};
use std::time::Instant;

use super::sync::{lock, wait_until};

/// A mutex whose lock can time out. Without contention it costs what a mutex of std costs.
#[derive(Debug, Default)]
pub struct TimedMutex<T> {
    value: Mutex<T>,
    /// How many threads sleep, or are about to.
    waiting: AtomicUsize,
    gate: Mutex<()>,
    freed: Condvar,
}

/// The lock. Dropping it unlocks.
#[derive(Debug)]
pub struct TimedMutexGuard<'a, T> {
    // Dropped before `_unlock`, which wakes the next thread.
    value: MutexGuard<'a, T>,
    _unlock: Unlock<'a, T>,
}

#[derive(Debug)]
struct Unlock<'a, T>(&'a TimedMutex<T>);

impl<T> Drop for Unlock<'_, T> {
    fn drop(&mut self) {
        // With the fence in `lock_until`: either this thread sees the count, or that one sees the value
        // unlocked.
        fence(Ordering::SeqCst);
        if self.0.waiting.load(Ordering::Relaxed) > 0 {
            // Under the gate no thread is between its attempt to lock and its sleep.
            drop(lock(&self.0.gate));
            self.0.freed.notify_one();
        }
    }
}

impl<T> TimedMutex<T> {
    /// An unlocked mutex.
    pub fn new(value: T) -> TimedMutex<T> {
        TimedMutex {
            value: Mutex::new(value),
            waiting: AtomicUsize::new(0),
            gate: Mutex::new(()),
            freed: Condvar::new(),
        }
    }

    /// Locks, and waits for it as long as it takes.
    pub fn lock(&self) -> TimedMutexGuard<'_, T> {
        loop {
            // Without a deadline it does not time out.
            if let Some(guard) = self.lock_until(None) {
                return guard;
            }
        }
    }

    /// Locks. Returns `None` if the deadline has passed before the mutex was free.
    pub fn lock_until(&self, deadline: Option<Instant>) -> Option<TimedMutexGuard<'_, T>> {
        self.try_lock().or_else(|| self.wait(deadline))
    }

    /// Locks if the mutex is free.
    pub fn try_lock(&self) -> Option<TimedMutexGuard<'_, T>> {
        let value = match self.value.try_lock() {
            Ok(value) => value,
            // A panic elsewhere leaves the value as usable as it was.
            Err(TryLockError::Poisoned(value)) => value.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(TimedMutexGuard {
            value,
            _unlock: Unlock(self),
        })
    }

    fn wait(&self, deadline: Option<Instant>) -> Option<TimedMutexGuard<'_, T>> {
        let mut gate = lock(&self.gate);
        // Under the gate and before the attempt to lock: who unlocks after that attempt sees the count and
        // notifies.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let locked = loop {
            if let Some(guard) = self.try_lock() {
                break Some(guard);
            }
            gate = match wait_until(&self.freed, gate, deadline) {
                Ok(gate) => gate,
                Err(_) => break None,
            };
        };
        // Without a fence: seen late, it costs a notification that nobody needs.
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        locked
    }
}

impl<T> Deref for TimedMutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for TimedMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_lock_that_is_held_times_out_or_is_waited_for() {
        let mutex = TimedMutex::new(0);
        let mut first = mutex.lock();
        *first += 1;
        assert!(mutex.try_lock().is_none());
        let soon = Instant::now() + Duration::from_millis(5);
        assert!(mutex.lock_until(Some(soon)).is_none());
        assert!(Instant::now() >= soon);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| *mutex.lock_until(None).unwrap());
            *first += 1;
            drop(first);
            assert_eq!(waits.join().unwrap(), 2);
        });
        assert!(mutex.try_lock().is_some());
        assert!(mutex.try_lock().is_some());
    }

    #[test]
    fn one_thread_at_a_time_has_the_lock_and_all_get_it() {
        let mutex = TimedMutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let mut value = mutex.lock();
                        let seen = *value;
                        std::thread::yield_now();
                        *value = seen + 1;
                    }
                });
            }
        });
        assert_eq!(*mutex.lock(), 8000);
    }
}
