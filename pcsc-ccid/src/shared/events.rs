//! Events of the slots of a CCID reader: cards that come and go, as the interrupt pipe reports them or as the
//! time of the next poll.
//!
//! One thread for each slot sleeps in [`SlotEvents::wait`]. The first of them listens to the interrupt pipe,
//! without the lock, and notes for all slots what comes; the others sleep on `changed`, which moves with
//! every note. When the one that listens returns, another one listens.

use std::boxed::Box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use super::sync::{lock, wait_until};
use crate::message::Notification;
use crate::transport::TransportError;

/// How an open reader reports cards that come and go.
#[non_exhaustive]
pub enum Notifications {
    /// By its interrupt pipe.
    Interrupts(Box<dyn InterruptSource>),
    /// Not at all: its slots are polled at this interval.
    Polled(Duration),
    /// Another thread calls [`SlotEvents::notify`], or no card comes or goes.
    Pushed,
}

/// A reader's interrupt pipe.
pub trait InterruptSource: Send {
    /// Waits for a message and passes it to `receive`.
    ///
    /// # Errors
    /// [`TransportError::Timeout`] at the deadline, and [`TransportError::Cancelled`] if the wait was
    /// interrupted; a later call loses nothing by either. The others say why the pipe has failed.
    fn next(
        &mut self,
        deadline: Option<Instant>,
        receive: &mut dyn FnMut(&[u8]),
    ) -> Result<(), TransportError>;

    /// What interrupts the wait in progress, or else the next one, from any thread.
    fn interrupter(&self) -> Interrupter;
}

/// Interrupts a wait from another thread.
pub type Interrupter = Box<dyn Fn() + Send + Sync>;

/// What a wait for events ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotEvent {
    /// A card may have come or gone, or the deadline has passed: the slot is to be polled.
    Card,
    /// The reader is gone.
    Gone,
    /// [`SlotEvents::stop`] was called.
    Stopped,
}

/// The events of all slots.
pub struct SlotEvents {
    state: Mutex<Reported>,
    changed: Condvar,
    /// The open reader works no more. Outside the lock, because every exchange asks.
    is_lost: AtomicBool,
    /// The reader is gone for good.
    is_gone: AtomicBool,
}

/// What the reader has reported, and who listens to it.
struct Reported {
    is_open: bool,
    /// The interrupt pipe, while no thread listens to it.
    source: Option<Box<dyn InterruptSource>>,
    /// The interval of polls, in a reader without a pipe that works.
    interval: Option<Duration>,
    slots: Vec<SlotReported>,
    /// Interrupts the wait for a message of the interrupt pipe.
    interrupter: Option<Interrupter>,
    /// The slot whose thread listens to the interrupt pipe.
    listener: Option<u8>,
    /// How many threads hold an interrupt pipe: the one that listens, and those that are to drop theirs.
    holders: usize,
    /// How often the reader was closed. A thread that listened meanwhile drops its pipe if this has moved.
    closes: u64,
    /// How often in a row the interrupt pipe was halted.
    halts: u32,
    end: Option<SlotEvent>,
}

/// What the reader has reported of a slot, and the state of the thread that waits for it.
#[derive(Clone, Default)]
struct SlotReported {
    /// The slot is to be polled.
    poll: bool,
    /// The reader has reported it as empty since this was last asked.
    was_emptied: bool,
    /// A wait has returned [`SlotEvent::Gone`].
    knows_gone: bool,
    /// Its thread is in [`SlotEvents::wait`].
    is_waited_for: bool,
}

/// How often a reader is polled that has no interrupt pipe, or whose interrupt pipe has failed; pcscd's rate
/// of polling.
pub const POLL_INTERVAL: Duration = Duration::from_millis(400);

/// How long [`SlotEvents::close`] waits for a thread that listens. It ends at once unless the host controller
/// hangs.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

impl SlotEvents {
    /// The events of a reader with this number of slots that is not open.
    pub(super) fn new(slots: u16) -> SlotEvents {
        SlotEvents {
            state: Mutex::new(Reported {
                is_open: false,
                source: None,
                interval: None,
                slots: vec![SlotReported::default(); usize::from(slots.max(1))],
                interrupter: None,
                listener: None,
                holders: 0,
                closes: 0,
                halts: 0,
                end: None,
            }),
            changed: Condvar::new(),
            is_lost: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
        }
    }

    /// Notes that the reader is gone for good: waits end with [`SlotEvent::Gone`], and every use of the
    /// reader fails.
    pub fn set_gone(&self) {
        self.is_gone.store(true, Ordering::SeqCst);
        self.end(SlotEvent::Gone);
    }

