//! A reader's slot with its card, as all connections share it: presence, power, and the end of the reader.
//! `poll` has what is found in it, `terms`, `exchange` and `power` what connections do with it. The rules are
//! pcscd's.
//!
//! Lock order: `driver`, then `state`. `driver` is held while the driver works, which can take seconds;
//! nothing waits for another connection while it holds it. `state` is held for bookkeeping alone, never
//! across a call of the driver.
//!
//! Who wakes whom: every change of `state` moves `changed`, on which the calls of this reader's connections
//! sleep (for the end of a transaction). A change that clients can see also moves [`Wakers::changes`], on
//! which waits for events of any reader sleep, and those for the first poll. It moves
//! [`Wakers::cards`] too, unless it concerns connections only. An earlier due time ends the sleep of the
//! manager's thread ([`Wakers::schedule`]).

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use pcsc_ccid::reader::DeviceInfo;

use crate::error::CallError;
use crate::schedule::Schedule;
use crate::slot::{Driver, FoundSlot, Slot, Vacant, Watch, WatchEvent};
use crate::slot_state::{Access, SlotState, PRESENT, RETRY, UNKNOWN};
use crate::snapshot::Snapshot;
use crate::state_guard::StateGuard;
use crate::sync::{lock, ChangeCounter, TimedMutex, TimedMutexGuard};

/// A slot and its connections.
pub struct ManagedReader {
    name: String,
    device: Option<Arc<DeviceInfo>>,
    slot: u8,
    driver: TimedMutex<Driver>,
    state: Mutex<SlotState>,
    changed: ChangeCounter,
    watch: Arc<dyn Watch>,
    wakers: Wakers,
}

/// The counters that a reader increments when it changes, and the threads that this wakes. All readers of a
/// manager share them.
#[derive(Clone, Default)]
pub struct Wakers {
    /// Counts changes that clients can see.
    pub changes: Arc<ChangeCounter>,
    /// Counts those of them that concern more than connections: a reader or a card has come, gone or been
    /// reset.
    pub cards: Arc<ChangeCounter>,
    /// Counts all changes of states and of the list of readers. It wakes no thread.
    pub states: Arc<AtomicU64>,
    /// When the thread "pcsc-power" next checks [`ManagedReader::due`].
    pub schedule: Arc<Schedule>,
}

/// Whether a waiting call is to give up, because its client was released or cancelled it.
pub type IsCancelled<'a> = &'a dyn Fn() -> bool;

impl ManagedReader {
    /// Slot `slot` of a device that is not open.
    pub(crate) fn new(
        name: String,
        device: Option<Arc<DeviceInfo>>,
        slot: u8,
        (driver, watch): FoundSlot,
        wakers: Wakers,
    ) -> ManagedReader {
        ManagedReader {
            name,
            device,
            slot,
            driver: TimedMutex::new(Driver::new(driver)),
            state: Mutex::new(SlotState::new()),
            changed: ChangeCounter::default(),
            watch,
            wakers,
        }
    }

    /// The device on the USB. `None` where that is not known.
    pub fn device(&self) -> Option<&DeviceInfo> {
        self.device.as_deref()
    }

    /// The number of the slot in its device.
    pub fn slot(&self) -> u8 {
        self.slot
    }

