//! Where everything that changes is posted, for those who wait for a change of readers or cards.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A count of changes, and those who wait for it to move.
#[derive(Debug, Default)]
pub struct Board {
    changes: Mutex<u64>,
    moved: Condvar,
}

impl Board {
    /// The count now. Look at the state after this, and no change falls between.
    pub fn changes(&self) -> u64 {
        *lock(&self.changes)
    }

    /// Posts a change.
    pub fn post(&self) {
        *lock(&self.changes) += 1;
        self.moved.notify_all();
    }

    /// Waits until the count is no longer `seen`; false when the deadline passed first.
    pub fn wait(&self, seen: u64, deadline: Option<Instant>) -> bool {
        let mut changes = lock(&self.changes);
        while *changes == seen {
            changes = match wait_until(&self.moved, changes, deadline) {
                Ok(changes) => changes,
                Err(_) => return false,
            };
        }
        true
    }
}

/// Locks, whatever became of a thread that held the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a condition to be signalled; `Err` when the deadline has passed.
pub fn wait_until<'a, T>(
    condition: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Option<Instant>,
) -> Result<MutexGuard<'a, T>, MutexGuard<'a, T>> {
    let Some(deadline) = deadline else {
        return Ok(condition.wait(guard).unwrap_or_else(PoisonError::into_inner));
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(guard);
    }
    Ok(condition
        .wait_timeout(guard, left)
        .unwrap_or_else(PoisonError::into_inner)
        .0)
}
