//! Waits on systems without a futex. A signal handler must not post a change here.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// `poll(2)` with a deadline. 0 if the deadline passed first.
///
/// # Errors
/// The system's, also `EINTR`.
pub fn poll(descriptors: &mut [libc::pollfd], deadline: Option<Instant>) -> io::Result<usize> {
    let timeout = deadline.map_or(-1, |deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
    });
    let count = descriptors.len() as libc::nfds_t;
    // SAFETY: an array with its length.
    let polled = unsafe { libc::poll(descriptors.as_mut_ptr(), count, timeout) };
    usize::try_from(polled).map_err(|_| io::Error::last_os_error())
}

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
