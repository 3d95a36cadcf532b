//! The card events that pcscd's event threads wait for. pcscd has one such thread for each slot.
//!
//! pcscd powers an unused card down when a wait ends, so that a wait must not end without an event. And pcscd
//! notices that a card was replaced or reset only if the slot is reported empty in between: see [`Absence`].

#![forbid(unsafe_code)]

use pcsc_ccid::message::Notification;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// pcscd's own polling interval, used once a reader's interrupt pipe has failed.
const POLL_INTERVAL: Duration = Duration::from_millis(400);

/// The events of all slots of a reader.
#[derive(Debug)]
pub struct Events {
    state: Mutex<EventState>,
    changed: Condvar,
    /// Whether pcscd's event threads wait here. Otherwise they poll.
    has_waits: bool,
}

#[derive(Debug)]
struct EventState {
    slots: Vec<SlotState>,
    is_gone: bool,
    must_poll: bool,
}

#[derive(Debug, Default)]
struct SlotState {
    /// Grows with every event.
    generation: u64,
    /// The generation at the end of the last wait.
    seen: u64,
    is_waiting: bool,
    is_interrupted: bool,
    /// The reader has reported the slot as empty since the presence was last asked for.
    was_emptied: bool,
    /// A card was present when the presence was last asked for.
    had_card: bool,
    stale: Absence,
}

/// Whether a card that is present must be reported as absent once. pcscd then reports a removal to its
/// clients and powers the card up.
///
/// Only what pcscd's event thread sees counts: it asks for the presence after each wait. So the absence lasts
/// from the end of one wait to the start of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Absence {
    #[default]
    No,
    /// The event thread's wait has not ended since.
    Pending,
    /// The event thread's wait has ended: it asks for the presence now.
    Reported,
}

impl Events {
    /// Events of a reader with `slots` slots. `has_waits` is whether pcscd's event threads use
    /// [`Events::wait`].
    pub fn new(slots: usize, has_waits: bool) -> Events {
        Events {
            state: Mutex::new(EventState {
                slots: (0..slots).map(|_| SlotState::default()).collect(),
                is_gone: false,
                must_poll: false,
            }),
            changed: Condvar::new(),
            has_waits,
        }
    }

    /// Whether pcscd's event threads wait here.
    pub fn has_waits(&self) -> bool {
        self.has_waits
    }

