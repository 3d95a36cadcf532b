//! Waits by Linux's system calls.

use std::ffi::c_long;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::cancellation::{blocking, was_cancelled};

/// The kernel's `timespec` for system calls that have a name without `time64`.
#[repr(C)]
struct Timeout {
    seconds: c_long,
    nanoseconds: c_long,
}

/// The time left; `None` waits forever.
fn left(deadline: Option<Instant>) -> Option<Timeout> {
    let left = deadline?.saturating_duration_since(Instant::now());
    Some(Timeout {
        seconds: c_long::try_from(left.as_secs()).unwrap_or(c_long::MAX),
        nanoseconds: left.subsec_nanos() as c_long,
    })
}

fn address(timeout: &Option<Timeout>) -> usize {
    timeout
        .as_ref()
        .map_or(0, |timeout| ptr::from_ref(timeout) as usize)
}

/// `poll(2)` with a deadline. 0 if the deadline passed first, or the thread was cancelled.
///
/// # Errors
/// The system's, also `EINTR`.
pub fn poll(descriptors: &mut [libc::pollfd], deadline: Option<Instant>) -> io::Result<usize> {
    let timeout = left(deadline);
    let (pointer, count) = (descriptors.as_mut_ptr() as usize, descriptors.len());
    // SAFETY: an array with its length, a time or null, and no signal mask.
    let polled = unsafe { blocking(libc::SYS_ppoll, [pointer, count, address(&timeout), 0, 0, 0]) };
    match polled {
        Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => Ok(0),
        polled => polled,
    }
}

/// Sleeps. False if the thread was cancelled.
pub fn sleep(duration: Duration) -> bool {
    let deadline = Instant::now() + duration;
    while matches!(poll(&mut [], Some(deadline)), Err(error) if error.kind() == io::ErrorKind::Interrupted) {}
    !was_cancelled()
}

/// A counter of changes, and a wait for the next change. Takes no lock: a signal handler may post a change.
// `SeqCst` throughout: a post writes `changes` and then reads `waiting`, a wait does the reverse. With less,
// each could miss the other's write, and the wait would sleep over the change.
#[derive(Debug, Default)]
pub struct ChangeCounter {
    changes: AtomicU32,
    /// How many threads sleep, or are about to: without any, a change takes no system call.
    waiting: AtomicU32,
}

impl ChangeCounter {
    /// The count now. What is looked at after this call includes every change counted.
    pub fn changes(&self) -> u32 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Counts a change and wakes all waiting threads.
    pub fn post(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        // A thread that is not counted yet will find the change before it sleeps.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // Not a libc function: it would change the errno of the code that a signal handler interrupts.
            futex_wake_all(&self.changes);
        }
    }

    /// Waits until the count differs from `seen`. False if the deadline passed first, or the thread was
    /// cancelled. `None` waits forever.
    pub fn wait(&self, seen: u32, deadline: Option<Instant>) -> bool {
        if self.changes() != seen {
            return true;
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let has_changed = self.sleep(seen, deadline);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        has_changed
    }

    fn sleep(&self, seen: u32, deadline: Option<Instant>) -> bool {
        const WAIT: usize = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
        while self.changes() == seen {
            let timeout = left(deadline);
            let word = self.changes.as_ptr() as usize;
            // SAFETY: a word that lives, and a time or null.
            let waited = unsafe {
                blocking(
                    libc::SYS_futex,
                    [word, WAIT, seen as usize, address(&timeout), 0, 0],
                )
            };
            let code = waited.err().and_then(|error| error.raw_os_error());
            match code {
                Some(libc::ETIMEDOUT) => return self.changes() != seen,
                Some(libc::ECANCELED) => return false,
                _ => (),
            }
        }
        true
    }
}

fn futex_wake_all(word: &AtomicU32) {
    const WAKE: usize = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: errno is the calling thread's own. The word lives.
    unsafe {
        let errno = errno();
        let before = *errno;
        libc::syscall(libc::SYS_futex, word.as_ptr(), WAKE, i32::MAX);
        *errno = before;
    }
}

fn errno() -> *mut i32 {
    // SAFETY: no preconditions.
    #[cfg(target_os = "android")]
    return unsafe { libc::__errno() };
    // SAFETY: no preconditions.
    #[cfg(not(target_os = "android"))]
    return unsafe { libc::__errno_location() };
}
