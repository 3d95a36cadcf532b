//! Waits of the standard library, for systems without Linux's futex. Those of other systems have calls of
//! their own for it, and the standard library uses them where they are stable.
//!
//! The counter has a lock: a signal handler must not post a change here.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Sleeps. True: no thread is cancelled here.
pub fn sleep(duration: Duration) -> bool {
    std::thread::sleep(duration);
    true
}

/// A counter of changes, and a wait for the next change.
#[derive(Debug, Default)]
pub struct ChangeCounter {
    changes: Mutex<u32>,
    changed: Condvar,
}

impl ChangeCounter {
    /// The count now. What is looked at after this call includes every change counted.
    pub fn changes(&self) -> u32 {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a change and wakes all waiting threads.
    pub fn post(&self) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        *changes = changes.wrapping_add(1);
        self.changed.notify_all();
    }

    /// Waits until the count differs from `seen`. False if the deadline passed first. `None` waits forever.
    pub fn wait(&self, seen: u32, deadline: Option<Instant>) -> bool {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        while *changes == seen {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            changes = match left {
                None => self.changed.wait(changes).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    let waited = self.changed.wait_timeout(changes, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }
}
