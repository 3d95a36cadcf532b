//! The descriptor that a wait for the daemon watches for a cancel.

use std::sync::atomic::{fence, Ordering};
use std::sync::OnceLock;
use std::time::Duration;

use pcsc_process::Waker;

/// How often a wait without a waker polls the count of cancels.
pub const LOOK: Duration = Duration::from_millis(50);

/// The waker of a context, created at its first wait. A cancel before that only changes the count, so a wait
/// reads the count after [`LazyWaker::get`].
// The lock in it may be held at the time of a fork. A child is refused before it uses the context.
#[derive(Debug, Default)]
pub struct LazyWaker(OnceLock<Waker>);

impl LazyWaker {
    /// The waker. `None` if the process has no free descriptor; the caller then polls the count.
    pub fn get(&self) -> Option<&Waker> {
        if self.0.get().is_none() {
            match Waker::new() {
                // It fails where another thread was faster. Then that thread's waker is used by both.
                Ok(waker) => _ = self.0.set(waker),
                Err(error) => {
                    log::debug!(
                        "a wait looks for a cancel every {} ms, as there is no waker: {error}",
                        LOOK.subsec_millis()
                    )
                }
            }
        }
        // With the fence in `wake`: either the wake finds this waker, or the caller finds the cancel, whose
        // count it reads next.
        fence(Ordering::SeqCst);
        self.0.get()
    }

    /// Wakes the waits. False if a thread may wait and cannot be woken, because the program has closed the
    /// descriptors. Safe in a signal handler.
    pub fn wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.get().is_none_or(Waker::wake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{poll, PollFd, PollFlags, Timespec};

    #[test]
    fn a_wake_reaches_the_waits_that_have_begun() {
        let lazy = LazyWaker::default();
        let is_readable = || {
            let mut fds = [PollFd::new(lazy.get().unwrap(), PollFlags::IN)];
            poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
        };
        assert!(lazy.wake() && !is_readable());
        assert!(lazy.wake() && is_readable());
    }
}
