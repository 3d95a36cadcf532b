//! The driver: a reader's slots, the cards' power, the choice of protocol and speed, and the exchange of
//! APDUs.
//!
//! ```text
//! exchange (levels: APDU, TPDU, character) ── T=0 and T=1 engines
//! protocol (speed, PPS, parameters, step down)    power
//! port ── link (bulk pipes: sequence, time extension)  or  iccd (control pipe)
//! Transport
//! ```
//!
//! A [`Reader`] executes one command at a time; threads share it behind a mutex. Waiting for cards that come
//! and go uses another pipe and does not need the mutex.

mod attribute;
mod control;
mod error;
mod exchange;
mod iccd;
mod limit;
mod link;
pub mod options;
mod pin;
mod port;
mod power;
mod protocol;
mod reply;
mod session;
mod speeds;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

pub use error::ReaderError;
pub use options::ReaderOptions;
pub use power::Reset;
pub use session::Protocol;

use crate::descriptor::{self, ClassDescriptor, ExchangeLevel, Flavour, Interface};
use crate::message::{CommandMessage, IccStatus};
use crate::part10::gemalto::FirmwareFeatures;
use crate::quirks::{self, Quirks};
use crate::transport::{Transport, TransportError};
use port::Port;
use reply::Reply;
use session::Chosen;
use speeds::Speeds;

/// GET_DATA_RATES (CCID 1.1, clause 5.3.3).
const REQUEST_DATA_RATES: u8 = 0x03;
/// How long a control request may take.
const CONTROL: Duration = Duration::from_secs(1);

/// Identity and place of the device that a reader is part of. The table of quirks is keyed by the numbers;
/// the other fields are values of attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// `idVendor`.
    pub vendor: u16,
    /// `idProduct`.
    pub product: u16,
    /// `bcdDevice`.
    pub release: u16,
    /// The string of `iManufacturer`.
    pub manufacturer: Option<String>,
    /// The string of `iSerialNumber`.
    pub serial: Option<String>,
    /// The number of its bus.
    pub bus: u8,
    /// Its address on the bus.
    pub address: u8,
    /// The system's name of the interface: bus, ports, configuration, interface (`1-2.1:1.0`).
    pub path: String,
}

impl DeviceInfo {
    /// A device by its `idVendor`, `idProduct` and `bcdDevice`. The other fields are empty.
    pub fn new(vendor: u16, product: u16, release: u16) -> DeviceInfo {
        DeviceInfo {
            vendor,
            product,
            release,
            ..DeviceInfo::default()
        }
    }
}

/// An open reader.
pub struct Reader<T> {
    port: Port<T>,
    device: DeviceInfo,
    options: ReaderOptions,
    flavour: Flavour,
    /// The class descriptor, corrected.
    descriptor: ClassDescriptor,
    quirks: Quirks,
    /// The reader's list of data rates in bits per second; empty if it has none.
    data_rates: Vec<u32>,
    /// What Gemalto's firmware reports about its PIN pad, and its name.
    firmware: Option<FirmwareFeatures>,
    firmware_id: Vec<u8>,
    slots: Vec<Slot>,
    speeds: Speeds,
}

/// The state of a slot.
#[derive(Default)]
struct Slot {
    /// The bytes of the ATR; empty if the card has no power.
    atr_bytes: Vec<u8>,
    /// The protocol, once it was selected since the card's reset.
    chosen: Option<Box<Chosen>>,
    /// A card was powered up and not powered off by the caller. If it has lost its power since, the next
    /// `presence` reports that.
    was_powered: bool,
    /// The step of the ladder of speeds that failures since power-up have led to, and its protocol.
    slowed: Option<(Protocol, usize)>,
    /// Power-up failed, in a reader that cannot detect a card in any other way.
    is_empty: bool,
}

impl Slot {
    /// Forgets what holds for one card from power-up to power-off.
    fn release(&mut self) {
        self.was_powered = false;
        self.slowed = None;
    }
}

/// Whether a card is in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// No card.
    Absent,
    /// A card, with power or without.
    Present,
    /// A card was removed and inserted again, or lost its power, since it was powered up. Reported once; the
    /// card has no power.
    Replaced,
}

/// Without the buffers, which may hold a PIN.
impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("device", &self.device)
            .field("descriptor", &self.descriptor)
            .finish_non_exhaustive()
    }
}

impl<T: Transport> Reader<T> {
    /// Opens a reader: reads its list of data rates, and waits until it answers.
    ///
    /// # Errors
    /// [`ReaderError::Firmware`] if the table of quirks refuses it; errors of the transport.
    pub fn open(
        transport: T,
        device: DeviceInfo,
        interface: &Interface,
        options: ReaderOptions,
    ) -> Result<Self, ReaderError> {
        Reader::open_until(None, transport, device, interface, options)
    }

