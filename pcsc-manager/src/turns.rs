//! Turns at something that one caller uses at a time, and that whoever waits may give up waiting for. (A lock of
//! parking_lot could wait so too, but not in a forked child: its table may have been locked at the fork.)

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use crate::board::{lock, wait_until};

/// A value that is used in turns.
pub struct Turns<T> {
    /// Whoever has the turn locks it without waiting.
    value: Mutex<T>,
    line: Mutex<Line>,
    freed: Condvar,
}

#[derive(Default)]
struct Line {
    is_taken: bool,
    /// How many wait: where nobody does, the end of a turn is no system call.
    waiting: usize,
}

/// A turn; dropping it ends it.
pub struct Turn<'a, T> {
    // Before the end of the turn, so that the next one finds it unlocked.
    value: MutexGuard<'a, T>,
    _end: End<'a>,
}

struct End<'a> {
    line: &'a Mutex<Line>,
    freed: &'a Condvar,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let is_awaited = {
            let mut line = lock(self.line);
            line.is_taken = false;
            line.waiting > 0
        };
        if is_awaited {
            self.freed.notify_one();
        }
    }
}

impl<T> Turns<T> {
    /// A value that nobody uses.
    pub fn new(value: T) -> Turns<T> {
        Turns {
            value: Mutex::new(value),
            line: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// Waits for a turn.
    pub fn take(&self) -> Turn<'_, T> {
        let mut line = self.wait(None).unwrap_or_else(|line| line);
        line.is_taken = true;
        self.turn()
    }

    /// Waits for a turn, if there is a deadline until then.
    pub fn take_by(&self, deadline: Option<Instant>) -> Option<Turn<'_, T>> {
        let mut line = self.wait(deadline).ok()?;
        line.is_taken = true;
        Some(self.turn())
    }

    /// Waits until nobody has the turn; `Err` when the deadline has passed, which no deadline does.
    fn wait(&self, deadline: Option<Instant>) -> Result<MutexGuard<'_, Line>, MutexGuard<'_, Line>> {
        let mut line = lock(&self.line);
        while line.is_taken {
            line.waiting += 1;
            let waited = wait_until(&self.freed, line, deadline);
            let is_late = waited.is_err();
            line = waited.unwrap_or_else(|line| line);
            line.waiting -= 1;
            if is_late {
                return Err(line);
            }
        }
        Ok(line)
    }

    /// A turn if nobody has it.
    pub fn try_take(&self) -> Option<Turn<'_, T>> {
        let was_taken = std::mem::replace(&mut lock(&self.line).is_taken, true);
        (!was_taken).then(|| self.turn())
    }

    fn turn(&self) -> Turn<'_, T> {
        Turn {
            value: lock(&self.value),
            _end: End {
                line: &self.line,
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