    /// Whether [`SlotEvents::set_gone`] was called.
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::SeqCst)
    }

    /// Ends all waits with [`SlotEvent::Stopped`].
    pub fn stop(&self) {
        self.end(SlotEvent::Stopped);
    }

    fn end(&self, how: SlotEvent) {
        let mut state = lock(&self.state);
        // The first one stays. A reader that goes while it is being stopped need not be reported as gone.
        state.end.get_or_insert(how);
        state.close();
        self.changed.notify_all();
    }

    /// Notes that the open reader works no more: all slots are to be polled.
    pub fn lose(&self) {
        self.set_lost(&mut lock(&self.state));
        self.changed.notify_all();
    }

    fn set_lost(&self, state: &mut Reported) {
        // A loss that several calls find is one.
        if state.is_open {
            self.is_lost.store(true, Ordering::SeqCst);
            state.poll_all();
            state.close();
        }
    }

    /// Notes that the reader is closed. A thread that listens has dropped the interrupt pipe when this
    /// returns: the pipe is part of the claim on the reader, and the next attempt to open the reader would
    /// find it in use.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.close();
        let limit = Instant::now() + CLOSE_LIMIT;
        while state.holders > 0 {
            state = match wait_until(&self.changed, state, Some(limit)) {
                Ok(state) => state,
                // The next attempt to open the reader then reports that it is in use, which is better than a
                // caller that hangs.
                Err(_) => return,
            };
        }
    }

    /// Whether the reader was lost since this was last asked.
    pub(super) fn take_loss(&self) -> bool {
        // The load first: every exchange asks this, and a swap would take the cache line from the other
        // threads each time.
        self.is_lost() && self.is_lost.swap(false, Ordering::SeqCst)
    }

    /// Whether the reader was lost.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::SeqCst)
    }

    /// Whether the reader has reported a slot as empty since this was last asked.
    pub(super) fn take_emptied(&self, slot: u8) -> bool {
        let mut state = lock(&self.state);
        let slot = state.slots.get_mut(usize::from(slot));
        slot.is_some_and(|slot| std::mem::take(&mut slot.was_emptied))
    }

    /// Notes that a slot was empty, for the next [`SlotEvents::take_emptied`].
    pub(super) fn note_emptied(&self, slot: u8) {
        let mut state = lock(&self.state);
        if let Some(slot) = state.slots.get_mut(usize::from(slot)) {
            slot.was_emptied = true;
        }
    }

    /// Makes the wait in progress for a slot, or the next one, return [`SlotEvent::Card`].
    pub fn wake(&self, slot: u8) {
        let mut state = lock(&self.state);
        if let Some(slot) = state.slots.get_mut(usize::from(slot)) {
            slot.poll = true;
        }
        // Only the thread that listens sleeps in the system. The others sleep on `changed`.
        state.interrupt_listener(|listener| listener == slot);
        self.changed.notify_all();
    }

    /// Notes a message of the interrupt pipe that came by another way; see [`Notifications::Pushed`].
    pub fn notify(&self, message: &[u8]) {
        if let Some(notification) = Notification::decode(message) {
            lock(&self.state).note(notification);
            self.changed.notify_all();
        }
    }

    /// Listens to a reader that was opened.
    pub(super) fn listen(&self, notifications: Notifications) {
        let mut state = lock(&self.state);
        state.is_open = true;
        state.halts = 0;
        match notifications {
            Notifications::Interrupts(source) => {
                state.interrupter = Some(source.interrupter());
                state.source = Some(source);
            }
            Notifications::Polled(interval) => state.interval = Some(interval),
            Notifications::Pushed => (),
        }
        // The end has come while the reader was being opened. No thread would listen to the pipe, and none
        // drop it.
        if state.end.is_some() {
            state.close();
        }
        self.changed.notify_all();
    }

    /// Sleeps until a slot is to be polled, until the deadline, or until the end. Each slot has one thread
    /// that waits.
    ///
    /// That a reader is gone ends every wait without a deadline, and the first one with a deadline: later
    /// ones last to their deadline or to [`SlotEvents::wake`].
    pub fn wait(&self, slot: u8, deadline: Option<Instant>) -> SlotEvent {
        let begun = Instant::now();
        let mut state = lock(&self.state);
        state.set_waited_for(slot, true);
        self.changed.notify_all();
        let event = loop {
            if let Some(end) = state.end_of(slot, deadline) {
                break end;
            }
            let pending = state.slots.get_mut(usize::from(slot));
            if pending.is_some_and(|slot| std::mem::take(&mut slot.poll)) {
                break SlotEvent::Card;
            }
            if let Some(source) = state.source.take() {
                state = self.listen_once(state, slot, source, deadline);
                // By the clock and not by the error of the wait: after messages for other slots alone there
                // is no error.
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    break SlotEvent::Card;
                }
                continue;
            }
            // From the beginning of the wait: notes for other slots wake this thread too, and would put the
            // poll off.
            let poll = state.interval.and_then(|interval| begun.checked_add(interval));
            let until = deadline.into_iter().chain(poll).min();
            state = match wait_until(&self.changed, state, until) {
                Ok(state) => state,
                Err(late) => {
                    state = late;
                    break SlotEvent::Card;
                }
            };
        };
        state.set_waited_for(slot, false);
        event
    }

    /// Waits until the thread of a slot sleeps in [`SlotEvents::wait`] and has seen all events so far.
    /// Returns `false` if it has not by the deadline. For simulations.
    pub fn settle(&self, slot: u8, deadline: Instant) -> bool {
        let mut state = lock(&self.state);
        loop {
            let slot = state.slots.get(usize::from(slot));
            if slot.is_none_or(|slot| slot.is_waited_for && !slot.poll) {
                return true;
            }
            state = match wait_until(&self.changed, state, Some(deadline)) {
                Ok(state) => state,
                Err(_) => return false,
            };
        }
    }

    /// Waits for one message of the interrupt pipe and notes what it says.
    fn listen_once<'a>(
        &'a self,
        mut state: MutexGuard<'a, Reported>,
        slot: u8,
        mut source: Box<dyn InterruptSource>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, Reported> {
        let closes = state.closes;
        state.listener = Some(slot);
        state.holders += 1;
        drop(state);
        let received = source.next(deadline, &mut |message| {
            let mut state = lock(&self.state);
            if let Some(notification) = Notification::decode(message).filter(|_| state.closes == closes) {
                state.note(notification);
            }
        });
        let mut state = lock(&self.state);
        // If it has moved, the reader was closed meanwhile. What this pipe says is not about the reader that
        // may be open now.
        let left = match state.closes == closes {
            true => self.heard(&mut state, received, source),
            false => Some(source),
        };
        if let Some(source) = left {
            // Without the lock: the end of the pipe's transfer may take a while.
            drop(state);
            drop(source);
            state = lock(&self.state);
        }
        state.holders -= 1;
        self.changed.notify_all();
        state
    }

    /// Notes how a wait for a message has ended. Returns the interrupt pipe if it is not used any more.
    fn heard(
        &self,
        state: &mut Reported,
        received: Result<(), TransportError>,
        source: Box<dyn InterruptSource>,
    ) -> Option<Box<dyn InterruptSource>> {
        state.listener = None;
        match received {
            Ok(()) => state.halts = 0,
            Err(TransportError::Timeout | TransportError::Cancelled) => (),
            // Once: a pipe that halts again and again would wake the thread without end. It is given up
            // below.
            Err(TransportError::Stall) if state.halts == 0 => {
                state.halts += 1;
                // A notification may have been lost.
                state.poll_all();
            }
            Err(TransportError::Gone) => {
                self.set_lost(state);
                return Some(source);
            }
            // A fault of the pipe does not mean that the reader is lost. Cards are found by polls from now
            // on.
            Err(_) => {
                state.interrupter = None;
                state.interval = Some(POLL_INTERVAL);
                return Some(source);
            }
        }
        state.source = Some(source);
        None
    }
}