    /// The same, up to a deadline on the transport's clock.
    ///
    /// # Errors
    /// As [`Reader::open`]; [`TransportError::Cancelled`] at the deadline.
    pub fn open_until(
        deadline: Option<Duration>,
        transport: T,
        device: DeviceInfo,
        interface: &Interface,
        options: ReaderOptions,
    ) -> Result<Self, ReaderError> {
        let quirks = quirks::for_interface(device.vendor, device.product, device.release, interface);
        // Before anything is sent to it.
        if let Some(reason) = quirks.refused.filter(|_| !options.any_firmware) {
            return Err(ReaderError::Firmware(reason));
        }
        let mut descriptor = interface.descriptor;
        // Once, here: everything below sees the corrected descriptor alone.
        quirks.apply(&mut descriptor);
        let port = Port::new(
            transport,
            interface.flavour,
            &descriptor,
            quirks.loses_whole_packets,
        );
        let slots = (0..descriptor.slots()).map(|_| Slot::default()).collect();
        let mut reader = Reader {
            port,
            device,
            options,
            flavour: interface.flavour,
            descriptor,
            quirks,
            data_rates: Vec::new(),
            firmware: None,
            firmware_id: Vec::new(),
            slots,
            speeds: Speeds::default(),
        };
        reader.with_deadline(deadline, Reader::start)?;
        Ok(reader)
    }

    /// Parts an open reader into one for each transport that `transports` makes of its own. Each is to serve
    /// a slot of its own, so that commands go on in several slots at once.
    #[cfg(feature = "std")]
    pub(crate) fn split<U: Transport>(self, transports: impl FnOnce(T) -> Vec<U>) -> Vec<Reader<U>> {
        let (flavour, loses_whole_packets) = (self.flavour, self.quirks.loses_whole_packets);
        let transports = transports(self.port.into_transport()).into_iter();
        let readers = transports.map(|transport| Reader {
            port: Port::new(transport, flavour, &self.descriptor, loses_whole_packets),
            device: self.device.clone(),
            options: self.options,
            flavour,
            descriptor: self.descriptor,
            quirks: self.quirks,
            data_rates: self.data_rates.clone(),
            firmware: self.firmware,
            firmware_id: self.firmware_id.clone(),
            slots: (0..self.descriptor.slots()).map(|_| Slot::default()).collect(),
            speeds: Speeds::default(),
        });
        readers.collect()
    }

    /// Calls the reader with a deadline, a time on the clock of the transport ([`Transport::now`]). At the
    /// deadline the command that goes on is cancelled and aborted, as [`TransportError::Cancelled`] says:
    /// its call fails, and whether the card has executed it is unknown. `None` leaves the command its own
    /// timeout.
    pub fn with_deadline<R>(
        &mut self,
        deadline: Option<Duration>,
        call: impl FnOnce(&mut Reader<T>) -> R,
    ) -> R {
        self.port.call_deadline = deadline;
        let result = call(self);
        self.port.call_deadline = None;
        result
    }

    fn start(&mut self) -> Result<(), ReaderError> {
        if !self.quirks.settle.is_zero() {
            self.port.transport().pause(self.quirks.settle)?;
        }
        if self.flavour == Flavour::Ccid {
            self.data_rates = self.list(REQUEST_DATA_RATES)?;
        }
        // A reader that was just plugged in, or whose last user was killed during a command, may not answer
        // the first commands.
        let (first, later) = (self.quirks.first_answer(), self.quirks.command_limit());
        let mut answer = Ok(());
        for timeout in [first, later, later] {
            answer = match self.port.call(0, &CommandMessage::GetSlotStatus, timeout) {
                Ok(_) | Err(ReaderError::Slot(_) | ReaderError::NoCard) => Ok(()),
                Err(error) => Err(error),
            };
            if let Ok(()) | Err(ReaderError::Transport(TransportError::Gone | TransportError::Cancelled)) =
                answer
            {
                break;
            }
        }
        answer?;
        self.ask_firmware()?;
        if self.quirks.power_cycle_at_open {
            let deadline = self.port.deadline();
            for slot in 0..=self.descriptor.max_slot_index {
                self.port.check(deadline)?;
                // It fails for a slot without a card, which does not matter here.
                let powered = self.power_on(slot, Reset::Cold).map(|_| ());
                match powered.and_then(|()| self.power_off(slot)) {
                    Err(error) if error.is_gone() => return Err(error),
                    _ => (),
                }
            }
        }
        Ok(())
    }

