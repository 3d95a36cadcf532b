//! The simulated readers of `pcsc-ccid`, as devices on the bus.

use pcsc_guest_tests::usbip::{Stall, UsbFunction};
use pcsc_sim::card::CharacterCard;
use pcsc_sim::{Model, SimDevice};
use std::time::{Duration, Instant};

/// Strings 1 and 2 are the manufacturer and the product; the interfaces' follow.
const FIRST_INTERFACE_NAME: u8 = 3;

/// The string of the serial number, if there is one.
const SERIAL: u8 = 0x20;

/// A device with one reader or, composite, with several. Its clock goes with the real one, `pace` times as
/// fast.
pub struct Simulated {
    readers: Vec<SimDevice>,
    pace: u32,
    plugged: Instant,
    /// Interface 0 is a keyboard.
    has_keyboard: bool,
    serial: Option<String>,
}

/// A boot keyboard's interface: its number 0, its HID descriptor (HID 1.11, clause 6.2.1) and its endpoint,
/// on which no key is ever hit.
const KEYBOARD: [u8; 25] = [
    9, 0x04, 0, 0, 1, 0x03, 1, 1, 0, 9, 0x21, 0x11, 0x01, 0, 1, 0x22, 63, 0, 7, 0x05, 0x81, 0x03, 8, 0, 10,
];

impl Simulated {
    /// A device with these readers, whose interfaces have numbers of their own; the first one says what the
    /// device is.
    pub fn new(readers: Vec<SimDevice>, pace: u32) -> Self {
        Self {
            readers,
            pace,
            plugged: Instant::now(),
            has_keyboard: false,
            serial: None,
        }
    }

    /// With a keyboard as interface 0: the readers' numbers begin at 1.
    pub fn with_keyboard(mut self) -> Self {
        self.has_keyboard = true;
        self
    }

    /// With a serial number.
    pub fn with_serial(mut self, serial: &str) -> Self {
        self.serial = Some(serial.into());
        self
    }

    /// A reader, by its place among the interfaces.
    pub fn reader(&mut self, index: usize) -> Option<&mut SimDevice> {
        self.pass();
        self.readers.get_mut(index)
    }

    /// Puts a card in a slot of the first reader.
    pub fn insert(&mut self, slot: u8, card: impl CharacterCard + 'static) {
        if let Some(reader) = self.reader(0) {
            reader.insert(slot, Box::new(card));
        }
    }

    /// Takes the card out.
    pub fn remove(&mut self, slot: u8) {
        if let Some(reader) = self.reader(0) {
            reader.remove(slot);
        }
    }

    /// Lets the devices' time come up with the real one.
    fn pass(&mut self) {
        let now = self.now();
        for reader in &mut self.readers {
            reader.advance(now.saturating_sub(reader.now()));
        }
    }

    fn now(&self) -> Duration {
        self.plugged.elapsed().saturating_mul(self.pace)
    }

    /// The reader that an endpoint belongs to: two numbers an interface.
    fn by_endpoint(&mut self, endpoint: u8) -> Option<&mut SimDevice> {
        self.pass();
        let interface = (endpoint & 0x0F).checked_sub(1)? / 2;
        self.readers
            .iter_mut()
            .find(|reader| reader.model().number == interface)
    }

    fn models(&self) -> Vec<&Model> {
        self.readers.iter().map(SimDevice::model).collect()
    }
}

/// What pcscd makes the reader's name of.
pub fn base_name(model: &Model) -> String {
    model.identity.base_name()
}

impl UsbFunction for Simulated {
    fn device_descriptor(&self) -> [u8; 18] {
        let models = self.models();
        let mut descriptor = models
            .first()
            .map(|model| model.device_descriptor())
            .unwrap_or_default();
        if self.serial.is_some() {
            // iSerialNumber (USB 2.0, table 9-8).
            descriptor[16] = SERIAL;
        }
        descriptor
    }

    fn configuration(&self) -> Vec<u8> {
        let mut bytes = Model::configuration_descriptor(&self.models(), FIRST_INTERFACE_NAME);
        if self.has_keyboard {
            bytes.splice(9..9, KEYBOARD);
            bytes[4] += 1;
            let total = (bytes.len() as u16).to_le_bytes();
            bytes[2..4].copy_from_slice(&total);
        }
        bytes
    }

    fn string(&self, index: u8) -> Option<String> {
        let models = self.models();
        let device = models.first()?;
        match index {
            1 => device.identity.manufacturer.clone(),
            2 => device.identity.product.clone(),
            SERIAL => self.serial.clone(),
            _ => {
                let mut names = models
                    .iter()
                    .filter_map(|model| model.identity.interface_name.clone());
                names.nth(index.checked_sub(FIRST_INTERFACE_NAME)?.into())
            }
        }
    }

    fn control(&mut self, setup: [u8; 8], data: &[u8]) -> Result<Vec<u8>, Stall> {
        self.pass();
        let [kind, request, value, value_high, interface, _, length, length_high] = setup;
        let value = u16::from_le_bytes([value, value_high]);
        let mut readers = self.readers.iter_mut();
        let reader = readers
            .find(|reader| reader.model().number == interface)
            .ok_or(Stall)?;
        match kind {
            0x21 => reader
                .control_out(request, value, data)
                .map(|()| Vec::new())
                .map_err(|_| Stall),
            0xA1 => {
                let length = u16::from_le_bytes([length, length_high]);
                reader
                    .control_in(request, value, length.into())
                    .map_err(|_| Stall)
            }
            _ => Err(Stall),
        }
    }

    fn bulk_out(&mut self, endpoint: u8, data: &[u8]) -> Result<(), Stall> {
        self.by_endpoint(endpoint)
            .ok_or(Stall)?
            .bulk_out(data)
            .map_err(|_| Stall)
    }

    fn bulk_in(&mut self, endpoint: u8, max: usize) -> Option<Result<Vec<u8>, Stall>> {
        let Some(reader) = self.by_endpoint(endpoint) else {
            return Some(Err(Stall));
        };
        reader.bulk_in(max).map_err(|_| Stall).transpose()
    }

    fn interrupt_in(&mut self, endpoint: u8) -> Option<Vec<u8>> {
        self.by_endpoint(endpoint)?.interrupt_in()
    }

    fn ready_in(&self) -> Option<Duration> {
        let now = self.now();
        // Data that was ready at the last call has been offered to the pending transfers.
        let later = self
            .readers
            .iter()
            .filter_map(|reader| Some((reader.now(), reader.ready_at()?)));
        let next = later
            .filter(|(asked, ready)| ready > asked)
            .map(|(_, ready)| ready)
            .min()?;
        Some(next.saturating_sub(now) / self.pace.max(1))
    }
}
