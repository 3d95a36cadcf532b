//! Turns at something that one caller uses at a time, and that whoever waits may give up waiting for. (A lock of
//! parking_lot could wait so too, but not in a forked child: its table may have been locked at the fork.)

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use super::board::{lock, wait_until};

/// A value that is used in turns.
pub struct Turns<T> {
    /// Whoever has the turn locks it without waiting.
    value: Mutex<T>,
    is_taken: Mutex<bool>,
    freed: Condvar,
}

/// A turn; dropping it ends it.
pub struct Turn<'a, T> {
    // Before the end of the turn, so that the next one finds it unlocked.
    value: MutexGuard<'a, T>,
    _end: End<'a>,
}

struct End<'a> {
    is_taken: &'a Mutex<bool>,
    freed: &'a Condvar,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        *lock(self.is_taken) = false;
        self.freed.notify_one();
    }
}

impl<T> Turns<T> {
    pub fn new(value: T) -> Turns<T> {
        Turns {
            value: Mutex::new(value),
            is_taken: Mutex::new(false),
            freed: Condvar::new(),
        }
    }

    /// Waits for a turn.
    pub fn take(&self) -> Turn<'_, T> {
        let mut is_taken = lock(&self.is_taken);
        while *is_taken {
            is_taken = wait_until(&self.freed, is_taken, None).unwrap_or_else(|guard| guard);
        }
        *is_taken = true;
        self.turn()
    }

    /// Waits for a turn, if there is a deadline until then.
    pub fn take_by(&self, deadline: Option<Instant>) -> Option<Turn<'_, T>> {
        let mut is_taken = lock(&self.is_taken);
        while *is_taken {
            is_taken = wait_until(&self.freed, is_taken, deadline).ok()?;
        }
        *is_taken = true;
        Some(self.turn())
    }

    /// A turn if nobody has it.
    pub fn try_take(&self) -> Option<Turn<'_, T>> {
        let was_taken = std::mem::replace(&mut *lock(&self.is_taken), true);
        (!was_taken).then(|| self.turn())
    }

    fn turn(&self) -> Turn<'_, T> {
        Turn {
            value: lock(&self.value),
            _end: End {
                is_taken: &self.is_taken,
                freed: &self.freed,
            },
        }
    }
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_has_the_turn_and_others_wait_or_give_up() {
        let turns = Turns::new(0);
        let mut first = turns.take();
        *first += 1;
        assert!(turns.try_take().is_none());
        let soon = Instant::now() + Duration::from_millis(5);
        assert!(turns.take_by(Some(soon)).is_none());
        assert!(Instant::now() >= soon);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| *turns.take_by(None).unwrap());
            *first += 1;
            drop(first);
            assert_eq!(waits.join().unwrap(), 2);
        });
        assert!(turns.try_take().is_some());
        assert!(turns.try_take().is_some());
    }

    #[test]
    fn no_two_have_a_turn_at_once() {
        let turns = Turns::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let mut turn = turns.take();
                        let seen = *turn;
                        std::thread::yield_now();
                        *turn = seen + 1;
                    }
                });
            }
        });
        assert_eq!(*turns.take(), 8000);
    }
}