    /// Its name in PC/SC.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The state of now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.state())
    }

    /// The same, of a device that starts once it is open and was polled, but at `deadline` at the latest. The
    /// caller holds an [`Interest`](crate::Interest).
    pub fn snapshot_when_open(&self, deadline: Instant) -> Snapshot {
        // A reader that is late is shown as it is known, which is empty: one slow device does not delay the
        // list of all.
        let _ = self.wait_until_open(Some(deadline), &|| false);
        self.snapshot()
    }

    /// Whether there is a connection.
    pub fn is_in_use(&self) -> bool {
        !self.state().connections.is_idle()
    }

    /// Waits until the device is open and was polled, which takes a slow reader a second. The caller holds an
    /// [`Interest`](crate::Interest).
    ///
    /// # Errors
    /// [`CallError::Timeout`], or [`CallError::InvalidHandle`] where the call was cancelled.
    pub(crate) fn wait_until_open(
        &self,
        deadline: Option<Instant>,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<(), CallError> {
        // The first poll moves this counter, and a cancel too: a cancel may come from a signal handler, which
        // cannot lock the list of readers to wake each.
        let changes = &self.wakers.changes;
        loop {
            // Read before the state and before `is_cancelled`: neither a change nor a cancel after this is
            // missed.
            let seen = changes.changes();
            if self.state().access != Access::Closed {
                return Ok(());
            }
            if is_cancelled() {
                return Err(CallError::InvalidHandle);
            }
            if !changes.wait(seen, deadline) {
                return Err(CallError::Timeout);
            }
        }
    }

    /// Waits for events of the slot and polls it at each one, until the manager ends or the reader is gone:
    /// the work of the reader's thread. Returns whether the reader is gone.
    pub(crate) fn watch(&self) -> bool {
        loop {
            let event = self.watch.wait();
            match event {
                WatchEvent::Gone => return true,
                WatchEvent::Stopped => return false,
                WatchEvent::Card | WatchEvent::Unclear => (),
            }
            let may_sleep = {
                let state = self.state();
                state.access == Access::Closed && !state.is_needed()
            };
            // The event is another slot's, whose device this is too, or comes from a watch that needs no open
            // device.
            if may_sleep {
                continue;
            }
            match event {
                WatchEvent::Unclear => self.poll_unclear(),
                _ => self.poll(),
            }
        }
    }

    /// Ends the work of the reader's thread.
    pub(crate) fn stop_watching(&self) {
        self.watch.stop();
    }

    /// Closes the reader, because it is gone or because the manager ends. Its connections are notified. If a
    /// call of the driver is in progress at the deadline, the device stays open as long as the reader lives.
    pub(crate) fn end(&self, deadline: Option<Instant>) {
        // With the driver locked no call is in progress, and with `Vacant` in its place none begins. The
        // change of the state comes last: it wakes the calls that wait.
        let mut driver = self.driver.lock_until(deadline);
        match &mut driver {
            Some(driver) => {
                if self.state().has_power {
                    // A reader that was unplugged cannot, and need not.
                    let _ = driver.slot().power_down();
                }
                driver.slot().give_back();
                **driver = Driver::new(Box::new(Vacant));
            }
            None => log::error!("reader {:?} is not given back: its driver is at work", self.name),
        }
        self.change(|state| {
            state.access = Access::Gone;
            state.connections.notify_removed();
            if state.status & PRESENT != 0 {
                state.count_event();
            }
            state.status = UNKNOWN;
            state.due = Default::default();
            state.forget_card();
        });
    }

    /// When [`ManagedReader::attend`] is to be called.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.state().due.first()
    }

    /// Does what is due: takes the power from an unused card, asks again after a failure, or gives the device
    /// back. A driver that is at work, also for another slot, is not waited for: one thread does this for all
    /// readers.
    pub(crate) fn attend(&self) {
        // The same thread serves all readers: a reader whose driver works on a long command must not hold up
        // the others.
        let driver = self.driver.try_lock();
        let Some(mut driver) = driver.filter(|driver| !driver.is_busy()) else {
            self.state().due.postpone(Instant::now() + RETRY);
            return;
        };
        let now = Instant::now();
        // Asked again with the driver locked: a call that had it may have used the card meanwhile.
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let (give_back, power_down, retry) = {
            let state = self.state();
            let due = &state.due;
            (is_due(due.give_back), is_due(due.power_down), is_due(due.retry))
        };
        if give_back {
            // The rest is void: without the device there is neither power nor a failure.
            return self.give_back(driver.slot());
        }
        if power_down {
            self.power_down_if_unused(driver.slot());
        }
        if retry {
            self.poll_slot(driver.slot());
        }
    }

    /// Plans to give the device back if nothing needs it any more, and wakes the thread "pcsc-power" if
    /// something is due before it would wake up: a poll may have planned other things as well.
    pub(crate) fn reschedule(&self) {
        let due = {
            let mut state = self.state();
            state.plan_to_give_back();
            state.due.first()
        };
        self.wakers.schedule.plan(due);
    }

    /// Gives the device back, unless something needs it again.
    fn give_back(&self, slot: &mut dyn Slot) {
        let has_power = {
            let mut state = self.state();
            state.due.give_back = None;
            if !state.may_be_given_back() {
                return;
            }
            // Before `close`, which clears it.
            let has_power = state.has_power;
            // A call that needs the reader from here on has it opened again, once this one has unlocked the
            // driver.
            state.close();
            has_power
        };
        // With its power the card loses what was verified: the next process must not go on with this one's
        // PIN.
        if has_power {
            self.power_down(slot);
        }
        slot.give_back();
        log::debug!("reader {:?} is given back", self.name);
    }

    /// Takes the power from an unused card. Clients are not notified, as pcscd does not notify them.
    pub(crate) fn power_down_if_unused(&self, slot: &mut dyn Slot) {
        {
            let mut state = self.state();
            state.due.power_down = None;
            if state.is_used || !state.has_power {
                return;
            }
            // Before the driver is called: a connection that comes now waits for the driver and must then
            // power up.
            state.has_power = false;
            state.protocol = 0;
        }
        self.power_down(slot);
    }

    fn power_down(&self, slot: &mut dyn Slot) {
        if let Err(error) = slot.power_down() {
            log::debug!("{}: power down failed: {error}", self.name);
        }
    }

    /// Ends the wait of the reader's thread for an event.
    pub(crate) fn wake_watch(&self) {
        self.watch.wake();
    }

    /// Counts the changes of the state, and wake-ups of waiting calls.
    pub(crate) fn changed(&self) -> &ChangeCounter {
        &self.changed
    }

    /// Wakes all waiting calls, which then ask whether they were cancelled.
    pub(crate) fn wake(&self) {
        self.changed.post();
    }

    /// Locks the driver.
    pub(crate) fn driver(&self) -> TimedMutexGuard<'_, Driver> {
        self.driver.lock()
    }

    /// Locks the driver for a call with a deadline.
    pub(crate) fn driver_until(
        &self,
        deadline: Option<Instant>,
    ) -> Result<TimedMutexGuard<'_, Driver>, CallError> {
        self.driver.lock_until(deadline).ok_or(CallError::Timeout)
    }

    /// Locks the driver for a call that `check` allows. A call that is refused does not wait for the driver,
    /// and one that waited is checked again: the card may have been reset or taken meanwhile.
    pub(crate) fn driver_if<T>(
        &self,
        deadline: Option<Instant>,
        check: impl Fn(&SlotState) -> Result<T, CallError>,
    ) -> Result<(TimedMutexGuard<'_, Driver>, T), CallError> {
        let driver = match self.driver.try_lock() {
            Some(driver) => driver,
            None => {
                check(&self.state())?;
                self.driver_until(deadline)?
            }
        };
        let checked = check(&self.state())?;
        Ok((driver, checked))
    }

    pub(crate) fn state(&self) -> StateGuard<'_> {
        StateGuard::new(lock(&self.state), &self.wakers.states)
    }

    pub(crate) fn wakers(&self) -> &Wakers {
        &self.wakers
    }

    /// Makes a change that clients can see.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut SlotState) -> T) -> T {
        let result = self.change_connections(change);
        self.wakers.cards.post();
        result
    }

    /// Makes a change of connections and their protocol, neither of which is an event of the card.
    pub(crate) fn change_connections<T>(&self, change: impl FnOnce(&mut SlotState) -> T) -> T {
        let result = self.change_quietly(change);
        self.wakers.changes.post();
        result
    }

    /// Makes a change that only connections of this reader wait for.
    pub(crate) fn change_quietly<T>(&self, change: impl FnOnce(&mut SlotState) -> T) -> T {
        // The guard is a temporary and dropped here: threads that wake up do not meet a locked mutex.
        let result = change(&mut self.state());
        self.changed.post();
        result
    }

    /// Waits for a change of the state.
    pub(crate) fn wait<'a>(
        &'a self,
        state: StateGuard<'a>,
        deadline: Option<Instant>,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<StateGuard<'a>, CallError> {
        // Read under the lock, and before `is_cancelled`: neither a change nor a wake-up after this is
        // missed.
        let seen = self.changed.changes();
        if is_cancelled() {
            return Err(CallError::InvalidHandle);
        }
        drop(state);
        if !self.changed.wait(seen, deadline) {
            return Err(CallError::Timeout);
        }
        Ok(self.state())
    }
}
