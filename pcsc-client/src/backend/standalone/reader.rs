//! A reader with its card, as all connections of the process share it. The rules are pcscd's.
//!
//! Two locks: `slot` for as long as the driver works, `state` for bookkeeping only. They are taken in
//! this order, and nobody waits for another connection while holding `slot`.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::board::{lock, wait_until, Board};
use super::card_state::{Connections, Handle, DIRECT, EXCLUSIVE, SHARED};
use super::slot::{Fault, Powered, Slot};
use crate::error::Error;
use crate::wire::{ReaderState, READER_STATE_SIZE};

const UNKNOWN: u32 = 0x01;
const ABSENT: u32 = 0x02;
const PRESENT: u32 = 0x04;
const SWALLOWED: u32 = 0x08;
const POWERED: u32 = 0x10;
const NEGOTIABLE: u32 = 0x20;
const UP: u32 = PRESENT | POWERED | NEGOTIABLE;

const T0: u32 = 1;
const T1: u32 = 2;
const RAW: u32 = 4;
/// What old programs pass for T=0 or T=1.
const ANY_OLD: u32 = 0x1000;

const RESET_CARD: u32 = 1;
const UNPOWER_CARD: u32 = 2;
const EJECT_CARD: u32 = 3;

/// How long a card that nobody uses keeps its power.
pub const POWER_GRACE: Duration = Duration::from_secs(5);

/// A reader and its connections.
pub struct Reader {
    pub name: String,
    slot: Mutex<Box<dyn Slot>>,
    state: Mutex<State>,
    /// Signalled when a transaction ends or the card goes.
    freed: Condvar,
    board: Arc<Board>,
}

struct State {
    connections: Connections,
    status: u32,
    event_counter: u32,
    card: Option<Powered>,
    protocol: u32,
    has_power: bool,
    power_down_at: Option<Instant>,
}

/// Whether a caller gave up waiting: its context was released.
pub type GaveUp<'a> = &'a dyn Fn() -> bool;

impl Reader {
    /// A reader whose slot is looked at once.
    pub fn new(name: String, slot: Box<dyn Slot>, board: Arc<Board>) -> Reader {
        let reader = Reader {
            name,
            slot: Mutex::new(slot),
            state: Mutex::new(State {
                connections: Connections::default(),
                status: ABSENT,
                event_counter: 0,
                card: None,
                protocol: 0,
                has_power: false,
                power_down_at: None,
            }),
            freed: Condvar::new(),
            board,
        };
        reader.look();
        reader
    }

    /// The state as pcscd would send it.
    pub fn to_bytes(&self) -> [u8; READER_STATE_SIZE] {
        let state = self.state();
        let atr = state.card.as_ref().map_or(&[][..], |card| &card.atr);
        ReaderState {
            name: self.name.as_bytes(),
            event_counter: state.event_counter,
            state: state.status,
            sharing: state.connections.sharing(),
            atr,
            protocol: state.protocol,
        }
        .to_bytes()
    }

    /// Looks whether a card came or went. A new card is powered up, as pcscd does.
    pub fn look(&self) {
        let mut slot = lock(&self.slot);
        let present = slot.is_present();
        let was_present = self.state().status & PRESENT != 0;
        match present {
            Ok(true) if !was_present => {
                let powered = slot.power_up(false);
                self.change(|state| {
                    state.event_counter = (state.event_counter + 1) & 0xFFFF;
                    state.set_power_up(powered);
                });
            }
            Ok(false) if was_present => self.on_removal(ABSENT),
            Ok(_) => (),
            Err(Fault::NoCard) if was_present => self.on_removal(ABSENT),
            Err(Fault::NoDevice) => self.on_gone(),
            Err(fault) => log::debug!("{}: cannot tell whether a card is present: {fault:?}", self.name),
        }
    }

    /// The reader is gone: its connections are told.
    pub fn on_gone(&self) {
        self.on_removal(UNKNOWN);
    }

    fn on_removal(&self, status: u32) {
        self.change(|state| {
            if state.status & PRESENT != 0 {
                state.event_counter = (state.event_counter + 1) & 0xFFFF;
                state.connections.tell_removed();
            }
            state.status = status;
            state.forget_card();
        });
    }

    /// When the card is to lose its power, if nobody uses it by then.
    pub fn power_down_at(&self) -> Option<Instant> {
        self.state().power_down_at
    }

