//! Waiting for a transfer, a deadline or a cancellation, whichever comes first, without polling.

use super::reactor::{Lead, Reactor, Role};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

/// Why a wait ended without what it waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interruption {
    /// The deadline has passed.
    Timeout,
    /// Somebody called [`Signal::cancel`] or [`Signal::stop`].
    Cancelled,
    /// The system does not let the thread wait.
    Refused,
}

/// What wakes a wait: completions through its [`Waker`], cancellations from any thread.
#[derive(Debug, Default)]
pub(super) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_woken: bool,
    is_cancelled: bool,
    is_stopped: bool,
    /// The reactor that the thread attends to instead of sleeping here.
    attends: Option<(Arc<Reactor>, Role)>,
}

impl Signal {
    /// Ends the wait that goes on, or else the next one that is not preceded by [`Signal::forget`].
    pub(super) fn cancel(&self) {
        self.set(|state| state.is_cancelled = true);
    }

    /// Ends this and every later wait.
    pub(super) fn stop(&self) {
        self.set(|state| state.is_stopped = true);
    }

    /// Forgets a cancellation that no wait has seen.
    pub(super) fn forget(&self) {
        self.state().is_cancelled = false;
    }

    /// Has `poll` asked again.
    pub(super) fn rouse(&self) {
        self.set(|state| state.is_woken = true);
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let attends = state.attends.take();
        drop(state);
        match attends {
            Some((reactor, role)) => reactor.kick(role),
            None => self.changed.notify_all(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The flags are valid whatever a panicking thread was about to do.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until something happens; then `poll` is to be asked again.
    fn sleep(&self, deadline: Option<Instant>, is_cancellable: bool) -> Result<(), Interruption> {
        let mut state = self.state();
        loop {
            if let Some(result) = state.take(is_cancellable) {
                return result;
            }
            state = match deadline {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Interruption::Timeout);
                    }
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The same, while attending to a reactor's device on behalf of all who wait for it.
    fn attend(
        &self,
        reactor: &Arc<Reactor>,
        role: Role,
        deadline: Option<Instant>,
        is_cancellable: bool,
    ) -> Result<(), Interruption> {
        loop {
            let mut state = self.state();
            if let Some(result) = state.take(is_cancellable) {
                return result;
            }
            state.attends = Some((reactor.clone(), role));
            drop(state);
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let waited = reactor.wait(role, left);
            self.state().attends = None;
            reactor.reap();
            if let Some(result) = self.state().take(is_cancellable) {
                return result;
            }
            match waited {
                Ok(false) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    return Err(Interruption::Timeout);
                }
                Ok(_) => (),
                Err(_) => return Err(Interruption::Refused),
            }
        }
    }
}

impl State {
    fn take(&mut self, is_cancellable: bool) -> Option<Result<(), Interruption>> {
        if is_cancellable && (self.is_cancelled || self.is_stopped) {
            self.is_cancelled = false;
            return Some(Err(Interruption::Cancelled));
        }
        std::mem::take(&mut self.is_woken).then_some(Ok(()))
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.rouse();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rouse();
    }
}

/// A thread's side of a [`Signal`]. The waker is made once, so that a wait allocates nothing.
#[derive(Debug)]
pub(super) struct Waiter {
    signal: Arc<Signal>,
    waker: Waker,
    deaf: Waker,
    reactor: Option<Arc<Reactor>>,
    role: Role,
}

struct Deaf;

impl Wake for Deaf {
    fn wake(self: Arc<Self>) {}
}

impl Waiter {
    /// Waits for what others make happen, or for what the reactor's device does.
    pub(super) fn new(reactor: Option<Arc<Reactor>>, role: Role) -> Waiter {
        let signal = Arc::new(Signal::default());
        Waiter {
            waker: Waker::from(signal.clone()),
            deaf: Waker::from(Arc::new(Deaf)),
            signal,
            reactor,
            role,
        }
    }

    pub(super) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// Waits until `poll` is ready, the deadline passes or a cancellation comes. A result that is there
    /// counts before the other two.
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Interruption> {
        self.run(deadline, true, poll)
    }

    /// The same, which no cancellation ends.
    pub(super) fn wait_firmly<T>(
        &self,
        deadline: Instant,
        poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        self.run(Some(deadline), false, poll).ok()
    }

    /// Asks `poll` once, without being woken later.
    pub(super) fn glance<T>(&self, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Option<T> {
        match poll(&mut Context::from_waker(&self.deaf)) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn run<T>(
        &self,
        deadline: Option<Instant>,
        is_cancellable: bool,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Interruption> {
        let mut context = Context::from_waker(&self.waker);
        // Kept until the wait is over, so that another wait is woken once for it, not after each transfer.
        let mut lead: Option<Lead<'_>> = None;
        loop {
            if let Poll::Ready(value) = poll(&mut context) {
                return Ok(value);
            }
            let Some(reactor) = &self.reactor else {
                self.signal.sleep(deadline, is_cancellable)?;
                continue;
            };
            if lead.is_none() {
                lead = reactor.lead_or_follow(self.role, &self.signal);
            }
            if let Some(lead) = &lead {
                self.signal
                    .attend(reactor, lead.role(), deadline, is_cancellable)?;
            } else {
                let slept = self.signal.sleep(deadline, is_cancellable);
                reactor.unfollow(&self.signal);
                slept?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    fn never(_: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    #[test]
    fn a_wait_ends_by_its_deadline() {
        let waiter = Waiter::new(None, Role::Exchange);
        let deadline = Instant::now() + Duration::from_millis(10);
        assert_eq!(waiter.wait(Some(deadline), never), Err(Interruption::Timeout));
        assert!(Instant::now() >= deadline);
    }

    #[test]
    fn a_result_that_is_there_counts_before_deadline_and_cancellation() {
        let waiter = Waiter::new(None, Role::Exchange);
        waiter.signal().cancel();
        assert_eq!(waiter.wait(Some(Instant::now()), |_| Poll::Ready(7)), Ok(7));
    }

    #[test]
    fn a_cancellation_ends_one_wait_and_a_stop_all() {
        let waiter = Waiter::new(None, Role::Exchange);
        let soon = || Some(Instant::now() + Duration::from_millis(5));
        waiter.signal().cancel();
        assert_eq!(waiter.wait(None, never), Err(Interruption::Cancelled));
        assert_eq!(waiter.wait(soon(), never), Err(Interruption::Timeout));
        waiter.signal().cancel();
        waiter.signal().forget();
        assert_eq!(waiter.wait(soon(), never), Err(Interruption::Timeout));
        waiter.signal().stop();
        waiter.signal().forget();
        assert_eq!(waiter.wait(None, never), Err(Interruption::Cancelled));
        assert_eq!(waiter.wait(None, never), Err(Interruption::Cancelled));
        assert_eq!(
            waiter.wait_firmly(Instant::now() + Duration::from_millis(5), never),
            None
        );
    }

    #[test]
    fn another_thread_ends_a_wait_without_a_deadline() {
        let waiter = Waiter::new(None, Role::Exchange);
        let signal = waiter.signal().clone();
        let other = thread::spawn(move || signal.cancel());
        assert_eq!(waiter.wait(None, never), Err(Interruption::Cancelled));
        other.join().unwrap();
    }

    #[test]
    fn a_completion_between_the_question_and_the_sleep_is_not_missed() {
        let waiter = Waiter::new(None, Role::Exchange);
        let mut asked = 0;
        let result = waiter.wait(None, |context| {
            asked += 1;
            if asked == 1 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(asked)
        });
        assert_eq!(result, Ok(2));
    }
}
