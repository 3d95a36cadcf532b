//! One look for all callers that wait for one.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::sync::lock;

/// What is looked up at another place, which takes a round trip. Callers share the results of looks: each
/// gets that of a look which has started after its call, so `n` callers at a time cost at most two looks.
///
/// A look is done by its first caller, or by a thread that [serves](Coalesced::serve) them, so that a caller
/// can [begin](Coalesced::begin) several looks and then wait for them. The thread costs two context switches.
#[derive(Default)]
pub struct Coalesced<T> {
    state: Mutex<CoalescedState<T>>,
    /// Wakes the thread that serves looks.
    served: Condvar,
    ended: Condvar,
}

/// Looks have numbers, from 1.
#[derive(Default)]
struct CoalescedState<T> {
    /// The last look that was begun for the thread.
    wanted: u64,
    /// The last one that has started. One is in progress at a time.
    started: u64,
    is_looking: bool,
    /// The last one that has ended with a result, and the result.
    last: (u64, T),
    /// The thread serves no more.
    is_over: bool,
}

impl<T: Clone> Coalesced<T> {
    /// What `look` returns, here or in another thread. No lock is held meanwhile.
    pub fn get(&self, look: impl FnOnce() -> T) -> T {
        let state = lock(&self.state);
        // A look that is in progress may have begun before the change that the caller has been told of.
        let number = state.started + 1;
        let state = wait_while(&self.ended, state, |state| {
            state.is_looking && state.last.0 < number
        });
        match state.last.0 < number {
            true => self.look(state, look),
            false => state.last.1.clone(),
        }
    }

    /// Begins a look in the other thread, and returns its number. Waits for nothing.
    pub fn begin(&self) -> u64 {
        let mut state = lock(&self.state);
        let number = state.started + 1;
        if state.wanted < number {
            state.wanted = number;
            self.served.notify_one();
        }
        number
    }

    /// The result of a look that was begun, or of a later one; the last one after the [end](Coalesced::end).
    pub fn result(&self, number: u64) -> T {
        let state = wait_while(&self.ended, lock(&self.state), |state| {
            state.last.0 < number && !state.is_over
        });
        state.last.1.clone()
    }

    /// Does the looks that are begun, until the end.
    pub fn serve(&self, look: impl Fn() -> T) {
        // Also after a panic.
        let _end = EndOfService(self);
        loop {
            let state = wait_while(&self.served, lock(&self.state), |state| {
                (state.is_looking || state.wanted <= state.started) && !state.is_over
            });
            if state.is_over {
                return;
            }
            self.look(state, &look);
        }
    }

    /// Ends the thread after the look in progress.
    pub fn end(&self) {
        lock(&self.state).is_over = true;
        self.served.notify_one();
        self.ended.notify_all();
    }

    fn look(&self, mut state: MutexGuard<'_, CoalescedState<T>>, look: impl FnOnce() -> T) -> T {
        state.started += 1;
        state.is_looking = true;
        let number = state.started;
        drop(state);
        let _end = EndOfLook(self);
        let result = look();
        lock(&self.state).last = (number, result.clone());
        result
    }
}

fn wait_while<'a, T>(
    condvar: &Condvar,
    state: MutexGuard<'a, T>,
    condition: impl Fn(&T) -> bool,
) -> MutexGuard<'a, T> {
    let state = condvar.wait_while(state, |state| condition(state));
    state.unwrap_or_else(PoisonError::into_inner)
}

/// Lets the others go on, also after a panic.
struct EndOfLook<'a, T>(&'a Coalesced<T>);

impl<T> Drop for EndOfLook<'_, T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.is_looking = false;
        if state.last.0 < state.started {
            // It has no result. Somebody may wait for its number.
            state.wanted = state.started + 1;
        }
        let is_wanted = state.wanted > state.started;
        drop(state);
        self.0.ended.notify_all();
        if is_wanted {
            self.0.served.notify_one();
        }
    }
}

/// Ends the thread's service, also after a panic.
struct EndOfService<'a, T: Clone>(&'a Coalesced<T>);

impl<T: Clone> Drop for EndOfService<'_, T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    #[test]
    fn callers_share_a_look_that_starts_after_their_calls() {
        let coalesced = Coalesced::<u32>::default();
        let looks = AtomicU32::new(0);
        let look = || looks.fetch_add(1, Ordering::SeqCst) + 1;
        thread::scope(|scope| {
            // Ends the thread, also after a failed assertion.
            let _end = EndOfService(&coalesced);
            let mut late = Vec::new();
            let early = coalesced.get(|| {
                late.extend([(); 8].map(|()| coalesced.begin()));
                scope.spawn(|| coalesced.serve(look));
                look()
            });
            assert_eq!(early, 1);
            for number in late {
                assert_eq!(coalesced.result(number), 2);
            }
            assert_eq!(coalesced.get(look), 3);
        });
    }

    #[test]
    fn a_caller_takes_the_result_of_another_ones_look() {
        let coalesced = Coalesced::<u32>::default();
        let number = coalesced.begin();
        // No thread serves them.
        assert_eq!(coalesced.get(|| 7), 7);
        assert_eq!(coalesced.result(number), 7);
    }

    #[test]
    fn nobody_waits_for_a_look_that_panics() {
        let coalesced = Coalesced::<u32>::default();
        let number = coalesced.begin();
        let look = std::panic::AssertUnwindSafe(|| coalesced.get(|| panic!("on purpose")));
        assert!(std::panic::catch_unwind(look).is_err());
        assert_eq!(coalesced.get(|| 7), 7);
        assert_eq!(coalesced.result(number), 7);
        let number = coalesced.begin();
        thread::scope(|scope| {
            let thread = scope.spawn(|| coalesced.serve(|| panic!("on purpose")));
            assert_eq!(coalesced.result(number), 7);
            assert!(thread.join().is_err());
        });
    }

    #[test]
    fn the_thread_makes_up_for_a_look_that_panics() {
        let coalesced = Coalesced::<u32>::default();
        let mut number = 0;
        let look = std::panic::AssertUnwindSafe(|| {
            number = coalesced.begin();
            coalesced.get(|| panic!("on purpose"))
        });
        assert!(std::panic::catch_unwind(look).is_err());
        thread::scope(|scope| {
            let _end = EndOfService(&coalesced);
            scope.spawn(|| coalesced.serve(|| 7));
            assert_eq!(coalesced.result(number), 7);
        });
    }
}