    /// Takes the power from a card that nobody used for long enough.
    pub fn power_down_if_due(&self) {
        let mut slot = lock(&self.slot);
        let mut state = self.state();
        if state.connections.is_idle() && state.power_down_at.is_some_and(|at| at <= Instant::now()) {
            state.power_down_at = None;
            state.has_power = false;
            state.protocol = 0;
            drop(state);
            if let Err(fault) = slot.power_down() {
                log::debug!("{}: power down failed: {fault:?}", self.name);
            }
        }
    }

    /// Connects; gives the protocol in use.
    pub fn connect(
        &self,
        handle: Handle,
        share: u32,
        protocols: u32,
        deadline: Option<Instant>,
        gave_up: GaveUp<'_>,
    ) -> Result<u32, Error> {
        let mut state = self.state();
        loop {
            state.check_reader()?;
            if state.connections.refuses_newcomers() {
                return Err(Error::SharingViolation);
            }
            if !state.connections.is_owned() {
                break;
            }
            state = self.wait(state, deadline, gave_up)?;
        }
        drop(state);

        let mut slot = lock(&self.slot);
        if share != DIRECT {
            if self.state().status & PRESENT == 0 {
                return Err(Error::NoSmartcard);
            }
            if !self.state().has_power {
                let powered = slot.power_up(false);
                self.change(|state| state.set_power_up(powered));
            }
            if self.state().status & POWERED == 0 {
                return Err(Error::UnpoweredCard);
            }
        }
        self.choose_protocol(&mut **slot, share, protocols)?;
        self.change(|state| {
            state.connections.connect(handle, share)?;
            state.power_down_at = None;
            Ok(if share == DIRECT { 0 } else { state.protocol })
        })
    }

    /// Gives a connection new terms; gives the protocol in use.
    pub fn reconnect(
        &self,
        handle: Handle,
        share: u32,
        protocols: u32,
        initialization: u32,
    ) -> Result<u32, Error> {
        let mut slot = lock(&self.slot);
        {
            let state = self.state();
            state.check_reader()?;
            state.check_access(handle)?;
        }
        match initialization {
            RESET_CARD | UNPOWER_CARD => {
                self.change(|state| state.connections.tell_reset());
                match self.reset(&mut **slot, initialization) {
                    Ok(()) => (),
                    Err(Fault::NoCard) => return Err(Error::NoSmartcard),
                    Err(_) => return Err(Error::UnresponsiveCard),
                }
            }
            _ => {
                let state = self.state();
                if state.status & ABSENT != 0 {
                    return Err(Error::NoSmartcard);
                }
                if state.status & SWALLOWED != 0 {
                    return Err(Error::UnresponsiveCard);
                }
            }
        }
        self.choose_protocol(&mut **slot, share, protocols)?;
        let active = self.change(|state| {
            state.connections.reconnect(handle, share)?;
            Ok(if share == DIRECT { 0 } else { state.protocol })
        });
        self.freed.notify_all();
        active
    }

    /// Ends a connection.
    pub fn disconnect(&self, handle: Handle, disposition: u32, gave_up: GaveUp<'_>) -> Result<(), Error> {
        let mut state = self.state();
        while disposition != 0 && !state.connections.may_use(handle) {
            state = self.wait(state, None, gave_up)?;
        }
        let ended = state.connections.end_all(handle);
        drop(state);
        if ended.is_ok() && matches!(disposition, RESET_CARD | UNPOWER_CARD) {
            let mut slot = lock(&self.slot);
            if self.state().status & PRESENT != 0 {
                self.change(|state| state.connections.tell_reset());
                if disposition == RESET_CARD {
                    let _ = self.reset(&mut **slot, RESET_CARD);
                } else {
                    let down = slot.power_down();
                    self.change(|state| {
                        state.status = if down.is_ok() {
                            PRESENT
                        } else {
                            PRESENT | SWALLOWED
                        };
                        state.has_power = false;
                        state.protocol = 0;
                    });
                }
            }
        }
        self.remove(handle);
        Ok(())
    }

    /// Ends a connection whose context ends. A card in a transaction of it is reset: nobody can tell in
    /// which state it is.
    pub fn abandon(&self, handle: Handle) {
        let in_transaction = {
            let state = self.state();
            state.connections.is_owned() && state.connections.may_use(handle)
        };
        let knows_all = self.state().connections.notice(handle).is_ok();
        let disposition = if in_transaction && knows_all {
            RESET_CARD
        } else {
            0
        };
        let _ = self.disconnect(handle, disposition, &|| false);
    }

