//! A gate, for calls that the library makes one at a time.
//!
//! A library queues such calls, and sends a queued one however late. A call with a time limit must not be
//! sent after its caller has given up, so calls queue here. A call without a time limit queues, too: behind
//! a call that is late it waits as long as it would in the library, and what that call has done is taken
//! back before it is its turn.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::error::{Error, Outcome};

/// A gate that one call at a time passes.
#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_taken: bool,
    /// The call that has the gate goes on after its time limit.
    is_late: bool,
    /// Calls to make after that one, in this order.
    left: VecDeque<Box<dyn FnOnce() + Send>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

/// The gate of a call in progress. Dropping it makes the calls that were left to it, and frees the gate.
#[derive(Debug)]
pub struct Held(Arc<Gate>);

impl Drop for Held {
    fn drop(&mut self) {
        loop {
            let mut state = self.0.lock();
            let Some(call) = state.left.pop_front() else {
                // Under the same lock as the look at `left`: a call that is left in between would never be
                // made.
                *state = State::default();
                return self.0.changed.notify_all();
            };
            // The call may wait for a reader, and other threads queue meanwhile.
            drop(state);
            call();
        }
    }
}

impl Gate {
    /// Waits until the gate is free, and takes it.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it is not free by the deadline.
    pub fn take(self: &Arc<Self>, deadline: Option<Instant>) -> Outcome<Held> {
        self.take_unless(&|| false, deadline)
    }

    /// As [`Gate::take`], unless the call is cancelled. [`Gate::wake`] makes waiting threads check that.
    ///
    /// # Errors
    /// Also [`Error::Cancelled`].
    pub fn take_unless(
        self: &Arc<Self>,
        is_cancelled: &dyn Fn() -> bool,
        deadline: Option<Instant>,
    ) -> Outcome<Held> {
        let mut state = self.lock();
        loop {
            if is_cancelled() {
                return Err(Error::Cancelled.into());
            }
            if !state.is_taken {
                state.is_taken = true;
                return Ok(Held(self.clone()));
            }
            let Some(deadline) = deadline else {
                state = self.wait(state);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout.into());
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Makes a call that ends a connection or a transaction. If a late call has the gate, that one's thread
    /// makes it afterwards, and its error has no receiver: the caller would wait for a reader that may never
    /// answer.
    ///
    /// # Errors
    /// Those of the call.
    pub fn make_or_leave(
        self: &Arc<Self>,
        call: impl FnOnce() -> Outcome<()> + Send + 'static,
    ) -> Outcome<()> {
        let mut state = self.lock();
        while state.is_taken && !state.is_late {
            state = self.wait(state);
        }
        if state.is_taken {
            state.left.push_back(Box::new(|| _ = call()));
            return Ok(());
        }
        state.is_taken = true;
        drop(state);
        let _held = Held(self.clone());
        call()
    }

    /// Says that the call that has the gate goes on after its time limit.
    pub fn set_late(&self) {
        self.lock().is_late = true;
        self.changed.notify_all();
    }

    /// Wakes the waiting threads, each of which checks whether its call is cancelled.
    pub fn wake(&self) {
        // Under the lock: otherwise a thread between its check and its wait would miss the notification.
        let _state = self.lock();
        self.changed.notify_all();
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_gate_that_is_taken_is_not_taken_again() {
        let gate = Arc::<Gate>::default();
        let held = gate.take(Some(Instant::now())).unwrap();
        for after in [0, 1] {
            let deadline = Instant::now() + Duration::from_millis(after);
            let refused = gate.take(Some(deadline)).unwrap_err();
            assert_eq!(refused.error(), Error::Timeout);
        }
        drop(held);
        drop(gate.take(Some(Instant::now())).unwrap());
        gate.take(None).unwrap();
    }

    #[test]
    fn what_is_left_to_a_late_call_is_done_in_order_before_the_gate_is_free() {
        let gate = Arc::<Gate>::default();
        let held = gate.take(None).unwrap();
        gate.set_late();
        let (done, is_done) = mpsc::channel();
        for number in [1, 2] {
            let (inner, done) = (gate.clone(), done.clone());
            let call = move || {
                assert_eq!(
                    inner.take(Some(Instant::now())).unwrap_err().error(),
                    Error::Timeout
                );
                done.send(number).unwrap();
                Err(Error::InternalError.into())
            };
            gate.make_or_leave(call).unwrap();
        }
        assert!(is_done.try_recv().is_err());
        drop(held);
        assert_eq!(is_done.try_iter().collect::<Vec<_>>(), [1, 2]);
        // The gate is free, and nothing is late any more.
        let made = gate.make_or_leave(|| Err(Error::ReaderUnavailable.into()));
        assert_eq!(made.unwrap_err().error(), Error::ReaderUnavailable);
        drop(gate.take(Some(Instant::now())).unwrap());
    }

    #[test]
    fn what_waits_for_a_call_is_left_to_it_when_that_is_late() {
        let gate = Arc::<Gate>::default();
        let held = gate.take(None).unwrap();
        let (done, is_done) = mpsc::channel();
        std::thread::scope(|scope| {
            let call = move || {
                done.send(()).unwrap();
                Ok(())
            };
            let leaver = scope.spawn(|| gate.make_or_leave(call));
            gate.set_late();
            leaver.join().unwrap().unwrap();
        });
        assert!(is_done.try_recv().is_err());
        drop(held);
        is_done.try_recv().unwrap();
    }

    #[test]
    fn a_cancel_ends_a_wait_for_the_gate() {
        let gate = Arc::<Gate>::default();
        let _held = gate.take(None).unwrap();
        let (cancel, cancelled) = mpsc::channel::<()>();
        let (wait, waits) = mpsc::sync_channel::<()>(1);
        std::thread::scope(|scope| {
            let gate = &gate;
            let waiter = scope.spawn(move || {
                let is_cancelled = || {
                    let _ = wait.try_send(());
                    cancelled.try_recv().is_ok()
                };
                gate.take_unless(&is_cancelled, None).map(drop)
            });
            // It has looked, and waits, or is about to.
            waits.recv().unwrap();
            cancel.send(()).unwrap();
            gate.wake();
            assert_eq!(waiter.join().unwrap().unwrap_err().error(), Error::Cancelled);
        });
    }
}
