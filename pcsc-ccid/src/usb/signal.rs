//! Ends a wait from another thread: after the end of a transfer, or by a cancellation or a stop.

use crate::shared::sync::{lock, wait_until};
use crate::transport::TransportError;
use std::sync::{Condvar, Mutex};
use std::task::Waker;
use std::time::Instant;

/// The events of one thread. That thread sleeps on it; other threads wake and cancel it.
#[derive(Debug, Default)]
pub(super) struct Signal {
    state: Mutex<SignalState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SignalState {
    is_woken: bool,
    is_cancelled: bool,
    is_stopped: bool,
    /// The thread sleeps on `changed`. If it does not, notifying `changed` would be a useless system call.
    is_asleep: bool,
    /// Set while the thread sleeps elsewhere: this wakes it.
    elsewhere: Option<Waker>,
}

impl Signal {
    /// Ends the wait in progress or, if there is none, the next one, unless [`Signal::forget`] is called
    /// before that.
    pub(super) fn cancel(&self) {
        self.set(|state| state.is_cancelled = true);
    }

    /// Ends this and every later wait.
    #[cfg_attr(
        not(any(target_os = "macos", target_os = "windows")),
        allow(dead_code, reason = "nusb's hotplug is the one that is stopped for good")
    )]
    pub(super) fn stop(&self) {
        self.set(|state| state.is_stopped = true);
    }

    /// Drops a cancellation that has ended no wait.
    pub(super) fn forget(&self) {
        lock(&self.state).is_cancelled = false;
    }

    /// Ends this sleep, or the next one.
    pub(super) fn wake(&self) {
        self.set(|state| state.is_woken = true);
    }

    fn set(&self, change: impl FnOnce(&mut SignalState)) {
        let mut state = lock(&self.state);
        change(&mut state);
        // Taken, so that several events in a row wake the thread once.
        let (elsewhere, is_asleep) = (state.elsewhere.take(), state.is_asleep);
        // The woken thread takes this lock first.
        drop(state);
        match elsewhere {
            Some(waker) => waker.wake(),
            None if is_asleep => self.changed.notify_all(),
            None => (),
        }
    }

    /// Sleeps until the next event.
    ///
    /// # Errors
    /// [`TransportError::Timeout`] at the deadline, [`TransportError::Cancelled`] after [`Signal::cancel`] or
    /// [`Signal::stop`].
    pub(super) fn sleep(
        &self,
        deadline: Option<Instant>,
        is_cancellable: bool,
    ) -> Result<(), TransportError> {
        let mut state = lock(&self.state);
        loop {
            if let Some(result) = state.take(is_cancellable) {
                return result;
            }
            state.is_asleep = true;
            let slept = wait_until(&self.changed, state, deadline);
            let is_late = slept.is_err();
            state = slept.unwrap_or_else(|state| state);
            state.is_asleep = false;
            // An event that came at the same time stays set, and ends the next sleep.
            if is_late {
                return Err(TransportError::Timeout);
            }
        }
    }

    /// Sleeps until the deadline.
    ///
    /// # Errors
    /// [`TransportError::Cancelled`].
    pub(super) fn pause(&self, deadline: Option<Instant>) -> Result<(), TransportError> {
        loop {
            match self.sleep(deadline, true) {
                Err(TransportError::Timeout) => return Ok(()),
                // A wake-up is the end of an earlier transfer, for which nobody waits any more.
                result => result?,
            }
        }
    }

    /// Announces that the thread is about to sleep where `waker` wakes it. Returns the event instead if one
    /// has happened already.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn go_elsewhere(
        &self,
        waker: Waker,
        is_cancellable: bool,
    ) -> Option<Result<(), TransportError>> {
        let mut state = lock(&self.state);
        // Under the lock in which `elsewhere` is set: an event before it is returned, and one after it finds
        // the waker.
        let event = state.take(is_cancellable);
        if event.is_none() {
            state.elsewhere = Some(waker);
        }
        event
    }

    /// Announces that the thread is awake again.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn come_back(&self) {
        // A waker that is left behind would end the next poll for nothing.
        lock(&self.state).elsewhere = None;
    }

    /// The event that has happened, if any.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn event(&self, is_cancellable: bool) -> Option<Result<(), TransportError>> {
        lock(&self.state).take(is_cancellable)
    }
}

impl SignalState {
    fn take(&mut self, is_cancellable: bool) -> Option<Result<(), TransportError>> {
        // A cancellation ends one wait, a stop all: `is_stopped` is never reset.
        if is_cancellable && (self.is_cancelled || self.is_stopped) {
            self.is_cancelled = false;
            return Some(Err(TransportError::Cancelled));
        }
        std::mem::take(&mut self.is_woken).then_some(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(5))
    }

    #[test]
    fn a_sleep_ends_by_its_deadline() {
        let signal = Signal::default();
        let deadline = soon();
        assert_eq!(signal.sleep(deadline, true), Err(TransportError::Timeout));
        assert!(Some(Instant::now()) >= deadline);
    }

    #[test]
    fn a_cancellation_ends_one_sleep_and_a_stop_all() {
        let signal = Signal::default();
        signal.cancel();
        assert_eq!(signal.sleep(None, true), Err(TransportError::Cancelled));
        assert_eq!(signal.sleep(soon(), true), Err(TransportError::Timeout));
        signal.cancel();
        signal.forget();
        assert_eq!(signal.sleep(soon(), true), Err(TransportError::Timeout));
        signal.stop();
        signal.forget();
        assert_eq!(signal.sleep(None, true), Err(TransportError::Cancelled));
        assert_eq!(signal.pause(None), Err(TransportError::Cancelled));
        assert_eq!(signal.sleep(soon(), false), Err(TransportError::Timeout));
    }

    #[test]
    fn a_pause_ends_by_its_deadline_alone_or_a_cancellation() {
        let signal = Signal::default();
        signal.wake();
        let deadline = soon();
        assert_eq!(signal.pause(deadline), Ok(()));
        assert!(Some(Instant::now()) >= deadline);
        signal.cancel();
        assert_eq!(signal.pause(None), Err(TransportError::Cancelled));
    }

    #[test]
    fn another_thread_ends_a_sleep_without_a_deadline() {
        type Event = fn(&Signal);
        let events: [(Event, Result<(), TransportError>); 3] = [
            (Signal::wake, Ok(())),
            (Signal::cancel, Err(TransportError::Cancelled)),
            (Signal::stop, Err(TransportError::Cancelled)),
        ];
        for (event, expected) in events {
            let signal = Arc::new(Signal::default());
            let shared = signal.clone();
            let other = thread::spawn(move || event(&shared));
            assert_eq!(signal.sleep(None, true), expected);
            other.join().unwrap();
        }
    }

    #[test]
    fn an_event_before_the_sleep_is_not_missed() {
        let signal = Signal::default();
        signal.wake();
        assert_eq!(signal.sleep(None, true), Ok(()));
    }
}