    fn remove(&self, handle: Handle) {
        self.change(|state| {
            state.connections.disconnect(handle);
            if state.connections.is_idle() && state.has_power {
                state.power_down_at = Some(Instant::now() + POWER_GRACE);
            }
        });
        self.freed.notify_all();
    }

    /// Begins a transaction, in the order in which connections asked for it.
    pub fn begin(&self, handle: Handle, deadline: Option<Instant>, gave_up: GaveUp<'_>) -> Result<(), Error> {
        let mut state = self.state();
        loop {
            let refused = state
                .check_reader()
                .and_then(|()| state.connections.notice(handle));
            if let Err(error) = refused {
                state.connections.leave_queue(handle);
                self.freed.notify_all();
                return Err(error);
            }
            if state.connections.try_begin(handle) {
                return Ok(());
            }
            state.connections.queue(handle);
            state = match self.wait(state, deadline, gave_up) {
                Ok(state) => state,
                Err(error) => {
                    self.state().connections.leave_queue(handle);
                    self.freed.notify_all();
                    return Err(error);
                }
            };
        }
    }

    /// Ends a transaction.
    pub fn end(&self, handle: Handle, disposition: u32) -> Result<(), Error> {
        let mut result = Ok(());
        {
            let state = self.state();
            state.connections.notice(handle)?;
            if disposition != 0 {
                state.check_access(handle)?;
            }
        }
        if matches!(disposition, RESET_CARD | UNPOWER_CARD) {
            let mut slot = lock(&self.slot);
            result = self.reset(&mut **slot, disposition).map_err(|fault| match fault {
                Fault::NoCard => Error::RemovedCard,
                _ => Error::UnresponsiveCard,
            });
            self.change(|state| state.connections.tell_reset());
        }
        let ended = self.state().connections.end(handle);
        self.freed.notify_all();
        result.and(ended)
    }

    /// Whether a connection can be used: `SCardStatus`.
    pub fn check(&self, handle: Handle) -> Result<(), Error> {
        let state = self.state();
        state.check_access(handle)?;
        state.connections.notice(handle)?;
        state.check_reader()
    }

    /// Waits until no other connection has a transaction, if the caller waits at all.
    pub fn wait_for_access(
        &self,
        handle: Handle,
        waits: bool,
        deadline: Option<Instant>,
        gave_up: GaveUp<'_>,
    ) -> Result<(), Error> {
        let mut state = self.state();
        while let Err(violation) = state.check_access(handle) {
            if !waits {
                return Err(violation);
            }
            state = self.wait(state, deadline, gave_up)?;
        }
        Ok(())
    }

    /// Exchanges an APDU; gives the response's length.
    pub fn transmit(
        &self,
        handle: Handle,
        protocol: u32,
        command: &[u8],
        response: &mut [u8],
    ) -> Result<usize, Error> {
        if response.len() < 2 {
            return Err(Error::InsufficientBuffer);
        }
        {
            let state = self.state();
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
        }
        lock(&self.slot)
            .transmit(command, response)
            .map_err(|fault| match fault {
                Fault::NoDevice => Error::ReaderUnavailable,
                Fault::NoCard => Error::NoSmartcard,
                Fault::BufferTooSmall => Error::InsufficientBuffer,
                _ => Error::NotTransacted,
            })
    }

    /// Uses a function of the reader's own; gives the answer's length.
    pub fn control(&self, handle: Handle, code: u32, data: &[u8], answer: &mut [u8]) -> Result<usize, Error> {
        {
            let state = self.state();
            state.check_access(handle)?;
            state.check_reader()?;
        }
        lock(&self.slot)
            .control(code, data, answer)
            .map_err(attribute_error)
    }

    /// Gets an attribute; gives its length.
    pub fn get_attribute(&self, handle: Handle, id: u32, value: &mut [u8]) -> Result<usize, Error> {
        const FRIENDLY_NAME: u32 = 0x0003;
        const SYSTEM_NAME: u32 = 0x0004;
        self.check(handle)?;
        let got = lock(&self.slot).get_attribute(id, value);
        match got {
            Err(Fault::Unsupported) if matches!(id, FRIENDLY_NAME | SYSTEM_NAME) => {
                let name = self.name.as_bytes();
                let room = value.get_mut(..=name.len()).ok_or(Error::InsufficientBuffer)?;
                room[..name.len()].copy_from_slice(name);
                room[name.len()] = 0;
                Ok(name.len() + 1)
            }
            got => got.map_err(attribute_error),
        }
    }

