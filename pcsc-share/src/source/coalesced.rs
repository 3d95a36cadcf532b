//! One look for all callers that wait for one.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::sync::lock;

/// What is looked up at another place, which takes a round trip. Callers share the results of looks: each
/// gets that of a look which has begun after its call, so `n` callers at a time cost at most two looks.
pub struct Coalesced<T> {
    state: Mutex<CoalescedState<T>>,
    ended: Condvar,
}

struct CoalescedState<T> {
    /// How many looks have begun. One is in progress at a time.
    begun: u64,
    is_looking: bool,
    /// The number of the look that has ended last with a result, and the result.
    last: (u64, T),
    #[cfg(test)]
    waiting: u32,
}

impl<T: Clone + Default> Default for Coalesced<T> {
    fn default() -> Coalesced<T> {
        Coalesced {
            state: Mutex::new(CoalescedState {
                begun: 0,
                is_looking: false,
                last: (0, T::default()),
                #[cfg(test)]
                waiting: 0,
            }),
            ended: Condvar::new(),
        }
    }
}

impl<T: Clone> Coalesced<T> {
    /// What `look` returns, here or in another thread. No lock is held meanwhile.
    pub fn get(&self, look: impl FnOnce() -> T) -> T {
        let mut state = lock(&self.state);
        // A look that is in progress may have begun before the change that the caller has been told of.
        let wanted = state.begun + 1;
        while state.is_looking {
            #[cfg(test)]
            {
                state.waiting += 1;
            }
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
            if state.last.0 >= wanted {
                return state.last.1.clone();
            }
        }
        state.begun += 1;
        state.is_looking = true;
        let number = state.begun;
        drop(state);
        let _end = EndOfLook(self);
        let result = look();
        lock(&self.state).last = (number, result.clone());
        result
    }
}

/// Lets the others go on, also after a panic.
struct EndOfLook<'a, T>(&'a Coalesced<T>);

impl<T> Drop for EndOfLook<'_, T> {
    fn drop(&mut self) {
        lock(&self.0.state).is_looking = false;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    #[test]
    fn callers_share_a_look_that_begins_after_their_calls() {
        const CALLERS: u32 = 8;
        let coalesced = Coalesced::<u32>::default();
        let looks = AtomicU32::new(0);
        let look = || looks.fetch_add(1, Ordering::SeqCst) + 1;
        thread::scope(|scope| {
            let mut others = Vec::new();
            let first = coalesced.get(|| {
                others.extend((0..CALLERS).map(|_| scope.spawn(|| coalesced.get(look))));
                while lock(&coalesced.state).waiting < CALLERS {
                    thread::yield_now();
                }
                look()
            });
            assert_eq!(first, 1);
            for other in others {
                assert_eq!(other.join().unwrap(), 2);
            }
        });
    }

    #[test]
    fn a_look_that_panics_leaves_the_others_to_look() {
        let coalesced = Coalesced::<u32>::default();
        let look = std::panic::AssertUnwindSafe(|| coalesced.get(|| panic!("on purpose")));
        assert!(std::panic::catch_unwind(look).is_err());
        assert_eq!(coalesced.get(|| 7), 7);
    }
}