impl Reported {
    /// Notes what the reader reports (CCID 1.1, clause 6.3).
    fn note(&mut self, notification: Notification) {
        let count = self.slots.len();
        for (number, slot) in (0..=u8::MAX).zip(&mut self.slots) {
            slot.poll |= notification.concerns(number, count);
            slot.was_emptied |= notification.reports_empty(number);
        }
    }

    fn poll_all(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.poll = true);
    }

    /// The end, if this wait is to report it.
    fn end_of(&mut self, slot: u8, deadline: Option<Instant>) -> Option<SlotEvent> {
        let end = self.end?;
        let is_known = match self.slots.get_mut(usize::from(slot)) {
            Some(slot) if end == SlotEvent::Gone => std::mem::replace(&mut slot.knows_gone, true),
            _ => false,
        };
        (deadline.is_none() || !is_known).then_some(end)
    }

    fn set_waited_for(&mut self, slot: u8, is_waited_for: bool) {
        if let Some(slot) = self.slots.get_mut(usize::from(slot)) {
            slot.is_waited_for = is_waited_for;
        }
    }

    /// Has the thread that listens to the interrupt pipe look at what is pending for its slot.
    fn interrupt_listener(&self, concerns: impl FnOnce(u8) -> bool) {
        if let Some(interrupt) = self
            .interrupter
            .as_ref()
            .filter(|_| self.listener.is_some_and(concerns))
        {
            interrupt();
        }
    }

    /// Gives the interrupt pipe back. A thread that listens to it drops it.
    fn close(&mut self) {
        // Before `listener` is cleared, by which it is found.
        self.interrupt_listener(|_| true);
        self.listener = None;
        self.interrupter = None;
        self.source = None;
        self.interval = None;
        self.is_open = false;
        self.closes += 1;
    }
}

#[cfg(test)]
mod tests;
