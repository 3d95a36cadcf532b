//! What goes to a card and to its reader: exchanges, control requests and attributes, as pcscd answers them.

use std::time::Instant;

use crate::card_state::{Handle, RAW, T0, T1};
use crate::error::CallError as Error;
use crate::power::{ANY_OLD, UNPOWER_CARD};
use crate::reader::Reader;
use crate::slot::Fault;
use crate::state::{State, ABSENT};

impl Reader {
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
}

/// The number by which drivers and their clients know a protocol in an exchange: 0 is T=0, 1 is T=1.
fn protocol_number(protocol: u32) -> u32 {
    match protocol {
        T0 => 0,
        T1 => 1,
        other => other,
    }
}
