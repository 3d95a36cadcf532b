//! What is known of a reader's slot: bookkeeping without I/O. The rules are pcscd's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::connections::{in_common, ConnectionHandle, Connections, DIRECT, RAW};
use crate::error::CallError;
use crate::slot::{Powered, SlotError};

pub const UNKNOWN: u32 = pcsc_constants::SCARD_UNKNOWN;
pub const ABSENT: u32 = pcsc_constants::SCARD_ABSENT;
pub const PRESENT: u32 = pcsc_constants::SCARD_PRESENT;
pub const SWALLOWED: u32 = pcsc_constants::SCARD_SWALLOWED;
pub const POWERED: u32 = pcsc_constants::SCARD_POWERED;
const NEGOTIABLE: u32 = pcsc_constants::SCARD_NEGOTIABLE;

/// How long an unused card keeps its power.
// pcscd's PCSCLITE_POWER_OFF_GRACE_PERIOD: a program that connects once for each command does not reset the
// card each time.
const POWER_GRACE: Duration = Duration::from_secs(5);
/// How long a device stays open that has neither a connection nor a wait for its card events.
// Shorter, since other processes wait for the device, and long enough for a program that polls in a loop.
const OPEN_GRACE: Duration = Duration::from_secs(1);
/// When to ask again a reader that failed, or that another process has; pcscd's rate of polling.
pub const RETRY: Duration = Duration::from_millis(400);
/// The longest pause before a reader that goes on failing is asked again.
// Back-off: each attempt can hold the device for seconds, and the log gets a line.
const LONGEST_RETRY: Duration = Duration::from_secs(6);

/// What is known of a slot.
#[derive(Default)]
pub struct SlotState {
    pub connections: Connections,
    /// `SCARD_PRESENT` and its like, as clients see it.
    pub status: u32,
    pub event_counter: u32,
    pub card: Option<Powered>,
    /// The protocol in use, `SCARD_PROTOCOL_*`; 0 where none was chosen since the last reset.
    pub protocol: u32,
    pub has_power: bool,
    /// Some connection is for the card and not for the reader alone, or one was since there were none: the
    /// card keeps its power.
    pub is_used: bool,
    pub access: Access,
    pub last_seen: LastSeen,
    /// How many calls need the device open: waits for card events, and connections being made.
    pub interests: usize,
    pub due: Due,
    /// What was in the slot when the device was given back.
    before: Option<Contents>,
}

/// What is to be done for a slot, and when.
#[derive(Debug, Default)]
pub struct Due {
    /// The unused card loses its power.
    pub power_down: Option<Instant>,
    /// The reader is asked again after a failure.
    pub retry: Option<Instant>,
    /// The pause before that.
    retry_pause: Duration,
    /// The device is given back, because nothing needs it.
    pub give_back: Option<Instant>,
}

impl Due {
    /// The first time of all.
    pub fn first(&self) -> Option<Instant> {
        let all = [self.power_down, self.retry, self.give_back];
        all.into_iter().flatten().min()
    }

    /// Moves everything to `at` or later.
    pub fn postpone(&mut self, at: Instant) {
        let all = [&mut self.power_down, &mut self.retry, &mut self.give_back];
        for due in all.into_iter().flatten() {
            *due = at.max(*due);
        }
    }
}

/// Whether the driver reaches the reader.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The device is not open: nothing has needed it yet, or it was given back. What is in the slot is not
    /// known.
    #[default]
    Closed,
    Open,
    /// Another process has it.
    Claimed,
    Gone,
}

/// What the last poll of the slot saw. A failed exchange changes the status at once; the next poll then finds
/// the change, and notifies the connections.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum LastSeen {
    #[default]
    Nothing,
    Card,
    Failure,
}

/// What a slot holds, as far as two cards can be distinguished: `SCARD_PRESENT` or `SCARD_ABSENT`, and the
/// ATR.
type Contents = (u32, Option<Arc<[u8]>>);

