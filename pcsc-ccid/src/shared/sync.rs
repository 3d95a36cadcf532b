//! Helpers for locks. [`internals`](crate::internals) has them for the other crates of this workspace.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub use super::timed_mutex::{TimedMutex, TimedMutexGuard};

/// Locks a mutex, also after a panic of a thread that held the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sleeps until a condition is signalled. Returns `Err` if the deadline has passed.
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
