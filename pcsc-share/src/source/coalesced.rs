//! One look for all callers that wait for one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use crate::sync::lock;

/// What is looked up at another place, which takes a round trip. Callers share the results of looks: each
/// gets that of a look which has started after its call, so `n` callers at a time cost at most two looks.
#[derive(Default)]
pub struct Coalesced<T> {
    /// The number of the last look that has started, from 1.
    started: AtomicU64,
    /// The number of the last look that has ended, and its result. Locked during a look: a thread that
    /// waits for the lock waits for the result.
    last: Mutex<(u64, T)>,
}

impl<T: Clone> Coalesced<T> {
    /// What `look` returns, here or in another thread.
    pub fn get(&self, look: impl FnOnce() -> T) -> T {
        self.result(self.next(), look)
    }

    /// The number of the next look. One that is in progress may have begun before the change that the caller
    /// has been told of.
    fn next(&self) -> u64 {
        self.started.load(Ordering::SeqCst) + 1
    }

    /// The result of this look, or of a later one.
    fn result(&self, number: u64, look: impl FnOnce() -> T) -> T {
        let mut last = lock(&self.last);
        if last.0 < number {
            let number = self.started.fetch_add(1, Ordering::SeqCst) + 1;
            // If it panics, the number stays, and the next caller looks.
            *last = (number, look());
        }
        last.1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_share_a_look_that_starts_after_their_calls() {
        let coalesced = Coalesced::<u64>::default();
        let looks = AtomicU64::new(0);
        let look = || looks.fetch_add(1, Ordering::SeqCst) + 1;
        let mut late = [0; 8];
        let early = coalesced.get(|| {
            late = [(); 8].map(|()| coalesced.next());
            look()
        });
        assert_eq!(early, 1);
        assert_eq!(late.map(|number| coalesced.result(number, look)), [2; 8]);
        assert_eq!(coalesced.get(look), 3);
    }

    #[test]
    fn a_look_that_panics_is_made_up_for() {
        let coalesced = Coalesced::<u32>::default();
        let look = std::panic::AssertUnwindSafe(|| coalesced.get(|| panic!("on purpose")));
        assert!(std::panic::catch_unwind(look).is_err());
        assert_eq!(coalesced.get(|| 7), 7);
    }
}