    /// Sets an attribute.
    pub fn set_attribute(&self, handle: Handle, id: u32, value: &[u8]) -> Result<(), Error> {
        self.check(handle)?;
        lock(&self.slot).set_attribute(id, value).map_err(attribute_error)
    }

    /// Tells those who wait that they may have to give up.
    pub fn wake(&self) {
        // Under the lock, so that nobody is between the question and the sleep.
        let _state = self.state();
        self.freed.notify_all();
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
        self.change(|state| state.set_power_up(powered));
        fault.map_or(Ok(()), Err)
    }

    /// Chooses the protocol where none is chosen since the reset.
    fn choose_protocol(&self, slot: &mut dyn Slot, share: u32, protocols: u32) -> Result<(), Error> {
        if protocols & RAW != 0 {
            self.change(|state| state.protocol = RAW);
            return Ok(());
        }
        if share == DIRECT {
            return Ok(());
        }
        let protocols = if protocols & ANY_OLD != 0 {
            T0 | T1
        } else {
            protocols
        };
        let (current, card) = {
            let state = self.state();
            (state.protocol, state.card.clone())
        };
        if current != 0 {
            return if protocols & current != 0 {
                Ok(())
            } else {
                Err(Error::ProtoMismatch)
            };
        }
        let card = card.ok_or(Error::UnpoweredCard)?;
        let wanted = protocols & card.offered & (T0 | T1);
        let best = if wanted & T1 != 0 { T1 } else { wanted & T0 };
        if best == 0 {
            return Err(Error::ProtoMismatch);
        }
        let chosen = match slot.set_protocol(best) {
            Ok(()) => Ok(best),
            Err(Fault::ProtocolUnsupported) if card.first != best && card.first & wanted != 0 => slot
                .set_protocol(card.first)
                .map(|()| card.first)
                .map_err(|_| Error::UnresponsiveCard),
            Err(Fault::ProtocolUnsupported) if card.first != best => Err(Error::ProtoMismatch),
            Err(Fault::NoCard) => Err(Error::NoSmartcard),
            Err(_) => Err(Error::UnresponsiveCard),
        };
        let chosen = chosen?;
        self.change(|state| state.protocol = chosen);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Changes the state and posts that it did.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.board.post();
        self.freed.notify_all();
        result
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
        gave_up: GaveUp<'_>,
    ) -> Result<MutexGuard<'a, State>, Error> {
        if gave_up() {
            return Err(Error::InvalidHandle);
        }
        wait_until(&self.freed, state, deadline).map_err(|_| Error::Timeout)
    }
}

impl State {
    fn check_reader(&self) -> Result<(), Error> {
        if self.status & UNKNOWN != 0 {
            return Err(Error::ReaderUnavailable);
        }
        Ok(())
    }

    fn check_access(&self, handle: Handle) -> Result<(), Error> {
        if self.connections.may_use(handle) {
            Ok(())
        } else {
            Err(Error::SharingViolation)
        }
    }

    fn set_power_up(&mut self, powered: Result<Powered, Fault>) {
        self.protocol = 0;
        self.has_power = powered.is_ok();
        match powered {
            Ok(card) => {
                self.status = UP;
                self.card = Some(card);
                if self.connections.is_idle() {
                    self.power_down_at = Some(Instant::now() + POWER_GRACE);
                }
            }
            Err(Fault::NoCard) => {
                self.status = ABSENT;
                self.forget_card();
            }
            Err(_) => {
                self.status = PRESENT | SWALLOWED;
                self.forget_card();
            }
        }
    }

    fn forget_card(&mut self) {
        self.card = None;
        self.protocol = 0;
        self.has_power = false;
        self.power_down_at = None;
    }
}

fn attribute_error(fault: Fault) -> Error {
    match fault {
        Fault::NoDevice => Error::ReaderUnavailable,
        Fault::Unsupported => Error::UnsupportedFeature,
        Fault::BufferTooSmall => Error::InsufficientBuffer,
        _ => Error::NotTransacted,
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
