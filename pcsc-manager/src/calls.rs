//! Connections and their transactions, as pcscd has them.

use std::time::Instant;

use crate::card_state::{Handle, DIRECT, EXCLUSIVE, RAW, SHARED, T0, T1};
use crate::error::CallError as Error;
use crate::power::{ANY_OLD, RESET_CARD, UNPOWER_CARD};
use crate::reader::{GaveUp, Interest, Reader};
use crate::slot::Fault;
use crate::state::{State, ABSENT, POWERED, PRESENT, SWALLOWED};

const EJECT_CARD: u32 = 3;

impl Reader {
    /// Connects; gives the protocol in use.
    pub fn connect(
        &self,
        handle: Handle,
        share: u32,
        protocols: u32,
        deadline: Option<Instant>,
        gave_up: GaveUp<'_>,
    ) -> Result<u32, Error> {
        let _interest = Interest::new(self);
        self.wait_for_first_look(deadline, gave_up)?;
        let mut state = self.state();
        if state.is_claimed() {
            drop(state);
            self.look();
            state = self.state();
        }
        loop {
            if state.is_claimed() {
                return Err(Error::SharingViolation);
            }
            state.check_reader()?;
            if state.connections.is_exclusive() {
                return Err(Error::SharingViolation);
            }
            if !state.connections.is_owned() {
                break;
            }
            state = self.wait(state, deadline, gave_up)?;
        }
        drop(state);

        let connect = |state: &mut State| {
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
        let mut slot = self.turn_by(deadline)?;
        if self.state().status & PRESENT == 0 {
            return Err(Error::NoSmartcard);
        }
        self.power_up_if_needed(slot.driver())?;
        {
            let state = self.state();
            state.check_reader()?;
            if state.status & POWERED == 0 {
                return Err(Error::UnpoweredCard);
            }
        }
        self.choose_protocol(slot.driver(), protocols)?;
        self.change(connect)
    }

    /// Gives a connection new terms; gives the protocol in use.
    pub fn reconnect(
        &self,
        handle: Handle,
        share: u32,
        protocols: u32,
        initialization: u32,
        deadline: Option<Instant>,
    ) -> Result<u32, Error> {
        let resets = matches!(initialization, RESET_CARD | UNPOWER_CARD);
        let check_card = |state: &State| {
            if state.status & ABSENT != 0 {
                return Err(Error::NoSmartcard);
            }
            if !resets && state.status & SWALLOWED != 0 {
                return Err(Error::UnresponsiveCard);
            }
            if !resets && share != DIRECT && protocols & RAW == 0 {
                state.check_protocol(protocols)?;
            }
            Ok(())
        };
        let check = |state: &State| {
            state.check_reader()?;
            state.check_access(handle)?;
            // pcscd resets the card first, and again at every try of a client that waits to be alone.
            let alone = state.connections.check_alone(handle, share);
            // Nobody waits for what does not mend.
            if !resets || alone.is_err() {
                check_card(state)?;
            }
            alone
        };
        let reconnect = |state: &mut State| {
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
        let mut slot = self.turn_by(deadline)?;
        check(&self.state())?;
        if resets {
            self.change(|state| state.connections.tell_reset());
            match self.reset(slot.driver(), initialization) {
                Ok(()) => (),
                Err(Fault::NoCard) => return Err(Error::NoSmartcard),
                Err(Fault::NoDevice) => return Err(Error::ReaderUnavailable),
                Err(Fault::TimedOut) => return Err(Error::Timeout),
                Err(_) => return Err(Error::UnresponsiveCard),
            }
        }
        if share == DIRECT {
            self.change_quietly(|state| state.choose_raw(protocols));
        } else {
            self.power_up_if_needed(slot.driver())?;
            self.choose_protocol(slot.driver(), protocols)?;
        }
        self.change(reconnect)
    }

    /// Ends a connection.
    pub fn disconnect(&self, handle: Handle, disposition: u32, gave_up: GaveUp<'_>) -> Result<(), Error> {
        let mut state = self.state();
        while disposition != 0 && !state.connections.may_use(handle) {
            state = self.wait(state, None, gave_up)?;
        }
        let ended = state.connections.end_all(handle);
        let resets = ended.is_ok() && matches!(disposition, RESET_CARD | UNPOWER_CARD);
        if resets && state.status & PRESENT != 0 {
            // Whoever waited for the end of a transaction begins none with a card that is about to be reset.
            state.connections.tell_reset();
        }
        drop(state);
        if resets {
            let mut slot = self.turn();
            if self.state().status & PRESENT == 0 {
                self.change(|state| state.protocol = 0);
            } else {
                self.change(|state| state.connections.tell_reset());
                if disposition == RESET_CARD {
                    // The connection ends, whether the card answers or not.
                    let _ = self.reset(slot.driver(), RESET_CARD);
                } else {
                    self.unpower(slot.driver());
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

    /// Ends a connection whose context ends. A card in a transaction of it is reset: nobody can tell in
    /// which state it is.
    pub fn abandon(&self, handle: Handle) {
        let is_left_in_the_middle = {
            let state = self.state();
            state.connections.is_owner(handle) && state.connections.notice(handle).is_ok()
        };
        let disposition = if is_left_in_the_middle { RESET_CARD } else { 0 };
        // Nobody can refuse the owner, and leaving the card waits for nobody.
        let _ = self.disconnect(handle, disposition, &|| false);
    }

    /// Begins a transaction, in the order in which connections asked for it.
    pub fn begin(&self, handle: Handle, deadline: Option<Instant>, gave_up: GaveUp<'_>) -> Result<(), Error> {
        let begun = self.wait_to_begin(handle, deadline, gave_up);
        if begun.is_err() {
            self.change_quietly(|state| state.connections.leave_queue(handle));
        }
        begun
    }

    fn wait_to_begin(
        &self,
        handle: Handle,
        deadline: Option<Instant>,
        gave_up: GaveUp<'_>,
    ) -> Result<(), Error> {
        let mut state = self.state();
        loop {
            state.check_reader()?;
            state.connections.notice(handle)?;
            if state.connections.try_begin(handle) {
                return Ok(());
            }
            state.connections.queue(handle);
            state = self.wait(state, deadline, gave_up)?;
        }
    }

    /// Ends a transaction.
    pub fn end_transaction(&self, handle: Handle, disposition: u32) -> Result<(), Error> {
        let check = |state: &State| -> Result<(), Error> {
            state.check_there()?;
            state.connections.notice(handle)?;
            if disposition != 0 {
                state.check_access(handle)?;
            }
            Ok(())
        };
        check(&self.state())?;
        let mut result = Ok(());
        if matches!(disposition, RESET_CARD | UNPOWER_CARD) {
            let mut slot = self.turn();
            check(&self.state())?;
            result = self
                .reset(slot.driver(), disposition)
                .map_err(|fault| match fault {
                    Fault::NoCard => Error::RemovedCard,
                    Fault::NoDevice => Error::ReaderUnavailable,
                    _ => Error::NotTransacted,
                });
            self.change(|state| state.connections.tell_reset());
        }
        result.and(self.change_quietly(|state| state.connections.end(handle)))
    }

    /// Whether a connection can be used: `SCardStatus`.
    pub fn check(&self, handle: Handle) -> Result<(), Error> {
        let state = self.state();
        state.check_there()?;
        state.check_access(handle)?;
        state.connections.notice(handle)?;
        state.check_reader()
    }
}

/// Refuses terms of a connection that no reader could meet.
pub fn check_terms(share: u32, protocols: u32) -> Result<(), Error> {
    if share != DIRECT && protocols & (T0 | T1 | RAW | ANY_OLD) == 0 {
        return Err(Error::ProtoMismatch);
    }
    if ![EXCLUSIVE, SHARED, DIRECT].contains(&share) {
        return Err(Error::InvalidValue);
    }
    Ok(())
}

/// Refuses a disposition that is none.
pub fn check_disposition(disposition: u32) -> Result<(), Error> {
    if disposition > EJECT_CARD {
        return Err(Error::InvalidValue);
    }
    Ok(())
}
