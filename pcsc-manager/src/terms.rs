//! The terms of connections, and their transactions. The rules are pcscd's.

use std::time::Instant;

use crate::connections::{ConnectionHandle, ANY_OLD, DIRECT, EXCLUSIVE, RAW, SHARED, T0, T1};
use crate::error::CallError;
use crate::interest::Interest;
use crate::power::{RESET_CARD, UNPOWER_CARD};
use crate::reader::{IsCancelled, ManagedReader};
use crate::slot::{Slot, SlotError};
use crate::slot_state::{Access, SlotState, ABSENT, POWERED, PRESENT, SWALLOWED};
use crate::state_guard::StateGuard;

const EJECT_CARD: u32 = pcsc_constants::SCARD_EJECT_CARD;
const LEAVE_CARD: u32 = pcsc_constants::SCARD_LEAVE_CARD;

impl ManagedReader {
    /// Connects; gives the protocol in use.
    pub(crate) fn connect(
        &self,
        handle: ConnectionHandle,
        share: u32,
        protocols: u32,
        deadline: Option<Instant>,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<u32, CallError> {
        // Until the connection is counted, which keeps the device open from then on.
        let _interest = Interest::new(self);
        self.wait_until_open(deadline, is_cancelled)?;
        let mut state = self.state();
        if state.access == Access::Claimed {
            // The other process may have released the reader since the last poll.
            drop(state);
            self.poll();
            state = self.state();
        }
        loop {
            if state.access == Access::Claimed {
                return Err(CallError::SharingViolation);
            }
            state.check_reader()?;
            if state.connections.is_exclusive() {
                return Err(CallError::SharingViolation);
            }
            if !state.connections.is_owned() {
                break;
            }
            state = self.wait(state, deadline, is_cancelled)?;
        }

        let connect = |state: &mut SlotState| {
            state.check_reader()?;
            state.connections.connect(handle, share)?;
            state.use_card(share);
            Ok(state.protocol)
        };
        if share == DIRECT {
            // pcscd accepts it beside a card that is busy or mute.
            // A direct connection does not need the driver. `state` stays locked since the check for
            // transactions, so that no connection is made while another one resets the card.
            state.choose_raw(protocols);
            let connected = connect(&mut state);
            drop(state);
            return self.change_connections(|_| connected);
        }
        drop(state);
        // `state` is unlocked first, as the lock order asks. What was checked may change until the driver is
        // locked, therefore the checks below.
        let mut driver = self.driver_until(deadline)?;
        if driver.slot().knows_presence() {
            self.poll_slot(driver.slot());
        }
        let check = |bit: u32, error: CallError| {
            let state = self.state();
            // The reader may have failed while this call waited for the driver.
            state.check_reader()?;
            match state.status & bit {
                0 => Err(error),
                _ => Ok(()),
            }
        };
        // Two checks, as in pcscd: an empty slot and a card that does not answer are different errors.
        check(PRESENT, CallError::NoSmartcard)?;
        self.power_up_if_needed(driver.slot(), deadline)?;
        check(POWERED, CallError::UnpoweredCard)?;
        // The driver stays locked until the connection is listed: a reset by another one would take power and
        // protocol away again, without a notice to this one.
        self.choose_protocol(driver.slot(), protocols, deadline)?;
        self.change_connections(connect)
    }

    /// Gives a connection new terms; gives the protocol in use.
    pub(crate) fn reconnect(
        &self,
        handle: ConnectionHandle,
        share: u32,
        protocols: u32,
        initialization: u32,
        deadline: Option<Instant>,
    ) -> Result<u32, CallError> {
        // A reset needs no card that answers and no protocol in use: it changes both.
        let resets = matches!(initialization, RESET_CARD | UNPOWER_CARD);
        let check_card = |state: &SlotState| {
            if state.status & ABSENT != 0 {
                return Err(CallError::NoSmartcard);
            }
            if !resets && state.status & SWALLOWED != 0 {
                return Err(CallError::UnresponsiveCard);
            }
            if !resets && share != DIRECT && protocols & RAW == 0 {
                state.check_protocol(protocols)?;
                state.check_offer(protocols)?;
            }
            Ok(())
        };
        let check = |state: &SlotState| {
            state.check_reader()?;
            state.check_access(handle)?;
            // pcscd resets the card first, and again at every try of a client that waits to be the only one.
            // Here the reset comes last.
            let alone = state.connections.check_alone(handle, share);
            // An error that no wait can mend is reported before the wait.
            if !resets || alone.is_err() {
                check_card(state)?;
            }
            alone
        };
        let reconnect = |state: &mut SlotState| {
            // The manager may have ended without waiting for this call.
            state.check_reader()?;
            state.connections.reconnect(handle, share)?;
            state.use_card(share);
            Ok(state.protocol)
        };
        // Without the driver, so that a call that is refused does not wait for it. It is checked again below.
        check(&self.state())?;
        // The card may be busy for a long time, and a connection to the reader alone does not touch it.
        if share == DIRECT && !resets {
            return self.change_connections(|state| {
                check(state)?;
                state.choose_raw(protocols);
                reconnect(state)
            });
        }
        let mut driver = self.driver_until(deadline)?;
        if !resets {
            check(&self.state())?;
            self.meet_terms(driver.slot(), share, protocols, deadline)?;
            return self.change_connections(reconnect);
        }
        // The hold lasts until the connection has its new terms. In between no transaction can begin, in
        // which the change of protocol would fall.
        let reset = self.hold_and_reset(driver.slot(), handle, initialization, deadline, check)?;
        let met = match reset {
            Ok(()) => self.meet_terms(driver.slot(), share, protocols, deadline),
            Err(SlotError::NoCard) => Err(CallError::NoSmartcard),
            Err(SlotError::NoDevice) => Err(CallError::ReaderUnavailable),
            Err(SlotError::TimedOut | SlotError::NotStarted) => Err(CallError::Timeout),
            Err(_) => Err(CallError::UnresponsiveCard),
        };
        self.change_connections(|state| {
            let reconnected = met.and_then(|()| reconnect(state));
            state.connections.let_go(handle);
            reconnected
        })
    }

    /// Gives the card power and a protocol, if a connection of these terms needs them.
    fn meet_terms(
        &self,
        slot: &mut dyn Slot,
        share: u32,
        protocols: u32,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        if share == DIRECT {
            self.change_quietly(|state| state.choose_raw(protocols));
            return Ok(());
        }
        self.power_up_if_needed(slot, deadline)?;
        self.choose_protocol(slot, protocols, deadline)
    }

    /// Resets the card for a connection that `check` allows to, and notifies all. Until the connection lets
    /// the card go, no other one begins a transaction or is made: it would not be notified of the reset.
    fn hold_and_reset(
        &self,
        slot: &mut dyn Slot,
        handle: ConnectionHandle,
        kind: u32,
        deadline: Option<Instant>,
        check: impl Fn(&SlotState) -> Result<(), CallError>,
    ) -> Result<Result<(), SlotError>, CallError> {
        self.change(|state| {
            check(state)?;
            state.connections.hold(handle)?;
            // Before the reset: a call that gets the driver right after it must find the notice. The
            // connection that asked is notified too, and its own reconnection clears that.
            state.connections.notify_reset();
            Ok::<(), CallError>(())
        })?;
        Ok(self.reset(slot, kind, deadline))
    }

    /// Ends a connection.
    pub(crate) fn disconnect(
        &self,
        handle: ConnectionHandle,
        disposition: u32,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<(), CallError> {
        let mut state = self.state();
        // Only what is done to the card waits for another connection's transaction. There is no deadline,
        // since SCardDisconnect has none; a cancel or the release of the client ends the wait.
        while disposition != 0 && !state.connections.may_use(handle) {
            state = self.wait(state, None, is_cancelled)?;
        }
        self.end_connection(state, handle, disposition);
        Ok(())
    }

    /// Ends a connection whose client was released. If it has a transaction the card is reset: its state is
    /// not known.
    pub(crate) fn abandon(&self, handle: ConnectionHandle) {
        let state = self.state();
        // pcscd's rule. After a reset or removal the transaction has nothing to protect any more.
        let is_left_in_the_middle =
            state.connections.is_owner(handle) && state.connections.notice(handle).is_ok();
        let disposition = if is_left_in_the_middle { RESET_CARD } else { 0 };
        self.end_connection(state, handle, disposition);
    }

    /// Ends a connection. The caller has checked that it may use the card, and has kept `state` locked since.
    fn end_connection(&self, mut state: StateGuard<'_>, handle: ConnectionHandle, disposition: u32) {
        // `state` has been locked since the check, so that the hold cannot fail for a connection that exists.
        // No connection, be it older or made meanwhile, may begin a transaction with a card that is about to
        // be reset.
        let resets =
            matches!(disposition, RESET_CARD | UNPOWER_CARD) && state.connections.hold(handle).is_ok();
        if resets && state.status & PRESENT != 0 {
            state.connections.notify_reset();
        }
        drop(state);
        if resets {
            let mut driver = self.driver();
            // The card may have gone while this waited for the driver. Its removal has notified all.
            if self.state().status & PRESENT == 0 {
                self.change(|state| state.protocol = 0);
            } else {
                // Again: connections that were made since the first notice may use the card once the driver
                // is free.
                self.change(|state| state.connections.notify_reset());
                if disposition == RESET_CARD {
                    // The connection ends, whether the card answers or not.
                    let _ = self.reset(driver.slot(), RESET_CARD, None);
                } else {
                    self.unpower(driver.slot());
                }
            }
        }
        let due = self.change_connections(|state| {
            state.connections.disconnect(handle);
            state.leave_card();
            state.plan_to_give_back();
            state.due.first()
        });
        // The thread "pcsc-power" may sleep beyond the time at which this reader is to be given back.
        self.wakers().schedule.plan(due);
    }

    /// Begins a transaction, in the order in which connections asked for it.
    pub(crate) fn begin(
        &self,
        handle: ConnectionHandle,
        deadline: Option<Instant>,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<(), CallError> {
        let begun = self.wait_to_begin(handle, deadline, is_cancelled);
        // Whatever the reason: a place in the queue that nobody waits at would block all behind it. Their
        // turn may have come now.
        if begun.is_err() && self.state().connections.leave_queue(handle) {
            self.wake();
        }
        begun
    }

    fn wait_to_begin(
        &self,
        handle: ConnectionHandle,
        deadline: Option<Instant>,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<(), CallError> {
        let mut state = self.state();
        loop {
            // At each wake-up: what woke this call may be the removal of the card, or the end of the
            // connection.
            state.check_reader()?;
            state.connections.notice(handle)?;
            if state.connections.try_begin(handle) {
                return Ok(());
            }
            // A caller whose deadline has passed does not enter the queue, where it would block others.
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(CallError::Timeout);
            }
            state.connections.queue(handle);
            state = self.wait(state, deadline, is_cancelled)?;
        }
    }

    /// Ends a transaction.
    pub(crate) fn end_transaction(
        &self,
        handle: ConnectionHandle,
        disposition: u32,
    ) -> Result<(), CallError> {
        let check = |state: &SlotState| -> Result<(), CallError> {
            state.check_listed()?;
            state.connections.notice(handle)?;
            if disposition != 0 {
                state.check_access(handle)?;
            }
            Ok(())
        };
        check(&self.state())?;
        if disposition == EJECT_CARD {
            // As under pcscd, whose command to eject a card is for drivers of version 2 only: the transaction
            // ends, and the error remains.
            let _ = self.change_quietly(|state| state.connections.end(handle));
            return Err(CallError::UnsupportedFeature);
        }
        // Without the driver: the end of a transaction does not wait for another call.
        if disposition == LEAVE_CARD {
            return self.change_quietly(|state| state.connections.end(handle));
        }
        let mut driver = self.driver();
        let reset = self.hold_and_reset(driver.slot(), handle, disposition, None, check)?;
        let reset = reset.map_err(|error| match error {
            SlotError::NoCard => CallError::RemovedCard,
            SlotError::NoDevice => CallError::ReaderUnavailable,
            _ => CallError::NotTransacted,
        });
        self.change_quietly(|state| {
            // The hold first, then the transaction itself: two levels, of which the second one is missing
            // where the caller had no transaction.
            state.connections.let_go(handle);
            reset.and(state.connections.end(handle))
        })
    }

    /// Whether a connection can be used: `SCardStatus`.
    pub(crate) fn check(&self, handle: ConnectionHandle) -> Result<(), CallError> {
        let state = self.state();
        state.check_listed()?;
        state.check_access(handle)?;
        state.connections.notice(handle)?;
        state.check_reader()
    }
}

/// Refuses terms of a connection that no reader could meet: a share mode or protocols, as for
/// [`Client::connect`](crate::Client::connect).
///
/// # Errors
/// [`CallError::ProtoMismatch`] or [`CallError::InvalidValue`].
pub fn check_terms(share: u32, protocols: u32) -> Result<(), CallError> {
    // Protocols before the share mode, as pcscd's SCardConnect does. Programs test for the error.
    if share != DIRECT && protocols & (T0 | T1 | RAW | ANY_OLD) == 0 {
        return Err(CallError::ProtoMismatch);
    }
    if ![EXCLUSIVE, SHARED, DIRECT].contains(&share) {
        return Err(CallError::InvalidValue);
    }
    Ok(())
}

/// Refuses terms of a reconnection that no reader could meet. pcscd looks at the share mode first here.
pub(crate) fn check_reconnection(share: u32, protocols: u32, initialization: u32) -> Result<(), CallError> {
    if initialization > UNPOWER_CARD || ![EXCLUSIVE, SHARED, DIRECT].contains(&share) {
        return Err(CallError::InvalidValue);
    }
    check_terms(share, protocols)
}

/// Refuses a disposition that is none.
pub(crate) fn check_disposition(disposition: u32) -> Result<(), CallError> {
    if disposition > EJECT_CARD {
        return Err(CallError::InvalidValue);
    }
    Ok(())
}
