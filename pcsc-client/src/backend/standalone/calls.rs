//! What connections do with a reader: the calls of the API, as pcscd answers them.

use std::time::Instant;

use super::card_state::{Handle, DIRECT, EXCLUSIVE, RAW, SHARED};
use super::reader::{GaveUp, Reader};
use super::slot::{Fault, Powered, Slot};
use super::state::{State, ABSENT, POWERED, PRESENT, SWALLOWED};
use crate::error::Error;

const T0: u32 = 1;
const T1: u32 = 2;
/// What old programs pass for T=0 or T=1.
const ANY_OLD: u32 = 0x1000;

const RESET_CARD: u32 = 1;
const UNPOWER_CARD: u32 = 2;
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
        });
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

    /// Exchanges an APDU. Gives the response's length, which may be more than there is room for, and the
    /// number of the protocol used.
    pub fn transmit(
        &self,
        handle: Handle,
        protocol: u32,
        command: &[u8],
        response: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<(usize, u32), Error> {
        let check = |state: &State| -> Result<(), Error> {
            state.check_access(handle)?;
            state.check_reader()?;
            state.connections.notice(handle)?;
            if protocol != RAW {
                if state.status & ABSENT != 0 {
                    return Err(Error::NoSmartcard);
                }
                if protocol != ANY_OLD && protocol != state.protocol {
                    return Err(Error::ProtoMismatch);
                }
            }
            Ok(())
        };
        check(&self.state())?;
        let mut slot = self.turn_by(deadline)?;
        // While this call waited for its turn the card may have been reset, or taken.
        let used = {
            let state = self.state();
            check(&state)?;
            if protocol == ANY_OLD {
                state.protocol
            } else {
                protocol
            }
        };
        let fault = match slot.with_room(response, |slot, room| slot.transmit(command, room)) {
            Ok(length) => return Ok((length, protocol_number(used))),
            Err(fault) => fault,
        };
        match fault {
            // Contexts hear of it when the next look counts it.
            Fault::NoCard => self.change_quietly(|state| {
                state.status = ABSENT;
                state.forget_card();
            }),
            Fault::Reset => self.change(|state| state.connections.tell_reset()),
            // Nobody knows what the card is in the middle of.
            Fault::TimedOut => {
                self.change(|state| state.connections.tell_reset());
                slot.driver().set_deadline(None);
                let _ = self.reset(slot.driver(), UNPOWER_CARD);
            }
            Fault::NoDevice => self.on_trouble(Fault::NoDevice),
            _ => (),
        }
        Err(match fault {
            Fault::NoDevice => Error::ReaderUnavailable,
            Fault::NoCard => Error::NoSmartcard,
            Fault::BufferTooSmall => Error::InsufficientBuffer,
            Fault::Reset => Error::ResetCard,
            Fault::TimedOut => Error::Timeout,
            _ => Error::NotTransacted,
        })
    }

    /// Uses a function of the reader's own; gives the answer's length, which may be more than there is room
    /// for.
    pub fn control(
        &self,
        handle: Handle,
        code: u32,
        data: &[u8],
        answer: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<usize, Error> {
        let check = |state: &State| {
            state.check_access(handle)?;
            state.check_reader()
        };
        check(&self.state())?;
        let mut slot = self.turn_by(deadline)?;
        check(&self.state())?;
        let answered = slot.with_room(answer, |slot, room| slot.control(code, data, room));
        answered.map_err(|fault| match fault {
            Fault::NoDevice => Error::ReaderUnavailable,
            Fault::Unsupported => Error::UnsupportedFeature,
            Fault::BufferTooSmall => Error::InsufficientBuffer,
            Fault::TimedOut => Error::Timeout,
            _ => Error::NotTransacted,
        })
    }

    /// Gets an attribute; gives its length.
    pub fn get_attribute(&self, handle: Handle, id: u32, value: &mut [u8]) -> Result<usize, Error> {
        /// `SCARD_ATTR_DEVICE_FRIENDLY_NAME` and `SCARD_ATTR_DEVICE_SYSTEM_NAME`, as C has them and as the
        /// pcsc crate has them.
        const NAMES: [u32; 4] = [0x7FFF_0003, 0x7FFF_0004, 0x0003, 0x0004];
        self.check_for_attribute(handle)?;
        let got = self.turn().driver().get_attribute(id, value);
        got.or_else(|fault| match fault {
            Fault::Unsupported if NAMES.contains(&id) => {
                let name = self.name.as_bytes();
                let room = value.get_mut(..=name.len()).ok_or(Error::InsufficientBuffer)?;
                let (text, end) = room.split_at_mut(name.len());
                text.copy_from_slice(name);
                end.fill(0);
                Ok(name.len() + 1)
            }
            Fault::Unsupported => Err(Error::UnsupportedFeature),
            Fault::BufferTooSmall => Err(Error::InsufficientBuffer),
            _ => Err(Error::NotTransacted),
        })
    }

    /// Sets an attribute.
    pub fn set_attribute(&self, handle: Handle, id: u32, value: &[u8]) -> Result<(), Error> {
        self.check_for_attribute(handle)?;
        let set = self.turn().driver().set_attribute(id, value);
        set.map_err(|fault| match fault {
            Fault::Unsupported => Error::UnsupportedFeature,
            _ => Error::NotTransacted,
        })
    }

    fn check_for_attribute(&self, handle: Handle) -> Result<(), Error> {
        let state = self.state();
        state.check_access(handle)?;
        state.check_reader()?;
        state.connections.notice(handle)
    }

    fn power_up_if_needed(&self, slot: &mut dyn Slot) -> Result<(), Error> {
        let needs_power = {
            let state = self.state();
            !state.has_power && state.status & PRESENT != 0
        };
        if needs_power {
            let powered = slot.power_up(false);
            let is_late = powered == Err(Fault::TimedOut);
            self.note_power_up(powered);
            if is_late {
                return Err(Error::Timeout);
            }
        }
        Ok(())
    }

    fn note_power_up(&self, powered: Result<Powered, Fault>) {
        match powered {
            // Not the card's fault: the bus will tell that the reader is gone.
            Err(Fault::NoDevice) => self.on_trouble(Fault::NoDevice),
            powered => self.change(|state| state.set_power_up(powered)),
        }
    }

    fn reset(&self, slot: &mut dyn Slot, kind: u32) -> Result<(), Fault> {
        let powered = if kind == RESET_CARD {
            slot.power_up(true)
        } else {
            // What matters is whether the card answers afterwards.
            let _ = slot.power_down();
            slot.power_up(false)
        };
        let fault = powered.as_ref().err().copied();
        self.note_power_up(powered);
        fault.map_or(Ok(()), Err)
    }

    fn unpower(&self, slot: &mut dyn Slot) {
        let down = slot.power_down();
        self.change(|state| {
            state.status = match down {
                Ok(()) => PRESENT,
                Err(Fault::NoCard) => ABSENT,
                Err(_) => PRESENT | SWALLOWED,
            };
            state.has_power = false;
            state.protocol = 0;
        });
    }

    /// Chooses the protocol where none is chosen since the reset.
    fn choose_protocol(&self, slot: &mut dyn Slot, protocols: u32) -> Result<(), Error> {
        if protocols & RAW != 0 {
            self.change(|state| state.choose_raw(protocols));
            return Ok(());
        }
        let card = {
            let state = self.state();
            state.check_protocol(protocols)?;
            if state.protocol != 0 {
                return Ok(());
            }
            state.card.clone()
        };
        let protocols = if protocols & ANY_OLD != 0 {
            T0 | T1
        } else {
            protocols
        };
        let card = card.ok_or(Error::UnpoweredCard)?;
        let wanted = protocols & card.offered & (T0 | T1);
        let best = if wanted & T1 != 0 { T1 } else { wanted & T0 };
        if best == 0 {
            return Err(Error::ProtoMismatch);
        }
        let chosen = match slot.set_protocol(best) {
            Ok(()) => Ok(best),
            Err(Fault::ProtocolUnsupported) if card.first != wanted => {
                if card.first & wanted == 0 {
                    return Err(Error::ProtoMismatch);
                }
                slot.set_protocol(card.first)
                    .map(|()| card.first)
                    .map_err(|_| Error::UnresponsiveCard)
            }
            Err(Fault::NoCard) => Err(Error::NoSmartcard),
            Err(Fault::TimedOut) => Err(Error::Timeout),
            Err(_) => Err(Error::UnresponsiveCard),
        };
        let chosen = chosen?;
        self.change(|state| state.protocol = chosen);
        Ok(())
    }
}

/// The number by which drivers and their clients know a protocol in an exchange: 0 is T=0, 1 is T=1.
fn protocol_number(protocol: u32) -> u32 {
    match protocol {
        T0 => 0,
        T1 => 1,
        other => other,
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