    fn lock(&self) -> MutexGuard<'_, EventState> {
        // Each change under the lock is complete in itself: a poisoned lock has valid data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, change: impl FnOnce(&mut EventState) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits for an event of a slot, up to `timeout`.
    pub fn wait(&self, slot: u8, timeout: Duration) {
        let slot = usize::from(slot);
        let begin = Instant::now();
        let mut guard = self.lock();
        if let Some(this) = guard.slots.get_mut(slot) {
            if this.stale == Absence::Reported {
                // pcscd has seen the absence. It must ask again, and see the card.
                this.stale = Absence::No;
                this.generation += 1;
            }
            this.is_waiting = true;
            self.changed.notify_all();
        }
        loop {
            let limit = if guard.must_poll {
                timeout.min(POLL_INTERVAL)
            } else {
                timeout
            };
            let left = limit.saturating_sub(begin.elapsed());
            let Some(this) = guard.slots.get_mut(slot) else {
                return;
            };
            if this.is_interrupted || this.generation != this.seen || left.is_zero() {
                this.seen = this.generation;
                this.is_waiting = false;
                this.is_interrupted = false;
                if this.stale == Absence::Pending {
                    this.stale = Absence::Reported;
                }
                self.changed.notify_all();
                return;
            }
            guard = self
                .changed
                .wait_timeout(guard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Ends the current wait of a slot, or its next one. pcscd calls this before it joins the event thread,
    /// and after the last client has disconnected from a card, to wait with another timeout.
    pub fn interrupt(&self, slot: u8) {
        self.change(|state| {
            if let Some(slot) = state.slots.get_mut(usize::from(slot)) {
                slot.is_interrupted = true;
            }
        });
    }

    /// Records a message of the interrupt pipe.
    pub fn notify(&self, bytes: &[u8]) {
        let Some(notification) = Notification::decode(bytes) else {
            return;
        };
        self.change(|state| {
            let count = state.slots.len();
            for (number, slot) in (0..=u8::MAX).zip(&mut state.slots) {
                slot.generation += u64::from(notification.concerns(number, count));
                slot.was_emptied |= notification.reports_empty(number);
            }
        });
    }

    /// Whether the card that was present at the last [`Events::note_look`] was removed since, by the reader's
    /// notifications.
    pub fn take_removal(&self, slot: u8) -> bool {
        let mut state = self.lock();
        let slot = state.slots.get_mut(usize::from(slot));
        slot.is_some_and(|slot| std::mem::take(&mut slot.was_emptied) && slot.had_card)
    }

    /// Records the presence that the reader has reported.
    pub fn note_look(&self, slot: u8, has_card: bool) {
        if let Some(slot) = self.lock().slots.get_mut(usize::from(slot)) {
            slot.had_card = has_card;
        }
    }

    /// Records that the reader is gone, or is back: an event of all its slots.
    pub fn set_gone(&self, is_gone: bool) {
        self.change(|state| {
            if state.is_gone != is_gone {
                state.is_gone = is_gone;
                state.slots.iter_mut().for_each(|slot| slot.generation += 1);
            }
        });
    }

    /// Whether the reader is gone.
    pub fn is_gone(&self) -> bool {
        self.lock().is_gone
    }

    /// Records that the reader no longer notifies: waits end after [`POLL_INTERVAL`], so that pcscd polls.
    pub fn set_must_poll(&self) {
        self.change(|state| state.must_poll = true);
    }

    /// Records that the card in a slot was replaced or reset: it is to be reported as absent once.
    pub fn set_stale(&self, slot: u8) {
        self.change(|state| {
            if let Some(slot) = state.slots.get_mut(usize::from(slot)) {
                slot.stale = Absence::Pending;
                slot.generation += 1;
            }
        });
    }

    /// Whether a slot's card is to be reported as absent.
    pub fn is_stale(&self, slot: u8) -> bool {
        let state = self.lock();
        state
            .slots
            .get(usize::from(slot))
            .is_some_and(|slot| slot.stale != Absence::No)
    }

    /// As [`Events::is_stale`], for an answer to pcscd. If its event thread does not wait here, the absence
    /// ends with this answer.
    pub fn take_stale(&self, slot: u8) -> bool {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(usize::from(slot)) else {
            return false;
        };
        let is_stale = slot.stale != Absence::No;
        if !self.has_waits {
            slot.stale = Absence::No;
        }
        is_stale
    }

    /// Waits until pcscd has dealt with everything so far and its event thread is back; false if it has not
    /// in time, or does not wait here.
    #[cfg(feature = "sim")]
    pub fn settle(&self, slot: u8, limit: Duration) -> bool {
        let is_unsettled = |state: &mut EventState| {
            state.slots.get(usize::from(slot)).is_some_and(|slot| {
                !slot.is_waiting
                    || slot.is_interrupted
                    || slot.seen != slot.generation
                    || slot.stale != Absence::No
            })
        };
        let (_guard, result) = self
            .changed
            .wait_timeout_while(self.lock(), limit, is_unsettled)
            .unwrap_or_else(PoisonError::into_inner);
        self.has_waits && !result.timed_out()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(10);

    /// Whether a wait lasted to its timeout.
    fn lasts(events: &Events, slot: u8) -> bool {
        let begin = Instant::now();
        events.wait(slot, SHORT);
        begin.elapsed() >= SHORT
    }

    /// Whether a wait ended before its timeout.
    fn ends(events: &Events, slot: u8) -> bool {
        let begin = Instant::now();
        events.wait(slot, LONG);
        begin.elapsed() < LONG
    }

    #[test]
    fn a_wait_ends_by_a_change_of_its_own_slot() {
        let events = Events::new(2, true);
        // A change, and a fault.
        for bytes in [&[0x50, 0b0011][..], &[0x51, 0, 0, 1]] {
            events.notify(bytes);
            assert!(lasts(&events, 1), "{bytes:?}");
            assert!(ends(&events, 0), "{bytes:?}");
            // Once.
            assert!(lasts(&events, 0), "{bytes:?}");
        }
        for nonsense in [&[][..], &[0x50], &[0x51, 0], &[0x42, 0xFF]] {
            events.notify(nonsense);
            assert!(lasts(&events, 0), "{nonsense:?}");
        }
    }

    #[test]
    fn a_reader_that_names_no_slot_may_mean_any() {
        let events = Events::new(2, true);
        // The bits of slots that there are not say nothing.
        for bytes in [[0x50, 0b0101], [0x50, 0b1010_0101]] {
            events.notify(&bytes);
            for slot in [0, 1] {
                assert!(ends(&events, slot), "{bytes:?} {slot}");
            }
        }
    }

    #[test]
    fn an_interruption_ends_one_wait() {
        let events = Events::new(1, true);
        std::thread::scope(|scope| {
            let wait = scope.spawn(|| ends(&events, 0));
            events.interrupt(0);
            assert!(wait.join().unwrap());
        });
        assert!(lasts(&events, 0));
    }

    #[test]
    fn a_stale_card_is_absent_from_one_wait_to_the_next() {
        let events = Events::new(1, true);
        events.set_stale(0);
        // Whoever else asks in the meantime.
        assert!(events.take_stale(0) && events.take_stale(0));
        assert!(ends(&events, 0));
        assert!(events.take_stale(0) && events.is_stale(0));
        assert!(ends(&events, 0));
        assert!(!events.take_stale(0) && !events.is_stale(0));
        assert!(lasts(&events, 0));
    }

    #[test]
    fn without_waits_a_stale_card_is_absent_once() {
        let events = Events::new(1, false);
        events.set_stale(0);
        assert!(events.take_stale(0));
        assert!(!events.take_stale(0));
    }

    #[test]
    fn a_reader_that_is_gone_is_an_event_of_every_slot() {
        let events = Events::new(2, true);
        events.set_gone(true);
        events.set_gone(true);
        assert!(ends(&events, 0) && ends(&events, 1));
        assert!(events.is_gone() && lasts(&events, 0));
        // There is no such slot to wait for.
        assert!(ends(&events, 2));
    }

    #[test]
    fn a_deaf_reader_is_looked_at() {
        let events = Events::new(1, true);
        events.set_must_poll();
        assert!(ends(&events, 0));
    }
}
