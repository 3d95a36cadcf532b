//! A reader's slot with its card, as all connections of the process share it: what was seen of it, its power,
//! and its end. `calls` and `exchange` have what connections do with it. The rules are pcscd's.
//!
//! Turns at `slot` last as long as the driver works; `state` is locked for bookkeeping only. They are taken in
//! this order, and nobody waits for another connection in his turn.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::board::{lock, Board};
use crate::error::CallError as Error;
use crate::slot::{Driver, Fault, Presence, Sight, Slot, Vacant, Watch};
use crate::state::{Reach, Seen, State, ABSENT, LOOK_AGAIN, PRESENT, UNKNOWN};
use crate::turns::{Turn, Turns};

/// A slot and its connections.
pub struct Reader {
    /// Its name, as clients know it.
    pub name: String,
    slot: Turns<Driver>,
    state: Mutex<State>,
    /// Counts every change of the state, after it was made.
    changed: Board,
    watch: Arc<dyn Watch>,
    wakers: Wakers,
}

/// Whom a reader wakes. All readers of a manager have the same.
#[derive(Clone, Default)]
pub struct Wakers {
    /// Counts changes that clients can see. Waits for card events sleep on it.
    pub board: Arc<Board>,
    /// Counts changes of [`Reader::due`]. The thread that calls [`Reader::attend`] sleeps on it.
    pub schedule: Arc<Board>,
}

/// Keeps a reader's device open and its card watched while it lives.
pub struct Interest<R: Deref<Target = Reader>>(R);

impl<R: Deref<Target = Reader>> Interest<R> {
    /// Begins to need a reader. If its device is not open, its thread opens it and looks at the card.
    pub fn new(reader: R) -> Interest<R> {
        let is_closed = {
            let mut state = reader.state();
            state.interests += 1;
            state.give_back_at = None;
            state.reach == Reach::Closed
        };
        if is_closed {
            reader.watch.wake();
        }
        Interest(reader)
    }

    /// The reader.
    pub fn reader(&self) -> &Reader {
        &self.0
    }
}

impl<R: Deref<Target = Reader>> Drop for Interest<R> {
    fn drop(&mut self) {
        self.0.state().interests -= 1;
        self.0.plan_to_give_back();
    }
}

/// A reader's state at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// How often a card came or went; 16 bits, wraps.
    pub event_counter: u32,
    /// `SCARD_UNKNOWN`, `SCARD_ABSENT`, `SCARD_PRESENT`, ... (PC/SC part 5, clause 3.1.4).
    pub status: u32,
    /// 0: no connection; -1: one exclusive connection; n: n shared ones.
    pub sharing: i32,
    /// The card's ATR; empty where there is no card, or where it does not answer.
    pub atr: Vec<u8>,
    /// The protocol in use, `SCARD_PROTOCOL_*`; 0 where none was chosen since the last reset.
    pub protocol: u32,
}

/// Whether a caller gave up waiting: its context was released.
pub type GaveUp<'a> = &'a dyn Fn() -> bool;

impl Reader {
    /// A reader that nobody has looked at yet: see [`Reader::look`].
    pub fn new(name: String, slot: Box<dyn Slot>, watch: Arc<dyn Watch>, wakers: Wakers) -> Reader {
        Reader {
            name,
            slot: Turns::new(Driver::new(slot)),
            state: Mutex::new(State::new()),
            changed: Board::default(),
            watch,
            wakers,
        }
    }

