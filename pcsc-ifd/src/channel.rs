//! An open reader with all its slots. Each method is the work of an entry point.

#![forbid(unsafe_code)]

use crate::abi::{self, Dword, ResponseCode};
use crate::codes;
use crate::events::Events;
use crate::log::{log, Level};
use crate::opened::{AnyTransport, OpenedReader};
use crate::settings;
use crate::watcher::Watcher;
use pcsc_ccid::attributes;
use pcsc_ccid::descriptor::ExchangeLevel;
use pcsc_ccid::part10::{secure, Control};
use pcsc_ccid::reader::{Error, Presence, Protocol, Reader, Reset};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

/// The longest attribute, in bytes.
const MAX_ATTRIBUTE: usize = 264;

/// An open reader.
pub struct Channel {
    /// One exchange at a time, whatever the slot.
    reader: Mutex<Reader<AnyTransport>>,
    slots: u8,
    name: String,
    events: Arc<Events>,
    cancel: Option<Box<dyn Fn() + Send + Sync>>,
    /// For its end.
    _watcher: Option<Watcher>,
}

impl Channel {
    /// Makes a reader of a device.
    ///
    /// # Errors
    /// [`abi::NO_SUCH_DEVICE`] where it is gone; [`abi::COMMUNICATION_ERROR`] where it does not work, after a
    /// line in the log that says why.
    pub fn open(opened: OpenedReader) -> Result<Channel, ResponseCode> {
        let OpenedReader {
            transport,
            interface,
            identity,
            name,
            events,
            watcher,
            cancel,
        } = opened;
        let options = settings::get().reader_options;
        let reader = Reader::open(transport, identity, &interface, options).map_err(|error| {
            log(Level::Critical, format_args!("{}: {error}", name));
            codes::open(error)
        })?;
        let slots = u8::try_from(reader.descriptor().slots()).unwrap_or(u8::MAX);
        let device = reader.device();
        log(
            Level::Info,
            format_args!(
                "{}: {:04X}:{:04X} firmware {:X}.{:02X}, {slots} slots, {:?} level",
                name,
                device.vendor,
                device.product,
                device.release >> 8,
                device.release & 0xFF,
                reader.exchange_level(),
            ),
        );
        Ok(Channel {
            reader: Mutex::new(reader),
            slots,
            name,
            events,
            cancel,
            _watcher: watcher,
        })
    }

    /// How many slots there are; at least 1.
    pub fn slots(&self) -> u8 {
        self.slots
    }

    fn lock(&self) -> MutexGuard<'_, Reader<AnyTransport>> {
        // A panic leaves the reader usable: each command starts anew.
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records an error that says that the reader is gone.
    fn note_error(&self, error: Error) {
        if error.is_gone() {
            self.events.set_gone(true);
        }
    }

    /// The same, and an error that says that the card was reset or removed. Not for a power-up: for a slot
    /// that only seems to hold a card, pcscd would try again forever.
    fn note_card_error(&self, slot: u8, error: Error) {
        self.note_error(error);
        if matches!(error, Error::CardReset | Error::NoCard) {
            self.events.set_stale(slot);
        }
    }

    /// Ends pcscd's use of a slot: cancels an exchange in progress, and powers the card off.
    pub fn close_slot(&self, slot: u8) {
        if self.events.is_gone() {
            return;
        }
        let mut reader = match self.reader.try_lock() {
            Ok(reader) => reader,
            Err(TryLockError::Poisoned(reader)) => reader.into_inner(),
            Err(TryLockError::WouldBlock) => {
                if let Some(cancel) = &self.cancel {
                    cancel();
                }
                self.lock()
            }
        };
        if let Err(error) = reader.power_off(slot) {
            log(Level::Info, format_args!("{}: closed: {error}", self.name));
        }
    }

    /// Records pcscd's message that the device was unplugged: every exchange fails from now on.
    pub fn set_removed(&self) {
        self.events.set_gone(true);
        if let Some(cancel) = &self.cancel {
            cancel();
        }
    }

    /// Whether pcscd's event threads are to wait in [`Channel::wait`].
    pub fn has_waits(&self) -> bool {
        self.events.has_waits()
    }

    /// Waits for an event of a slot.
    pub fn wait(&self, slot: u8, timeout: Duration) {
        self.events.wait(slot, timeout);
    }

    /// Ends that wait.
    pub fn interrupt(&self, slot: u8) {
        self.events.interrupt(slot);
    }

