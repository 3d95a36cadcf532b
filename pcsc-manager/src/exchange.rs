//! What goes to a card and to its reader: exchanges, control requests and attributes, as pcscd answers them.

use std::time::Instant;

use pcsc_constants::{SCARD_ATTR_DEVICE_FRIENDLY_NAME, SCARD_ATTR_DEVICE_SYSTEM_NAME};

use crate::connections::{ConnectionHandle, ANY_OLD, RAW, T0, T1};
use crate::error::CallError;
use crate::power::UNPOWER_CARD;
use crate::reader::ManagedReader;
use crate::slot::SlotError;
use crate::slot_state::{SlotState, ABSENT};

impl ManagedReader {
    /// Exchanges an APDU. Gives the response's length, which may be more than there is room for, and the
    /// number of the protocol used.
    pub(crate) fn transmit(
        &self,
        handle: ConnectionHandle,
        protocol: u32,
        command: &[u8],
        response: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<(usize, u32), CallError> {
        let check = |state: &SlotState| {
            state.check_access(handle)?;
            state.check_reader()?;
            state.connections.notice(handle)?;
            // pcscd leaves the check of a raw exchange to the driver.
            if protocol != RAW {
                if state.status & ABSENT != 0 {
                    return Err(CallError::NoSmartcard);
                }
                if protocol != ANY_OLD && protocol != state.protocol {
                    return Err(CallError::ProtoMismatch);
                }
            }
            Ok(if protocol == ANY_OLD {
                state.protocol
            } else {
                protocol
            })
        };
        // `used` is from the check with the driver locked: the protocol may have changed during the wait.
        let (mut driver, used) = self.driver_if(deadline, check)?;
        let answer = driver.answer_into(response, |slot, buffer| slot.transmit(command, buffer, deadline));
        let error = match answer {
            Ok(length) => return Ok((length, protocol_number(used))),
            Err(error) => error,
        };
        match error {
            // Clients are notified by the next poll, which counts the event.
            SlotError::NoCard => self.change_quietly(|state| {
                state.status = ABSENT;
                state.forget_card();
            }),
            // The driver has powered the card up and chosen the protocol again. What the card had verified
            // and selected is gone, which each connection must learn.
            SlotError::Reset => self.change(|state| state.connections.notify_reset()),
            // The card may be in the middle of the command: a cold reset ends it.
            SlotError::TimedOut => {
                // First the notice: the reset may take seconds, and a call that comes meanwhile is refused
                // without a wait.
                self.change(|state| state.connections.notify_reset());
                // Without the deadline, which has passed: the next call needs a card in a known state.
                let _ = self.reset(driver.slot(), UNPOWER_CARD, None);
                // Also direct connections made meanwhile, which do not wait for the driver.
                self.change(|state| state.connections.notify_reset());
            }
            SlotError::NoDevice => self.note_failure(SlotError::NoDevice),
            _ => (),
        }
        Err(match error {
            SlotError::NoDevice => CallError::ReaderUnavailable,
            SlotError::NoCard => CallError::NoSmartcard,
            SlotError::BufferTooSmall => CallError::InsufficientBuffer { needed: 0 },
            SlotError::Reset => CallError::ResetCard,
            SlotError::TimedOut | SlotError::NotStarted => CallError::Timeout,
            _ => CallError::NotTransacted,
        })
    }

    /// Uses a function of the reader's own; gives the answer's length, which may be more than there is room
    /// for.
    pub(crate) fn control(
        &self,
        handle: ConnectionHandle,
        code: u32,
        data: &[u8],
        answer: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<usize, CallError> {
        // Also after a reset or without a card, as in pcscd: the request is for the reader.
        let check = |state: &SlotState| {
            state.check_access(handle)?;
            state.check_reader()
        };
        let (mut driver, ()) = self.driver_if(deadline, check)?;
        let answered = driver.answer_into(answer, |slot, buffer| slot.control(code, data, buffer, deadline));
        answered.map_err(|error| match error {
            SlotError::NoDevice => CallError::ReaderUnavailable,
            SlotError::Unsupported => CallError::UnsupportedFeature,
            SlotError::BufferTooSmall => CallError::InsufficientBuffer { needed: 0 },
            SlotError::TimedOut | SlotError::NotStarted => CallError::Timeout,
            _ => CallError::NotTransacted,
        })
    }

    /// Gets an attribute; gives its length.
    pub(crate) fn get_attribute(
        &self,
        handle: ConnectionHandle,
        id: u32,
        value: &mut [u8],
    ) -> Result<usize, CallError> {
        const NAMES: [u32; 2] = [SCARD_ATTR_DEVICE_FRIENDLY_NAME, SCARD_ATTR_DEVICE_SYSTEM_NAME];
        let (mut driver, ()) = self.driver_if(None, |state| check_for_attribute(state, handle))?;
        let got = driver.slot().get_attribute(id, value);
        got.or_else(|error| match error {
            // Without the driver's help, as in pcscd: the name is the manager's.
            SlotError::Unsupported if NAMES.contains(&id) => {
                let name = self.name().as_bytes();
                let needed = name.len() + 1;
                let room = value
                    .get_mut(..needed)
                    .ok_or(CallError::InsufficientBuffer { needed })?;
                let (text, end) = room.split_at_mut(name.len());
                text.copy_from_slice(name);
                end.fill(0);
                Ok(needed)
            }
            SlotError::Unsupported => Err(CallError::UnsupportedFeature),
            SlotError::BufferTooSmall => Err(CallError::InsufficientBuffer { needed: 0 }),
            _ => Err(CallError::NotTransacted),
        })
    }

    /// Sets an attribute.
    pub(crate) fn set_attribute(
        &self,
        handle: ConnectionHandle,
        id: u32,
        value: &[u8],
    ) -> Result<(), CallError> {
        let (mut driver, ()) = self.driver_if(None, |state| check_for_attribute(state, handle))?;
        let set = driver.slot().set_attribute(id, value);
        set.map_err(|error| match error {
            SlotError::Unsupported => CallError::UnsupportedFeature,
            _ => CallError::NotTransacted,
        })
    }
}

fn check_for_attribute(state: &SlotState, handle: ConnectionHandle) -> Result<(), CallError> {
    state.check_access(handle)?;
    state.check_reader()?;
    state.connections.notice(handle)
}

/// A protocol's number in an exchange: 0 is T=0, 1 is T=1.
fn protocol_number(protocol: u32) -> u32 {
    match protocol {
        T0 => 0,
        T1 => 1,
        other => other,
    }
}