    /// Reads a list by a control request. Readers without one stall it, or answer with fewer or more bytes
    /// than a list has.
    fn list(&mut self, request: u8) -> Result<Vec<u32>, ReaderError> {
        // Room for 256 rates. `bNumDataRatesSupported` counts up to 255.
        let mut bytes = [0; 1024];
        match self.port.transport().control_in(request, 0, &mut bytes, CONTROL) {
            Ok(length) => Ok(descriptor::list(bytes.get(..length).unwrap_or(&bytes))),
            Err(TransportError::Gone) => Err(TransportError::Gone.into()),
            // The list is optional. Speeds are then limited by the descriptor's fields.
            Err(_) => Ok(Vec::new()),
        }
    }

    /// The class descriptor after [`Quirks::apply`].
    pub fn descriptor(&self) -> &ClassDescriptor {
        &self.descriptor
    }

    /// Identity and place of the device.
    pub fn device(&self) -> &DeviceInfo {
        &self.device
    }

    /// What the table of quirks says of this reader.
    pub fn quirks(&self) -> &Quirks {
        &self.quirks
    }

    /// The level of exchange.
    pub fn exchange_level(&self) -> ExchangeLevel {
        self.descriptor.features.exchange_level()
    }

    /// The transport.
    pub fn transport(&mut self) -> &mut T {
        self.port.transport()
    }

    /// The ATR of the card that has power in a slot; empty where none has.
    pub fn atr(&self, slot: u8) -> &[u8] {
        self.slots
            .get(usize::from(slot))
            .map_or(&[], |slot| &slot.atr_bytes)
    }

    /// Whether a card is in a slot.
    ///
    /// # Errors
    /// If the reader does not answer.
    pub fn presence(&mut self, slot: u8) -> Result<Presence, ReaderError> {
        let icc = self.icc_status(slot)?;
        let state = self.slot(slot)?;
        let was_powered = state.was_powered;
        let is_lost = was_powered && state.atr_bytes.is_empty();
        match icc {
            // The reader has activated a card by itself. It is powered off, so that driver and reader agree
            // again.
            IccStatus::Active if is_lost => self.cut_power(slot)?,
            IccStatus::Active => return Ok(Presence::Present),
            // Without power since this driver has cut it, or never had any: nothing to report.
            IccStatus::Inactive if !was_powered => return Ok(Presence::Present),
            IccStatus::Inactive | IccStatus::Absent => self.forget(slot),
        }
        self.slot(slot)?.release();
        Ok(match icc {
            IccStatus::Absent => Presence::Absent,
            _ => Presence::Replaced,
        })
    }

    /// The reader's status of a slot (CCID 1.1, clause 6.2.6). For a slot that does not detect cards it is
    /// made up from whether a card was powered up.
    fn icc_status(&mut self, slot: u8) -> Result<IccStatus, ReaderError> {
        let sees_cards = self.quirks.sees_cards(slot);
        let state = self.slot(slot)?;
        if !sees_cards {
            return Ok(match (state.is_empty, state.atr_bytes.is_empty()) {
                (true, _) => IccStatus::Absent,
                (false, true) => IccStatus::Inactive,
                (false, false) => IccStatus::Active,
            });
        }
        match self.call(slot, &CommandMessage::GetSlotStatus) {
            Ok(reply) => Ok(reply.icc),
            Err(ReaderError::NoCard) => Ok(IccStatus::Absent),
            Err(error) => Err(error),
        }
    }

    /// Sends a command that does not wait for the card.
    fn call(&mut self, slot: u8, command: &CommandMessage<'_>) -> Result<Reply, ReaderError> {
        self.port.call(slot, command, self.quirks.command_limit())
    }

    fn slot(&mut self, slot: u8) -> Result<&mut Slot, ReaderError> {
        self.slots
            .get_mut(usize::from(slot))
            .ok_or(ReaderError::NoSuchSlot)
    }

    /// Notes that the card in a slot lost its power, or is another one.
    fn forget(&mut self, slot: u8) {
        if let Some(slot) = self.slots.get_mut(usize::from(slot)) {
            slot.atr_bytes.clear();
            slot.chosen = None;
        }
    }

    /// Passes a result on, and notes a failure that says that the card is gone.
    fn heed<R>(&mut self, slot: u8, result: Result<R, ReaderError>) -> Result<R, ReaderError> {
        if matches!(result, Err(ReaderError::NoCard)) {
            self.forget(slot);
        }
        result
    }
}