    /// Whether there is a card: [`abi::ICC_PRESENT`] or [`abi::ICC_NOT_PRESENT`]. A reader that is gone has
    /// none.
    ///
    /// A card that was replaced, or that the driver had to reset, is reported as absent once.
    pub fn presence(&self, slot: u8) -> ResponseCode {
        if self.events.is_gone() {
            return abi::ICC_NOT_PRESENT;
        }
        let was_removed = self.events.take_removal(slot);
        let result = {
            let mut reader = self.lock();
            match reader.presence(slot) {
                // A reader that activates cards by itself shows no difference between the new card and the
                // old one.
                Ok(Presence::Present) if was_removed => reader.power_off(slot).map(|()| Presence::Replaced),
                seen => seen,
            }
        };
        self.events.note_look(slot, result == Ok(Presence::Present));
        // One answer covers both: an absence that is pending, and one that the reader has reported just now.
        if self.events.take_stale(slot) {
            return abi::ICC_NOT_PRESENT;
        }
        match result {
            Ok(Presence::Present) => abi::ICC_PRESENT,
            Ok(Presence::Absent) => abi::ICC_NOT_PRESENT,
            Ok(Presence::Replaced) => {
                self.events.set_stale(slot);
                self.events.take_stale(slot);
                abi::ICC_NOT_PRESENT
            }
            Err(error) => {
                self.note_error(error);
                match codes::exchange(error) {
                    abi::NO_SUCH_DEVICE => abi::ICC_NOT_PRESENT,
                    code => code,
                }
            }
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
                let result = self.lock().power_off(slot);
                return match result {
                    Ok(()) => Ok(0),
                    Err(error) => {
                        self.note_error(error);
                        Err(codes::power_down(error))
                    }
                };
            }
            _ => return Err(abi::NOT_SUPPORTED),
        };
        let mut reader = self.lock();
        match reader.power_on(slot, reset) {
            Ok(bytes) => {
                let length = bytes.len().min(atr.len());
                atr[..length].copy_from_slice(&bytes[..length]);
                Ok(length)
            }
            Err(error) => {
                drop(reader);
                self.note_error(error);
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
        let mut reader = self.lock();
        let offered = reader.descriptor().protocols & 3;
        let reader_offers = offered == 0 || Dword::from(offered) & protocol != 0;
        let result = reader.set_protocol(slot, number);
        drop(reader);
        result.map_err(|error| {
            self.note_card_error(slot, error);
            log(Level::Info, format_args!("{}: {number:?}: {error}", self.name));
            codes::protocol(error, reader_offers)
        })
    }

    /// Exchanges an APDU; gives the response's length. `protocol` is 0, 1, or pcscd's raw one.
    ///
    /// # Errors
    /// [`codes::exchange`]'s. After [`Error::CardReset`] nothing reaches the card before pcscd has told all
    /// clients.
    pub fn transmit(
        &self,
        slot: u8,
        protocol: Dword,
        command: &[u8],
        response: &mut [u8],
    ) -> Result<usize, ResponseCode> {
        if self.events.is_gone() {
            return Err(abi::NO_SUCH_DEVICE);
        }
        if self.events.is_stale(slot) {
            return Err(abi::COMMUNICATION_ERROR);
        }
        let mut reader = self.lock();
        let result = self.exchange(&mut reader, slot, protocol, command, response);
        drop(reader);
        result.map_err(|error| {
            self.note_card_error(slot, error);
            if error != Error::NoCard {
                log(Level::Info, format_args!("{}: {error}", self.name));
            }
            codes::exchange(error)
        })
    }

    fn exchange(
        &self,
        reader: &mut Reader<AnyTransport>,
        slot: u8,
        protocol: Dword,
        command: &[u8],
        response: &mut [u8],
    ) -> Result<usize, Error> {
        if protocol > 1 {
            // Raw: the reader handles the protocol, which needs an APDU level of exchange.
            if !matches!(
                reader.exchange_level(),
                ExchangeLevel::ShortApdu | ExchangeLevel::ExtendedApdu
            ) {
                return Err(Error::ProtocolUnsupported);
            }
            if reader.current(slot).is_none() {
                let first = reader.set_protocol(slot, Protocol::T1);
                first.or_else(|_| reader.set_protocol(slot, Protocol::T0))?;
            }
        }
        match reader.transmit(slot, command, response) {
            Err(Error::Slot(error)) => match secure::status_word(error) {
                Some(status) => copy(&status, response),
                None => Err(Error::Slot(error)),
            },
            result => result,
        }
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
        if self.events.is_gone() {
            return Err(abi::NO_SUCH_DEVICE);
        }
        let Ok(code) = u32::try_from(code) else {
            return Err(abi::ERROR_NOT_SUPPORTED);
        };
        let result = self.lock().control(slot, code, data, answer);
        result.map_err(|error| {
            self.note_card_error(slot, error);
            match (Control::decode(code), error) {
                // A command that the settings do not allow fails as one that the reader refuses.
                (Some(Control::Escape | Control::ReaderDirect), Error::Unsupported) => {
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
        let result = self.lock().attribute(slot, id, None, &mut value);
        match result {
            Ok(length) => {
                value.truncate(length);
                Ok(value)
            }
            Err(Error::Unsupported) => Err(abi::ERROR_TAG),
            Err(error) => {
                self.note_error(error);
                Err(codes::exchange(error))
            }
        }
    }
}

fn copy(answer: &[u8], response: &mut [u8]) -> Result<usize, Error> {
    let target = response.get_mut(..answer.len()).ok_or(Error::BufferTooSmall)?;
    target.copy_from_slice(answer);
    Ok(answer.len())
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use pcsc_ccid::descriptor;
    use pcsc_ccid::reader;
    use pcsc_sim::card::{apps::Several, Offer, Profile, SimCard};
    use pcsc_sim::{Event, Handle, Model};
    use std::time::Instant;

    const LONG: Duration = Duration::from_secs(10);

    fn card() -> SimCard {
        SimCard::good(Profile::new(&[Offer::T1]), Box::new(Several::demo()))
    }

    fn channel(model: &str) -> (Handle, Channel) {
        let device = pcsc_sim::Device::named(model).unwrap();
        let configuration = Model::configuration_descriptor(&[device.model()], 4);
        let interface = descriptor::interfaces(&configuration).remove(0).unwrap();
        let handle = Handle::new(device);
        let opened = OpenedReader {
            transport: Box::new(handle.transport()),
            interface,
            identity: reader::DeviceInfo::default(),
            name: model.to_owned(),
            events: Arc::new(Events::new(1, true)),
            watcher: None,
            cancel: None,
        };
        (handle, Channel::open(opened).unwrap())
    }

    /// A card is swapped faster than pcscd looks.
    #[test]
    fn a_card_that_was_swapped_between_two_looks_is_absent_for_a_while() {
        // The first gives power to a card by itself, so that its status shows no difference.
        for model in ["au9540", "gempc-express"] {
            let (handle, channel) = channel(model);
            let notify = || {
                while let Some(bytes) = handle.with(|device| device.interrupt_in()) {
                    channel.events.notify(&bytes);
                }
            };
            let look = || {
                channel.wait(0, LONG);
                channel.presence(0)
            };
            handle.insert(0, card());
            notify();
            assert_eq!(look(), abi::ICC_PRESENT, "{model}");
            channel.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
            handle.remove(0);
            notify();
            handle.insert(0, card());
            notify();
            // Whoever has looked first, the event thread sees it absent after its next wait, and not after
            // the one behind.
            for expected in [abi::ICC_NOT_PRESENT, abi::ICC_NOT_PRESENT, abi::ICC_PRESENT] {
                assert_eq!(look(), expected, "{model}");
            }
            channel.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
            // One that is seen to go and to come is not absent twice.
            handle.remove(0);
            notify();
            assert_eq!(look(), abi::ICC_NOT_PRESENT, "{model}");
            handle.insert(0, card());
            notify();
            assert_eq!(look(), abi::ICC_PRESENT, "{model}");
        }
    }

    /// The reader sends no notification in this test: the failed exchange alone wakes pcscd's event thread.
    #[test]
    fn a_card_that_an_exchange_has_missed_is_absent_once() {
        // The first gives power to a card by itself.
        for model in ["au9540", "gempc-express"] {
            let (handle, channel) = channel(model);
            handle.insert(0, card());
            channel.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
            channel.set_protocol(0, abi::PROTOCOL_T1).unwrap();
            assert_eq!(channel.presence(0), abi::ICC_PRESENT);

            let soon = handle.with(|device| device.now()) + Duration::from_millis(1);
            handle.schedule(soon, Event::Remove(0));
            let command = [0x80, 0xEE, 0, 100, 100];
            let missed = channel.transmit(0, 1, &command, &mut [0; 258]);
            assert_eq!(missed, Err(abi::ICC_NOT_PRESENT), "{model}");
            handle.insert(0, card());

            let begin = Instant::now();
            channel.wait(0, LONG);
            assert_eq!(channel.presence(0), abi::ICC_NOT_PRESENT, "{model}");
            channel.wait(0, LONG);
            assert!(begin.elapsed() < LONG, "{model}: not woken");
            assert_eq!(channel.presence(0), abi::ICC_PRESENT, "{model}");
            let begin = Instant::now();
            channel.wait(0, Duration::from_millis(20));
            assert!(begin.elapsed() >= Duration::from_millis(20), "{model}: no news");
            channel.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
            channel.set_protocol(0, abi::PROTOCOL_T1).unwrap();
            assert_eq!(
                channel.transmit(0, 1, &command, &mut [0; 258]),
                Ok(102),
                "{model}"
            );
        }
    }
}
