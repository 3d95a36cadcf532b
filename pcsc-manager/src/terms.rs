//! The terms of connections, and their transactions. The rules are pcscd's.

use std::time::Instant;

use crate::connections::{Handle, DIRECT, EXCLUSIVE, RAW, SHARED, T0, T1};
use crate::error::CallError;
use crate::interest::Interest;
use crate::power::{ANY_OLD, RESET_CARD, UNPOWER_CARD};
use crate::reader::{IsCancelled, Reader};
use crate::slot::SlotError;
use crate::slot_state::{Access, SlotState, ABSENT, POWERED, PRESENT, SWALLOWED};

const EJECT_CARD: u32 = pcsc_constants::SCARD_EJECT_CARD;

impl Reader {
    /// Connects; gives the protocol in use.
    pub(crate) fn connect(
        &self,
        handle: Handle,
        share: u32,
        protocols: u32,
        deadline: Option<Instant>,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<u32, CallError> {
        let _interest = Interest::new(self);
        self.wait_until_open(deadline, is_cancelled)?;
        let mut state = self.state();
        if state.access == Access::Claimed {
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
        drop(state);

        let connect = |state: &mut SlotState| {
            state.check_reader()?;
            state.connections.connect(handle, share)?;
            state.use_card(share);
            Ok(state.protocol)
        };
        if share == DIRECT {
            // The driver is not asked, and need not be free.
            return self.change(|state| {
                state.choose_raw(protocols);
                connect(state)
            });
        }
        let mut driver = self.driver_until(deadline)?;
        if driver.slot().knows_presence() {
            self.poll_slot(driver.slot());
        }
        if self.state().status & PRESENT == 0 {
            return Err(CallError::NoSmartcard);
        }
        self.power_up_if_needed(driver.slot(), deadline)?;
        {
            let state = self.state();
            state.check_reader()?;
            if state.status & POWERED == 0 {
                return Err(CallError::UnpoweredCard);
            }
        }
        self.choose_protocol(driver.slot(), protocols, deadline)?;
        self.change(connect)
    }

    /// Gives a connection new terms; gives the protocol in use.
    pub(crate) fn reconnect(
        &self,
        handle: Handle,
        share: u32,
        protocols: u32,
        initialization: u32,
        deadline: Option<Instant>,
    ) -> Result<u32, CallError> {
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
            state.connections.reconnect(handle, share)?;
            state.use_card(share);
            Ok(state.protocol)
        };
        check(&self.state())?;
        if share == DIRECT && !resets {
            return self.change(|state| {
                check(state)?;
                state.choose_raw(protocols);
                reconnect(state)
            });
        }
        let mut driver = self.driver_until(deadline)?;
        if resets {
            // In one step: no other connection begins a transaction between the check and the notice.
            self.change(|state| {
                check(state)?;
                state.connections.notify_reset();
                Ok::<(), CallError>(())
            })?;
            match self.reset(driver.slot(), initialization, deadline) {
                Ok(()) => (),
                Err(SlotError::NoCard) => return Err(CallError::NoSmartcard),
                Err(SlotError::NoDevice) => return Err(CallError::ReaderUnavailable),
                Err(SlotError::TimedOut | SlotError::NotStarted) => return Err(CallError::Timeout),
                Err(_) => return Err(CallError::UnresponsiveCard),
            }
        } else {
            check(&self.state())?;
        }
        if share == DIRECT {
            self.change_quietly(|state| state.choose_raw(protocols));
        } else {
            self.power_up_if_needed(driver.slot(), deadline)?;
            self.choose_protocol(driver.slot(), protocols, deadline)?;
        }
        self.change(reconnect)
    }

    /// Ends a connection.
    pub(crate) fn disconnect(
        &self,
        handle: Handle,
        disposition: u32,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<(), CallError> {
        let mut state = self.state();
        while disposition != 0 && !state.connections.may_use(handle) {
            state = self.wait(state, None, is_cancelled)?;
        }
        // No connection, be it older or made meanwhile, may begin a transaction with a card that is about to
        // be reset.
        let held = state.connections.hold(handle);
        let resets = held.is_ok() && matches!(disposition, RESET_CARD | UNPOWER_CARD);
        if resets && state.status & PRESENT != 0 {
            state.connections.notify_reset();
        }
        drop(state);
        if resets {
            let mut driver = self.driver();
            if self.state().status & PRESENT == 0 {
                self.change(|state| state.protocol = 0);
            } else {
                self.change(|state| state.connections.notify_reset());
                if disposition == RESET_CARD {
                    // The connection ends, whether the card answers or not.
                    let _ = self.reset(driver.slot(), RESET_CARD, None);
                } else {
                    self.unpower(driver.slot());
                }
            }
        }
        self.change(|state| {
            state.connections.disconnect(handle);
            state.leave_card();
            state.plan_to_give_back();
        });
        self.wakers().schedule.post();
        Ok(())
    }

    /// Ends a connection whose client was released. If it has a transaction the card is reset: its state is
    /// not known.
    pub(crate) fn abandon(&self, handle: Handle) {
        let is_left_in_the_middle = {
            let state = self.state();
            state.connections.is_owner(handle) && state.connections.notice(handle).is_ok()
        };
        let disposition = if is_left_in_the_middle { RESET_CARD } else { 0 };
        // Without a transaction of another connection in its way it does not wait, and it cannot fail.
        let _ = self.disconnect(handle, disposition, &|| false);
    }

    /// Begins a transaction, in the order in which connections asked for it.
    pub(crate) fn begin(
        &self,
        handle: Handle,
        deadline: Option<Instant>,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<(), CallError> {
        let begun = self.wait_to_begin(handle, deadline, is_cancelled);
        if begun.is_err() {
            self.change_quietly(|state| state.connections.leave_queue(handle));
        }
        begun
    }

    fn wait_to_begin(
        &self,
        handle: Handle,
        deadline: Option<Instant>,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<(), CallError> {
        let mut state = self.state();
        loop {
            state.check_reader()?;
            state.connections.notice(handle)?;
            if state.connections.try_begin(handle) {
                return Ok(());
            }
            state.connections.queue(handle);
            state = self.wait(state, deadline, is_cancelled)?;
        }
    }

    /// Ends a transaction.
    pub(crate) fn end_transaction(&self, handle: Handle, disposition: u32) -> Result<(), CallError> {
        let check = |state: &SlotState| -> Result<(), CallError> {
            state.check_listed()?;
            state.connections.notice(handle)?;
            if disposition != 0 {
                state.check_access(handle)?;
            }
            Ok(())
        };
        check(&self.state())?;
        let mut result = Ok(());
        if matches!(disposition, RESET_CARD | UNPOWER_CARD) {
            let mut driver = self.driver();
            self.change(|state| {
                check(state)?;
                state.connections.notify_reset();
                Ok::<(), CallError>(())
            })?;
            result = self
                .reset(driver.slot(), disposition, None)
                .map_err(|error| match error {
                    SlotError::NoCard => CallError::RemovedCard,
                    SlotError::NoDevice => CallError::ReaderUnavailable,
                    _ => CallError::NotTransacted,
                });
        }
        result.and(self.change_quietly(|state| state.connections.end(handle)))
    }

    /// Whether a connection can be used: `SCardStatus`.
    pub(crate) fn check(&self, handle: Handle) -> Result<(), CallError> {
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