    /// The state of now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot {
            event_counter: state.event_counter,
            status: state.status,
            sharing: state.connections.sharing(),
            atr: state.card.as_ref().map_or(Vec::new(), |card| card.atr.clone()),
            protocol: state.protocol,
        }
    }

    /// Whether some connection uses the reader.
    pub fn is_in_use(&self) -> bool {
        !self.state().connections.is_idle()
    }

    /// Waits until the reader is open and was looked at, which takes a slow reader a second. The caller holds an
    /// [`Interest`].
    pub fn wait_for_first_look(&self, deadline: Option<Instant>, gave_up: GaveUp<'_>) -> Result<(), Error> {
        let mut state = self.state();
        while state.reach == Reach::Closed {
            state = self.wait(state, deadline, gave_up)?;
        }
        Ok(())
    }

    /// Looks whether a card came or went. A new card is powered up, as pcscd does.
    pub fn look(&self) {
        self.look_at(self.turn().driver());
        self.plan_to_give_back();
        self.wakers.schedule.post();
    }

    /// Waits for events of the slot, and looks at each, until the manager ends or the reader is gone: the work of the
    /// reader's thread. Returns whether the reader is gone.
    pub fn watch(&self) -> bool {
        loop {
            let sight = self.watch.wait();
            match sight {
                Sight::Gone => return true,
                Sight::Stopped => return false,
                Sight::Card | Sight::Unclear => (),
            }
            let is_asleep = {
                let state = self.state();
                state.reach == Reach::Closed && !state.is_needed()
            };
            // Another slot of the reader may be in use, and a watch need not know whether the device is open.
            if is_asleep {
                continue;
            }
            match sight {
                Sight::Unclear => self.look_again(),
                _ => self.look(),
            }
        }
    }

    /// Ends the reader's thread.
    pub fn stop_watching(&self) {
        self.watch.stop();
    }

    /// Looks where something stirred and the slot cannot tell one card from another: whoever connects next
    /// powers the card up anew.
    pub fn look_again(&self) {
        let mut slot = self.turn();
        let before = self.state().event_counter;
        self.look_at(slot.driver());
        if self.state().event_counter == before {
            self.power_down_if_idle(slot.driver());
        }
        drop(slot);
        self.plan_to_give_back();
        self.wakers.schedule.post();
    }

    /// Plans to give the device back if nothing needs it any more.
    fn plan_to_give_back(&self) {
        if self.state().plan_to_give_back() {
            self.wakers.schedule.post();
        }
    }

    /// Gives the device back, unless something needs it again.
    fn give_back(&self, slot: &mut dyn Slot) {
        let has_power = {
            let mut state = self.state();
            state.give_back_at = None;
            if state.is_needed() || !matches!(state.reach, Reach::Reached | Reach::Claimed) {
                return;
            }
            let has_power = state.has_power;
            // From here on whoever needs the reader has it opened again, after this turn.
            state.close();
            has_power
        };
        if has_power {
            if let Err(fault) = slot.power_down() {
                log::debug!("{}: power down failed: {fault:?}", self.name);
            }
        }
        slot.give_back();
        log::debug!("reader {:?} is given back", self.name);
    }

    pub(crate) fn look_at(&self, slot: &mut dyn Slot) {
        let mut present = slot.presence();
        let mut seen = self.state().seen;
        // A power-up or an exchange that met an empty slot has noted so: what is there now has come since.
        let was_missed = seen == Seen::Card && self.state().status & ABSENT != 0;
        if present == Ok(Presence::Replaced) || (present == Ok(Presence::Present) && was_missed) {
            if seen == Seen::Card {
                self.see_nothing(true);
                seen = Seen::Nothing;
            }
            present = Ok(Presence::Present);
        }
        match present {
            Ok(Presence::Present | Presence::Replaced) if seen != Seen::Card => {
                let powered = slot.power_up(false);
                if powered == Err(Fault::NoDevice) {
                    return self.on_trouble(Fault::NoDevice);
                }
                self.change(|state| {
                    if seen == Seen::Trouble {
                        // Nobody knows whether it is the same card.
                        state.connections.tell_removed();
                    }
                    state.see(Seen::Card);
                    state.set_power_up(powered);
                    state.compare_with_before();
                });
            }
            Ok(Presence::Present | Presence::Replaced) => (),
            Ok(Presence::Absent) | Err(Fault::NoCard) => {
                if seen != Seen::Nothing || self.state().reach != Reach::Reached {
                    self.see_nothing(seen != Seen::Nothing);
                }
            }
            Err(fault) => {
                log::debug!("{}: cannot tell whether a card is present: {fault:?}", self.name);
                self.on_trouble(fault);
            }
        }
    }

    fn see_nothing(&self, was_there: bool) {
        self.change(|state| {
            if was_there {
                state.connections.tell_removed();
            }
            state.see(Seen::Nothing);
            state.status = ABSENT;
            state.forget_card();
            state.compare_with_before();
        });
    }

    /// The reader cannot be asked: its state is unknown until a look finds it in order again.
    pub(crate) fn on_trouble(&self, fault: Fault) {
        let reach = if fault == Fault::Busy {
            Reach::Claimed
        } else {
            Reach::Reached
        };
        let change = |state: &mut State| {
            state.reach = reach;
            state.seen = Seen::Trouble;
            state.status = UNKNOWN;
            state.forget_card();
            state.look_again_later(fault);
        };
        let mut state = self.state();
        if state.reach == Reach::Gone {
            return;
        }
        if state.reach == reach && state.seen == Seen::Trouble {
            // Nothing new, and nobody is woken.
            state.look_again_later(fault);
            return;
        }
        drop(state);
        self.change(change);
    }

    /// The reader is gone, or is given back: its connections are told, and the device is closed.
    pub fn end(&self) {
        let mut slot = self.turn();
        if self.state().has_power {
            // A reader that was pulled out cannot, and need not.
            let _ = slot.driver().power_down();
        }
        *slot = Driver::new(Box::new(Vacant));
        self.change(|state| {
            state.reach = Reach::Gone;
            state.connections.tell_removed();
            if state.status & PRESENT != 0 {
                state.count_event();
            }
            state.status = UNKNOWN;
            state.look_again = None;
            state.give_back_at = None;
            state.forget_card();
        });
    }

    /// When [`Reader::attend`] is to be called.
    pub fn due(&self) -> Option<Instant> {
        let state = self.state();
        let look = state.look_again.map(|(at, _)| at);
        [state.power_down_at, look, state.give_back_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due: takes the power from an unused card, looks again after a failure, or gives the device back.
    /// A driver that is at work is not waited for.
    pub fn attend(&self) {
        let Some(mut slot) = self.slot.try_take() else {
            let soon = Instant::now() + LOOK_AGAIN;
            let mut guard = self.state();
            let state = &mut *guard;
            let look = state.look_again.as_mut().map(|(at, _)| at);
            let plans = state.power_down_at.as_mut().into_iter();
            for at in plans.chain(look).chain(state.give_back_at.as_mut()) {
                *at = soon.max(*at);
            }
            return;
        };
        slot.driver().set_deadline(None);
        let now = Instant::now();
        let (look, power_down, give_back) = {
            let state = self.state();
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            let look = state.look_again.map(|(at, _)| at);
            (
                is_due(look),
                is_due(state.power_down_at),
                is_due(state.give_back_at),
            )
        };
        if give_back {
            return self.give_back(slot.driver());
        }
        if power_down {
            self.power_down_if_idle(slot.driver());
        }
        if look {
            self.look_at(slot.driver());
        }
    }

    /// Takes the power from a card that nobody uses. Clients are not told, as pcscd does not tell them.
    fn power_down_if_idle(&self, slot: &mut dyn Slot) {
        {
            let mut state = self.state();
            state.power_down_at = None;
            if state.is_used || !state.has_power {
                return;
            }
            state.has_power = false;
            state.protocol = 0;
        }
        if let Err(fault) = slot.power_down() {
            log::debug!("{}: power down failed: {fault:?}", self.name);
        }
    }

    /// Wakes all waiting calls, which then ask whether to give up.
    pub fn wake(&self) {
        self.changed.post();
    }

    /// The driver, when it is this caller's turn.
    pub fn turn(&self) -> Turn<'_, Driver> {
        let mut turn = self.slot.take();
        turn.driver().set_deadline(None);
        turn
    }

    /// The same, if the turn comes in time; what the driver is asked then has to end in time as well.
    pub fn turn_by(&self, deadline: Option<Instant>) -> Result<Turn<'_, Driver>, Error> {
        let mut turn = self.slot.take_by(deadline).ok_or(Error::Timeout)?;
        turn.driver().set_deadline(deadline);
        Ok(turn)
    }

    pub(crate) fn wakers(&self) -> &Wakers {
        &self.wakers
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Changes the state and posts that it did.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = {
            let mut state = self.state();
            state.changes += 1;
            change(&mut state)
        };
        self.wakers.board.post();
        self.changed.post();
        result
    }

    /// Changes what only connections of this reader wait for.
    pub(crate) fn change_quietly<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = {
            let mut state = self.state();
            state.changes += 1;
            change(&mut state)
        };
        self.changed.post();
        result
    }

    /// Waits for a change of the state.
    pub(crate) fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
        gave_up: GaveUp<'_>,
    ) -> Result<MutexGuard<'a, State>, Error> {
        // Before the question, so that a wake after it is not missed.
        let seen = self.changed.changes();
        if gave_up() {
            return Err(Error::InvalidHandle);
        }
        drop(state);
        if !self.changed.wait(seen, deadline) {
            return Err(Error::Timeout);
        }
        Ok(self.state())
    }

    /// Makes a call, and makes it again as long as it meets a sharing violation, if the caller waits.
    pub fn retry<T>(
        &self,
        waits: bool,
        deadline: Option<Instant>,
        gave_up: GaveUp<'_>,
        mut call: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        loop {
            let changes = self.state().changes;
            match call() {
                Err(Error::SharingViolation) if waits => (),
                done => return done,
            }
            let mut state = self.state();
            while state.changes == changes {
                state = self.wait(state, deadline, gave_up)?;
            }
        }
    }
}