impl SlotState {
    /// A slot whose device is not open.
    pub fn new() -> SlotState {
        SlotState {
            status: ABSENT,
            ..SlotState::default()
        }
    }

    /// Whether the reader works.
    pub fn check_reader(&self) -> Result<(), CallError> {
        if self.status & UNKNOWN != 0 {
            return Err(CallError::ReaderUnavailable);
        }
        // Also where a call that was in progress at the end of the manager has changed the status since.
        self.check_listed()
    }

    /// Whether the reader is still listed.
    pub fn check_listed(&self) -> Result<(), CallError> {
        if self.access == Access::Gone {
            return Err(CallError::ReaderUnavailable);
        }
        Ok(())
    }

    /// Whether one of these protocols is in use, or none at all.
    pub fn check_protocol(&self, protocols: u32) -> Result<(), CallError> {
        if self.protocol != 0 && protocols & self.protocol == 0 {
            return Err(CallError::ProtoMismatch);
        }
        Ok(())
    }

    /// Whether the card offers one of these protocols, where none is in use.
    pub fn check_offer(&self, protocols: u32) -> Result<(), CallError> {
        match &self.card {
            Some(card) if self.protocol == 0 && in_common(protocols, card.offered) == 0 => {
                Err(CallError::ProtoMismatch)
            }
            _ => Ok(()),
        }
    }

    /// Whether other connections' transactions let this one use the card.
    pub fn check_access(&self, handle: ConnectionHandle) -> Result<(), CallError> {
        if self.connections.may_use(handle) {
            Ok(())
        } else {
            Err(CallError::SharingViolation)
        }
    }

    /// Leaves the protocol to the connections, if they ask for that.
    pub fn choose_raw(&mut self, protocols: u32) {
        if protocols & RAW != 0 {
            // Only a reset ends it.
            self.protocol = RAW;
        }
    }

    /// Notes a connection. One for the card keeps it powered.
    pub fn use_card(&mut self, share: u32) {
        if share != DIRECT {
            self.is_used = true;
            // The connection counts from here on, although it may not be listed yet.
            self.due.power_down = None;
        }
    }

    /// Notes the end of a connection. After the last one the power goes, some time later.
    pub fn leave_card(&mut self) {
        // `is_used` outlives a connection for the card as long as there are others, of whatever kind: pcscd
        // counts connections alone.
        if self.connections.is_idle() {
            self.is_used = false;
            if self.has_power {
                self.due.power_down = Some(Instant::now() + POWER_GRACE);
            }
        }
    }

    /// Whether a connection or a call needs the device.
    pub fn is_needed(&self) -> bool {
        self.interests > 0 || !self.connections.is_idle()
    }

    /// Whether there is a device to give back, or one to wait for that another process has.
    pub fn may_be_given_back(&self) -> bool {
        !self.is_needed() && matches!(self.access, Access::Open | Access::Claimed)
    }

    /// Plans to give the device back if nothing needs it.
    pub fn plan_to_give_back(&mut self) {
        if self.may_be_given_back() {
            let at = || Instant::now() + OPEN_GRACE;
            // The first plan stands: polls of an unneeded device would put the end off again and again.
            self.due.give_back.get_or_insert_with(at);
        }
    }

    /// Notes that the device is about to be given back. Status and ATR stay, as what was last seen.
    pub fn close(&mut self) {
        self.before = Some(self.contents());
        self.access = Access::Closed;
        // A card that is taken out while the device is closed is no removal: there is no connection to
        // notify.
        self.last_seen = LastSeen::Nothing;
        self.has_power = false;
        self.protocol = 0;
        self.is_used = false;
        self.due = Due::default();
    }

    fn contents(&self) -> Contents {
        let atr = self.card.as_ref().map(|card| card.atr.clone());
        (self.status & (PRESENT | ABSENT), atr)
    }

