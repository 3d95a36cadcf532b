//! Yields to the other end of a local socket.
//!
//! pcscd and libpcsclite send a message in two or three pieces. The first piece wakes the thread at the other
//! end, and Linux often takes the processor from the sender for it. If the thread slept again until the rest
//! comes, each message would cost two more context switches. So the thread yields the processor once, and the
//! sender sends all pieces.
//!
//! A program that computes on the same processor gets it by such a yield for some milliseconds. After a yield
//! of that length no thread yields for a while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The rest of a message takes some microseconds. A slice of Linux's scheduler is 0.7 ms or more.
const LONG: Duration = Duration::from_micros(500);
/// With one yield in this time a slice of 3 ms costs a third of a percent of the time.
const PAUSE: Duration = Duration::from_secs(1);

/// Yields, unless that has taken long in the last second.
#[derive(Debug)]
pub struct Yields {
    began: Instant,
    /// No thread yields before this, in nanoseconds since `began`.
    not_before: AtomicU64,
}

impl Default for Yields {
    fn default() -> Yields {
        Yields {
            began: Instant::now(),
            not_before: AtomicU64::new(0),
        }
    }
}

impl Yields {
    /// Lets a sender that shares this thread's processor send the rest of its message.
    pub fn yield_now(&self) {
        let from = self.began.elapsed();
        if self.may_yield(from) {
            std::thread::yield_now();
            self.note(from, self.began.elapsed());
        }
    }

    fn may_yield(&self, now: Duration) -> bool {
        // Nothing else depends on it: a thread that reads an old value yields once more.
        now.as_nanos() as u64 >= self.not_before.load(Ordering::Relaxed)
    }

    fn note(&self, from: Duration, to: Duration) {
        if to - from > LONG {
            let not_before = (to + PAUSE).as_nanos() as u64;
            self.not_before.store(not_before, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_yield_is_the_last_one_for_a_second() {
        let yields = Yields::default();
        let at = Duration::from_micros;
        assert!(yields.may_yield(at(0)));
        yields.note(at(1000), at(1500));
        assert!(yields.may_yield(at(1500)));
        yields.note(at(2000), at(2501));
        assert!(!yields.may_yield(at(2501)));
        assert!(!yields.may_yield(at(1_002_500)));
        assert!(yields.may_yield(at(1_002_501)));
    }
}
