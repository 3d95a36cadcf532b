//! The descriptor that a wait for the daemon watches for a cancel.

use std::time::Duration;

use pcsc_process::Waker;

use crate::backend::lifecycle::Lifecycle;

/// How often a wait without a waker polls the count.
pub const LOOK: Duration = Duration::from_millis(50);

impl Lifecycle {
    /// The descriptor that becomes readable at a cancel, created at the first wait. A cancel before that only
    /// changes the count, so a wait reads the count after this call. `None` if the process has no free
    /// descriptor; the caller then polls the count.
    pub fn waker(&self) -> Option<&Waker> {
        if self.waker.get().is_none() {
            match Waker::new() {
                // It fails where another thread was faster. Then that thread's waker is used by both.
                Ok(waker) => _ = self.waker.set(waker),
                Err(error) => {
                    log::debug!(
                        "a wait looks for a cancel every {} ms, as there is no waker: {error}",
                        LOOK.subsec_millis()
                    )
                }
            }
        }
        self.waker.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use rustix::event::{poll, PollFd, PollFlags, Timespec};

    fn is_readable(waker: &Waker) -> bool {
        let mut fds = [PollFd::new(waker, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
    }

    #[test]
    fn a_cancel_wakes_and_counts() {
        let lifecycle = Lifecycle::new();
        lifecycle.cancel().unwrap();
        let since = lifecycle.now();
        let waker = lifecycle.waker().unwrap();
        assert!(!is_readable(waker) && !lifecycle.is_cancelled(since));
        lifecycle.cancel().unwrap();
        lifecycle.cancel().unwrap();
        assert!(is_readable(waker) && lifecycle.is_cancelled(since));
        waker.clear();
        assert!(!is_readable(waker));
        assert!(lifecycle.release().unwrap());
        assert_eq!(lifecycle.release().unwrap_err().error(), Error::InvalidHandle);
        assert!(lifecycle.is_cancelled(lifecycle.now()) && is_readable(waker));
    }
}
