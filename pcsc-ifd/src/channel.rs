//! An open reader with all its slots. Each method is the work of an entry point.

#![forbid(unsafe_code)]
#![allow(
    clippy::useless_conversion,
    irrefutable_let_patterns,
    reason = "DWORD has 64 bits or 32"
)]

use crate::abi::{self, Dword, IoHeader, ResponseCode};
use crate::absences::Absences;
use crate::codes;
use crate::log::{log, Level};
use pcsc_ccid::attributes;
use pcsc_ccid::part10::ControlFunction;
use pcsc_ccid::reader::{Presence, Protocol, ReaderError, Reset};
use pcsc_ccid::shared::{AnyReader, SharedError, SharedReader, POLL_INTERVAL};
use pcsc_ccid::transport::{self, TransportError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest attribute, in bytes.
const MAX_ATTRIBUTE: usize = 264;

/// An open reader.
pub struct Channel {
    reader: Arc<SharedReader>,
    slots: u8,
    name: String,
    absences: Absences,
    /// The reader was lost and could not be opened again yet. For the thread that calls `presence` between
    /// two waits, so that relaxed accesses are enough.
    is_lost: AtomicBool,
}

impl Channel {
    /// Opens a reader, which then stays open. `has_waits` is whether pcscd's event threads are to use
    /// [`Channel::wait`].
    ///
    /// # Errors
    /// [`abi::NO_SUCH_DEVICE`] where it is gone; [`abi::COMMUNICATION_ERROR`] where it does not work.
    pub fn open(name: String, reader: Arc<SharedReader>, has_waits: bool) -> Result<Channel, ResponseCode> {
        let slots = reader.with_reader(0, None, |reader| {
            let slots = u8::try_from(reader.descriptor().slots()).unwrap_or(u8::MAX);
            let device = reader.device();
            log(
                Level::Info,
                format_args!(
                    "{name}: {:04X}:{:04X} firmware {:X}.{:02X}, {slots} slots, {:?} level",
                    device.vendor,
                    device.product,
                    device.release >> 8,
                    device.release & 0xFF,
                    reader.exchange_level(),
                ),
            );
            Ok(slots)
        });
        let slots = slots.map_err(|error| match error {
            SharedError::Gone => abi::NO_SUCH_DEVICE,
            _ => abi::COMMUNICATION_ERROR,
        })?;
        Ok(Channel {
            reader,
            slots,
            name,
            absences: Absences::new(slots, has_waits),
            is_lost: AtomicBool::new(false),
        })
    }

    /// How many slots there are; at least 1.
    pub fn slots(&self) -> u8 {
        self.slots
    }

    /// Uses the reader for the card in a slot.
    fn with<T>(
        &self,
        slot: u8,
        work: impl FnOnce(&mut AnyReader) -> Result<T, ReaderError>,
    ) -> Result<T, ReaderError> {
        self.reader.with(slot, None, work).map_err(driver_error)
    }

    /// Uses the reader without regard to the card.
    fn with_reader<T>(
        &self,
        slot: u8,
        work: impl FnOnce(&mut AnyReader) -> Result<T, ReaderError>,
    ) -> Result<T, ReaderError> {
        self.reader.with_reader(slot, None, work).map_err(driver_error)
    }

    /// Records an error that says that the card was reset or removed. Not for a power-up: for a slot that
    /// only seems to hold a card, pcscd would try again forever.
    fn note_card_error(&self, slot: u8, error: ReaderError) {
        if matches!(error, ReaderError::CardReset | ReaderError::NoCard) {
            self.set_absent(slot);
        }
    }

    /// Has the card in a slot reported as absent once.
    fn set_absent(&self, slot: u8) {
        self.absences.set(slot);
        self.reader.events().wake(slot);
    }

    /// Ends pcscd's use of a slot: cancels an exchange in progress, and powers the card off.
    pub fn close_slot(&self, slot: u8) {
        self.reader.cancel(slot);
        match self.with(slot, |reader| reader.power_off(slot)) {
            Err(error) if !error.is_gone() => {
                log(Level::Info, format_args!("{}: closed: {error}", self.name))
            }
            _ => (),
        }
        self.reader.give_back(slot);
    }

    /// Takes pcscd's message that the device was unplugged: every exchange fails from now on.
    ///
    /// # Errors
    /// [`abi::ERROR_TAG`] for any other tag.
    pub fn set_attribute(&self, tag: Dword, value: &[u8]) -> Result<(), ResponseCode> {
        if tag != abi::TAG_DEVICE_REMOVED {
            return Err(abi::ERROR_TAG);
        }
        if matches!(value, [1..=u8::MAX]) {
            self.reader.events().set_gone();
            (0..self.slots).for_each(|slot| self.reader.cancel(slot));
        }
        Ok(())
    }

    /// Whether pcscd's event threads are to wait in [`Channel::wait`].
    pub fn has_waits(&self) -> bool {
        self.absences.has_waits()
    }

    /// Waits for an event of a slot, up to `timeout`.
    ///
    /// pcscd powers an unused card down when a wait ends, so that a wait must not end without an event.
    pub fn wait(&self, slot: u8, timeout: Duration) {
        let events = self.reader.events();
        if self.absences.begin_wait(slot) {
            events.wake(slot);
        }
        // pcscd's next question opens a reader again that was lost.
        let timeout = match self.is_lost.load(Ordering::Relaxed) {
            true => timeout.min(POLL_INTERVAL),
            false => timeout,
        };
        events.wait(slot, Instant::now().checked_add(timeout));
        self.absences.end_wait(slot);
    }

    /// Ends the current wait of a slot, or its next one. pcscd calls this before it joins the event thread,
    /// and after the last client has disconnected from a card, to wait with another timeout.
    pub fn interrupt(&self, slot: u8) {
        self.reader.events().wake(slot);
    }

    /// Whether there is a card: [`abi::ICC_PRESENT`] or [`abi::ICC_NOT_PRESENT`]. A reader that is gone has
    /// none.
    ///
    /// A card that was replaced, or that the driver had to reset, is reported as absent once.
    pub fn presence(&self, slot: u8) -> ResponseCode {
        let seen = self.reader.presence(slot);
        let is_lost = !matches!(seen, Ok(_) | Err(SharedError::Gone | SharedError::Reader(_)));
        self.is_lost.store(is_lost, Ordering::Relaxed);
        let had_card = self.absences.note_card(slot, seen == Ok(Presence::Present));
        // One answer covers both: an absence that is pending, and one that the reader has reported just now.
        if self.absences.take(slot) {
            return abi::ICC_NOT_PRESENT;
        }
        match seen {
            Ok(Presence::Absent) => abi::ICC_NOT_PRESENT,
            Ok(Presence::Replaced) if had_card => {
                self.set_absent(slot);
                self.absences.take(slot);
                abi::ICC_NOT_PRESENT
            }
            Ok(Presence::Present | Presence::Replaced) => {
                self.absences.note_card(slot, true);
                abi::ICC_PRESENT
            }
            Err(error) => match codes::exchange(driver_error(error)) {
                abi::NO_SUCH_DEVICE => abi::ICC_NOT_PRESENT,
                code => code,
            },
        }
    }

    /// Powers a card up or down, or resets it. Puts its ATR, empty after a power-down, into `atr`, and gives
    /// its length.
    ///
    /// # Errors
    /// [`abi::ERROR_POWER_ACTION`], [`abi::NOT_SUPPORTED`] for another action.
    pub fn power(&self, slot: u8, action: Dword, atr: &mut [u8]) -> Result<usize, ResponseCode> {
        let reset = match action {
            abi::POWER_UP => Reset::Cold,
            abi::RESET => Reset::Warm,
            abi::POWER_DOWN => {
                let result = self.with(slot, |reader| reader.power_off(slot));
                return result.map(|()| 0).map_err(codes::power_down);
            }
            _ => return Err(abi::NOT_SUPPORTED),
        };
        let result = self.with(slot, |reader| {
            let bytes = reader.power_on(slot, reset)?;
            Ok(transport::copy(bytes, atr))
        });
        match result {
            Ok(length) => {
                self.absences.note_card(slot, true);
                Ok(length)
            }
            Err(error) => {
                log(Level::Info, format_args!("{}: no power: {error}", self.name));
                Err(abi::ERROR_POWER_ACTION)
            }
        }
    }

    /// Selects the protocol, a `SCARD_PROTOCOL_*` bit. The driver negotiates the fastest speed of card and
    /// reader itself.
    ///
    /// # Errors
    /// [`codes::protocol`]'s.
    pub fn set_protocol(&self, slot: u8, protocol: Dword) -> Result<(), ResponseCode> {
        let number = match protocol {
            abi::PROTOCOL_T0 => Protocol::T0,
            abi::PROTOCOL_T1 => Protocol::T1,
            _ => return Err(abi::PROTOCOL_NOT_SUPPORTED),
        };
        let mut reader_offers = true;
        let result = self.with(slot, |reader| {
            let offered = reader.descriptor().protocols & 3;
            reader_offers = offered == 0 || Dword::from(offered) & protocol != 0;
            reader.set_protocol(slot, number)
        });
        result.map_err(|error| {
            self.note_card_error(slot, error);
            log(Level::Info, format_args!("{}: {number:?}: {error}", self.name));
            codes::protocol(error, reader_offers)
        })
    }

    /// Exchanges an APDU; gives the response's length. `protocol` is 0, 1, or pcscd's raw one.
    ///
    /// # Errors
    /// [`codes::exchange`]'s. After [`ReaderError::CardReset`] nothing reaches the card before pcscd has told
    /// all clients.
    pub fn transmit(
        &self,
        slot: u8,
        protocol: Dword,
        command: &[u8],
        response: &mut [u8],
    ) -> Result<usize, ResponseCode> {
        if self.absences.is_set(slot) {
            return Err(abi::COMMUNICATION_ERROR);
        }
        let result = self.with(slot, |reader| exchange(reader, slot, protocol, command, response));
        result.map_err(|error| {
            self.note_card_error(slot, error);
            if error != ReaderError::NoCard {
                log(Level::Info, format_args!("{}: {error}", self.name));
            }
            codes::exchange(error)
        })
    }

    /// The header of a response. Without one pcscd returns its client's, as with libccid.
    pub fn header(&self, _send: IoHeader) -> Option<IoHeader> {
        None
    }

    /// Answers a control request (PC/SC part 10); gives the answer's length.
    ///
    /// # Errors
    /// [`codes::control`]'s.
    pub fn control(
        &self,
        slot: u8,
        code: Dword,
        data: &[u8],
        answer: &mut [u8],
    ) -> Result<usize, ResponseCode> {
        let Ok(code) = u32::try_from(code) else {
            return Err(abi::ERROR_NOT_SUPPORTED);
        };
        let result = self.with_reader(slot, |reader| reader.control(slot, code, data, answer));
        result.map_err(|error| {
            self.note_card_error(slot, error);
            match (ControlFunction::decode(code), error) {
                // A command that the settings do not allow fails as one that the reader refuses.
                (Some(ControlFunction::Escape | ControlFunction::ReaderDirect), ReaderError::Unsupported) => {
                    abi::COMMUNICATION_ERROR
                }
                _ => codes::control(error),
            }
        })
    }

    /// The value of an attribute of `SCardGetAttrib`.
    ///
    /// # Errors
    /// [`abi::ERROR_TAG`] for one that there is not.
    pub fn attribute(&self, slot: u8, tag: Dword) -> Result<Vec<u8>, ResponseCode> {
        let id = match tag {
            abi::TAG_ATR => attributes::ATR_STRING,
            tag => u32::try_from(tag).map_err(|_| abi::ERROR_TAG)?,
        };
        // `presence` also reports the absence of a replaced card.
        let is_present = || self.presence(slot) == abi::ICC_PRESENT;
        match id {
            attributes::ICC_PRESENCE => return Ok(vec![if is_present() { 2 } else { 0 }]),
            attributes::ICC_INTERFACE_STATUS => return Ok(vec![u8::from(is_present())]),
            _ => (),
        }
        let mut value = vec![0; MAX_ATTRIBUTE];
        let result = self.with_reader(slot, |reader| reader.attribute(slot, id, None, &mut value));
        match result {
            Ok(length) => {
                value.truncate(length);
                Ok(value)
            }
            Err(ReaderError::Unsupported) => Err(abi::ERROR_TAG),
            Err(error) => Err(codes::exchange(error)),
        }
    }
}

/// A reader that cannot be used is one that is gone, until it can be opened again.
fn driver_error(error: SharedError) -> ReaderError {
    match error {
        SharedError::Reader(error) => error,
        _ => ReaderError::Transport(TransportError::Gone),
    }
}

fn exchange(
    reader: &mut AnyReader,
    slot: u8,
    protocol: Dword,
    command: &[u8],
    response: &mut [u8],
) -> Result<usize, ReaderError> {
    if protocol > 1 {
        // Raw: the reader handles the protocol, which needs an APDU level of exchange.
        if !reader.exchange_level().is_apdu() {
            return Err(ReaderError::ProtocolUnsupported);
        }
        // The one that is chosen stays: the driver refuses the other one.
        let first = reader.set_protocol(slot, Protocol::T1);
        first.or_else(|_| reader.set_protocol(slot, Protocol::T0))?;
    }
    reader.transmit(slot, command, response)
}

#[cfg(all(test, feature = "sim"))]
mod tests;