    /// Notes that the slot is empty.
    pub fn note_absence(&mut self) {
        self.note_poll(LastSeen::Nothing);
        self.status = ABSENT;
        self.forget_card();
        self.compare_with_before();
    }

    /// Notes that a poll found a card, and how its power-up went.
    pub fn note_card(&mut self, powered: Result<Powered, SlotError>) {
        self.note_poll(LastSeen::Card);
        self.note_power_up(powered);
        self.compare_with_before();
    }

    /// Notes what a poll saw, which is an event. The first poll of an open device is none.
    fn note_poll(&mut self, seen: LastSeen) {
        // As in pcscd, where a reader that comes with its card has the count 0.
        if self.access == Access::Open {
            self.count_event();
        }
        if self.access != Access::Gone {
            self.access = Access::Open;
        }
        self.last_seen = seen;
        self.due.retry = None;
    }

    /// Counts an event if the first poll after the device was given back finds something else than before. A
    /// card with the same ATR counts as the same: a program that polls must not see an event at each poll.
    fn compare_with_before(&mut self) {
        if self.before.take().is_some_and(|before| before != self.contents()) {
            self.count_event();
        }
    }

    /// Notes that the reader cannot be asked, until a retry finds it in order.
    pub fn note_failure(&mut self, access: Access, error: SlotError) {
        self.access = access;
        self.last_seen = LastSeen::Failure;
        // The count does not move, as in pcscd: the status itself is the news.
        self.status = UNKNOWN;
        self.forget_card();
        self.retry_later(error);
    }

    pub fn count_event(&mut self) {
        // 16 bits, since clients see it in the upper half of dwEventState.
        self.event_counter = (self.event_counter + 1) & 0xFFFF;
    }

    /// Plans to ask a reader again that failed.
    pub fn retry_later(&mut self, error: SlotError) {
        let pause = match (error, self.due.retry) {
            // No retry: the watch reports when a reader has been unplugged. One that is planned, for an
            // earlier error, is taken back: it would stay due, and the thread "pcsc-power" would not sleep
            // any more.
            (SlotError::NoDevice, _) => {
                self.due.retry = None;
                return;
            }
            // At a steady rate for a claimed reader: the program that waits wants it as soon as it is free.
            (SlotError::Busy, _) | (_, None) => RETRY,
            (_, Some(_)) => (self.due.retry_pause * 2).min(LONGEST_RETRY),
        };
        self.due.retry = Some(Instant::now() + pause);
        self.due.retry_pause = pause;
    }

    /// Notes how a power-up, or a reset, went.
    pub fn note_power_up(&mut self, powered: Result<Powered, SlotError>) {
        // A reset ends the protocol, also where it fails (ISO 7816-3, clause 6.3.1: after a reset the card
        // uses its default again).
        self.protocol = 0;
        self.has_power = powered.is_ok();
        // A reset can find a card, mute or not, before any poll does.
        if self.last_seen != LastSeen::Card && powered != Err(SlotError::NoCard) {
            self.note_poll(LastSeen::Card);
        }
        match powered {
            Ok(card) => {
                self.status = PRESENT | POWERED | NEGOTIABLE;
                self.card = Some(card);
                if !self.is_used {
                    self.due.power_down = Some(Instant::now() + POWER_GRACE);
                }
            }
            Err(SlotError::NoCard) => {
                self.status = ABSENT;
                self.forget_card();
            }
            Err(_) => {
                // pcscd's bits for a mute card. Clients get SCARD_STATE_MUTE.
                self.status = PRESENT | SWALLOWED;
                self.forget_card();
            }
        }
    }

    pub fn forget_card(&mut self) {
        self.card = None;
        self.protocol = 0;
        self.has_power = false;
        self.due.power_down = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_is_gone_is_not_asked_again() {
        let mut state = SlotState::new();
        state.note_failure(Access::Open, SlotError::Communication);
        assert!(state.due.first().is_some());
        state.retry_later(SlotError::NoDevice);
        assert_eq!(state.due.first(), None);
    }
}
