//! What pcscd's event threads wait for: cards that come and go, one thread a slot.
//!
//! pcscd takes the end of a wait for the moment to power an unused card down, so that a wait must not end without
//! cause. And it learns that a card is another one, or was reset, only by hearing that there is none: see [`Stale`].

#![forbid(unsafe_code)]

use pcsc_ccid::message::Notification;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often pcscd looks by itself: what is left where a reader's notifications fail.
const LOOK: Duration = Duration::from_millis(400);

/// The events of all slots of a reader.
#[derive(Debug)]
pub struct Events {
    state: Mutex<State>,
    changed: Condvar,
    /// pcscd's event threads wait here; else they ask every so often.
    has_waits: bool,
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    is_gone: bool,
    is_deaf: bool,
}

#[derive(Debug, Default)]
struct Slot {
    /// Grows with every event.
    generation: u64,
    /// The generation at the end of the last wait.
    seen: u64,
    is_waiting: bool,
    is_interrupted: bool,
    /// The reader has reported it as empty since the last look.
    was_emptied: bool,
    /// The last look found a card.
    had_card: bool,
    stale: Stale,
}

/// Whether a card that is there must be reported as absent, so that pcscd tells all clients that the card they know
/// is gone, and powers this one up.
///
/// Only the event thread's own look counts. It looks after each wait, so that the absence lasts from the end of one
/// wait to the begin of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stale {
    #[default]
    No,
    /// The event thread has not come out of its wait since.
    Untold,
    /// The event thread is looking.
    BeingTold,
}

impl Events {
    /// For a reader with so many slots. `has_waits` says whether pcscd's event threads are given [`Events::wait`].
    pub fn new(slots: usize, has_waits: bool) -> Events {
        Events {
            state: Mutex::new(State {
                slots: (0..slots).map(|_| Slot::default()).collect(),
                is_gone: false,
                is_deaf: false,
            }),
            changed: Condvar::new(),
            has_waits,
        }
    }

    /// Whether pcscd's event threads wait here.
    pub fn has_waits(&self) -> bool {
        self.has_waits
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No change is made of several steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until something happens to a slot, up to `timeout`.
    pub fn wait(&self, slot: u8, timeout: Duration) {
        let slot = usize::from(slot);
        let begin = Instant::now();
        let mut guard = self.lock();
        if let Some(this) = guard.slots.get_mut(slot) {
            if this.stale == Stale::BeingTold {
                // pcscd knows now; it must look again, and find the card.
                this.stale = Stale::No;
                this.generation += 1;
            }
            this.is_waiting = true;
            self.changed.notify_all();
        }
        loop {
            let limit = if guard.is_deaf { timeout.min(LOOK) } else { timeout };
            let left = limit.saturating_sub(begin.elapsed());
            let Some(this) = guard.slots.get_mut(slot) else {
                return;
            };
            if this.is_interrupted || this.generation != this.seen || left.is_zero() {
                this.seen = this.generation;
                this.is_waiting = false;
                this.is_interrupted = false;
                if this.stale == Stale::Untold {
                    this.stale = Stale::BeingTold;
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

    /// Ends the wait of a slot that goes on, or its next one: pcscd does so before it joins the event thread, and
    /// after the last disconnection from a card, to have another timeout.
    pub fn interrupt(&self, slot: u8) {
        self.change(|state| {
            if let Some(slot) = state.slots.get_mut(usize::from(slot)) {
                slot.is_interrupted = true;
            }
        });
    }

    /// Notes what came from the interrupt pipe.
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

    /// Whether the card that the last look found has been removed since: the reader has reported the slot as empty.
    pub fn take_removal(&self, slot: u8) -> bool {
        let mut state = self.lock();
        let slot = state.slots.get_mut(usize::from(slot));
        slot.is_some_and(|slot| std::mem::take(&mut slot.was_emptied) && slot.had_card)
    }

    /// Notes what a look found.
    pub fn note_look(&self, slot: u8, has_card: bool) {
        if let Some(slot) = self.lock().slots.get_mut(usize::from(slot)) {
            slot.had_card = has_card;
        }
    }

    /// The reader is gone, which is an event of all its slots.
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

    /// The reader no longer notifies: waits end after a while, so that pcscd looks for itself.
    pub fn set_deaf(&self) {
        self.change(|state| state.is_deaf = true);
    }

    /// The card in a slot is not the one that clients know, or was reset: it shall look absent once.
    pub fn set_stale(&self, slot: u8) {
        self.change(|state| {
            if let Some(slot) = state.slots.get_mut(usize::from(slot)) {
                slot.stale = Stale::Untold;
                slot.generation += 1;
            }
        });
    }

    /// Whether a slot's card has to look absent.
    pub fn is_stale(&self, slot: u8) -> bool {
        let state = self.lock();
        state
            .slots
            .get(usize::from(slot))
            .is_some_and(|slot| slot.stale != Stale::No)
    }

    /// The same, for an answer to pcscd. Where its event thread does not wait here, the first one to ask counts as told.
    pub fn take_stale(&self, slot: u8) -> bool {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(usize::from(slot)) else {
            return false;
        };
        let is_stale = slot.stale != Stale::No;
        if !self.has_waits {
            slot.stale = Stale::No;
        }
        is_stale
    }

    /// Waits until pcscd has dealt with everything so far and its event thread is back; false if it has not in time, or does
    /// not wait here.
    #[cfg(feature = "sim")]
    pub fn settle(&self, slot: u8, limit: Duration) -> bool {
        let is_unsettled = |state: &mut State| {
            state.slots.get(usize::from(slot)).is_some_and(|slot| {
                !slot.is_waiting
                    || slot.is_interrupted
                    || slot.seen != slot.generation
                    || slot.stale != Stale::No
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
        events.set_deaf();
        assert!(ends(&events, 0));
    }
}
