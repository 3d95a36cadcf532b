//! Polls of a slot: whether a card came or went since the last one, and which connections are notified.

use crate::reader::ManagedReader;
use crate::slot::{Presence, Slot, SlotError};
use crate::slot_state::{Access, LastSeen, ABSENT};

impl ManagedReader {
    /// Asks the driver whether a card came or went. A new card is powered up, as pcscd does.
    pub fn poll(&self) {
        // Without a deadline: this thread has nothing else to do, and each call of the driver has a bound of
        // its own.
        self.poll_slot(self.driver().slot());
        self.reschedule();
    }

    /// Polls the slot now, if its device is open, rather than at the next event: for a simulation, whose user
    /// goes on once the move of a card has been seen.
    pub fn settle(&self) {
        // A first poll that is in progress may have asked before the move. Its device is open once it has
        // ended.
        let mut driver = self.driver();
        if self.state().access != Access::Closed {
            self.poll_slot(driver.slot());
        }
        drop(driver);
        self.reschedule();
    }

    /// Polls a slot that had an event and cannot distinguish two cards: the next connection powers the card
    /// up anew.
    pub(crate) fn poll_unclear(&self) {
        let mut driver = self.driver();
        // An event that the poll has counted has powered the card up already.
        let before = self.state().event_counter;
        self.poll_slot(driver.slot());
        if self.state().event_counter == before {
            self.power_down_if_unused(driver.slot());
        }
        drop(driver);
        self.reschedule();
    }

    pub(crate) fn poll_slot(&self, slot: &mut dyn Slot) {
        let mut present = slot.presence();
        // A copy, since the driver is called below and `state` is not held across its calls. What is compared
        // here changes with the driver locked, which the caller holds.
        let (mut seen, status, access) = {
            let state = self.state();
            (state.last_seen, state.status, state.access)
        };
        // A power-up or an exchange that met an empty slot has noted so: what is there now has come since.
        let was_missed = seen == LastSeen::Card && status & ABSENT != 0;
        // Clients of the old card must learn that it went, even though there was no moment at which a poll
        // found the slot empty: removal first, then the new card, each counted as an event.
        if present == Ok(Presence::Replaced) || (present == Ok(Presence::Present) && was_missed) {
            if seen == LastSeen::Card {
                self.note_absence(true);
                seen = LastSeen::Nothing;
            }
            present = Ok(Presence::Present);
        }
        match present {
            Ok(Presence::Present | Presence::Replaced) if seen != LastSeen::Card => {
                // At once and not at the first connection: the ATR is part of the reader's state, and clients
                // choose the card by it. pcscd does so too.
                let powered = slot.power_up(false, None);
                // Nothing is known of the card then: it is not noted as mute.
                if powered == Err(SlotError::NoDevice) {
                    return self.note_failure(SlotError::NoDevice);
                }
                self.change(|state| {
                    if seen == LastSeen::Failure {
                        // After a failed poll, the card may be another one.
                        state.connections.notify_removed();
                    }
                    state.note_card(powered);
                });
            }
            Ok(Presence::Present | Presence::Replaced) => (),
            Ok(Presence::Absent) | Err(SlotError::NoCard) => {
                let had_card = seen != LastSeen::Nothing;
                // An empty slot that was empty before is no event, but the first look is noted: calls wait
                // for it.
                if had_card || access != Access::Open {
                    self.note_absence(had_card);
                }
            }
            Err(error) => {
                log::debug!("{}: whether a card is present is not known: {error}", self.name());
                self.note_failure(error);
            }
        }
    }

    fn note_absence(&self, had_card: bool) {
        self.change(|state| {
            if had_card {
                state.connections.notify_removed();
            }
            state.note_absence();
        });
    }

    /// Notes that the reader cannot be asked: its state is unknown until a retry finds it in order again.
    pub(crate) fn note_failure(&self, error: SlotError) {
        let access = match error {
            // Other failures count as open: only `Closed` makes calls wait for a first poll, and they would
            // wait for as long as the reader fails.
            SlotError::Busy => Access::Claimed,
            _ => Access::Open,
        };
        let mut state = self.state();
        // Set under the driver's lock, and final. A call that was in the queue for the driver meets the
        // vacant slot and must not revive the reader.
        if state.access == Access::Gone {
            return;
        }
        if state.access == access && state.last_seen == LastSeen::Failure {
            // Nothing new, and no client is woken.
            state.retry_later(error);
            return;
        }
        drop(state);
        self.change(|state| state.note_failure(access, error));
    }
}
