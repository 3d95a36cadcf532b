//! A reader that the driver manages: what the firmware says of its USB device, and the opened `pcsc_ccid`
//! reader.

use core::ptr::NonNull;

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use pcsc_ccid::descriptor::{interfaces, ExchangeLevel, Features, Flavour, Interface};
use pcsc_ccid::message::Notification;
use pcsc_ccid::names;
use pcsc_ccid::reader::{self, Presence, Reader, ReaderError, ReaderOptions};
use uefi::proto::usb::io::{ControlTransfer, UsbIo};
use uefi::Status;

use crate::transport::UsbTransport;

/// GET_DESCRIPTOR(CONFIGURATION) (USB 2.0, clause 9.4.3).
const STANDARD_DEVICE: u8 = 0x00;
const GET_DESCRIPTOR: u8 = 6;
const CONFIGURATION: u16 = 2;
/// How long a device may take for it, in milliseconds.
const TIMEOUT: u32 = 1000;
/// bInterfaceClass of smart card readers, and of those that were made before the class.
const CLASSES: [u8; 2] = [0x0B, 0xFF];
/// American English, the language that most devices have.
const ENGLISH: u16 = 0x0409;
/// The longest name without its numbers, in UTF-16 units. The specification has no limit, but the programs of
/// other drivers' makers have room for 100 characters and fail with EFI_BUFFER_TOO_SMALL beyond.
const MAX_BASE: usize = 99 - " 00 00".len();

/// A reader and what is known of its slots.
pub struct Device {
    reader: Reader<UsbTransport>,
    /// The reader activates cards by itself: the status of a slot does not show that its card was replaced.
    activates_cards: bool,
    /// The reader reported that a slot is empty or has changed since the last look at it. Another card may be
    /// there by now.
    has_changed: Vec<bool>,
}

impl Device {
    /// Opens the reader behind a USB interface.
    ///
    /// # Safety
    /// As [`UsbTransport::new`].
    ///
    /// # Errors
    /// [`Status::UNSUPPORTED`] of an interface that is no reader; [`Status::DEVICE_ERROR`] of a reader that
    /// does not answer.
    pub unsafe fn open(mut usb: NonNull<UsbIo>) -> Result<(Device, String), Status> {
        // SAFETY: as the caller promises; the transport does not exist yet.
        let io = unsafe { usb.as_mut() };
        let interface = interface(io).ok_or(Status::UNSUPPORTED)?;
        let (description, name) = describe(io, &interface);
        // SAFETY: as the caller promises; `io` is not used any more.
        let transport = unsafe { UsbTransport::new(usb, interface) };
        let reader = Reader::open(transport, description, &interface, ReaderOptions::default())
            .map_err(|_| Status::DEVICE_ERROR)?;
        let slots = usize::from(interface.descriptor.max_slot_index) + 1;
        let device = Device {
            reader,
            activates_cards: interface.descriptor.features.has(Features::AUTOMATIC_ACTIVATION),
            has_changed: vec![false; slots],
        };
        Ok((device, name))
    }

    /// How many slots the reader has.
    pub fn slots(&self) -> u8 {
        self.has_changed.len().try_into().unwrap_or(u8::MAX)
    }

    /// The reader.
    pub fn reader(&mut self) -> &mut Reader<UsbTransport> {
        &mut self.reader
    }

    /// Whether a card is in a slot. A card that was exchanged has no power afterwards.
    ///
    /// # Errors
    /// Where the reader does not answer.
    pub fn presence(&mut self, slot: u8) -> Result<bool, ReaderError> {
        if self.activates_cards {
            self.read_notifications();
        }
        let has_changed = self
            .has_changed
            .get_mut(usize::from(slot))
            .is_some_and(core::mem::take);
        match self.reader.presence(slot)? {
            Presence::Absent => Ok(false),
            Presence::Present if has_changed => self.reader.power_off(slot).map(|()| true),
            _ => Ok(true),
        }
    }

    fn read_notifications(&mut self) {
        // As many as all slots can cause; a reader that never stops must not hold the caller.
        for _ in 0..2 * self.has_changed.len() {
            let Some(message) = self.reader.transport().notification() else {
                break;
            };
            let Some(notification) = Notification::decode(&message) else {
                continue;
            };
            for (slot, has_changed) in self.has_changed.iter_mut().enumerate() {
                // Removal and insertion between two looks are one notification: a card, and a change.
                if let Some((false, _) | (_, true)) = notification.slot(slot as u8) {
                    *has_changed = true;
                }
            }
        }
    }
}

/// Whether a USB interface is a reader that this driver can serve.
pub fn is_reader(usb: &mut UsbIo) -> bool {
    interface(usb).is_some()
}

fn interface(usb: &mut UsbIo) -> Option<Interface> {
    let this = usb.interface_descriptor().ok()?;
    if !CLASSES.contains(&this.interface_class) {
        return None;
    }
    let configuration = configuration(usb)?;
    interfaces(&configuration)
        .into_iter()
        .flatten()
        .find(|interface| interface.number == this.interface_number)
        .filter(has_known_lengths)
}

/// Whether the lengths of the reader's answers can be known: see [`short`](crate::short). Blocks of T=1 on
/// the control pipe do not end with a status word.
fn has_known_lengths(interface: &Interface) -> bool {
    let descriptor = &interface.descriptor;
    let has_apdus = matches!(
        descriptor.features.exchange_level(),
        ExchangeLevel::ShortApdu | ExchangeLevel::ExtendedApdu
    );
    let has_t1 = descriptor.protocols & 2 != 0;
    interface.flavour != Flavour::IccdB || has_apdus || !has_t1
}

/// The active configuration's descriptor, with all that belongs to it.
fn configuration(usb: &mut UsbIo) -> Option<Vec<u8>> {
    let active = usb.config_descriptor().ok()?;
    let count = usb.device_descriptor().ok()?.num_configurations;
    let total = usize::from(active.total_length);
    (0..count).find_map(|index| {
        let mut bytes = vec![0; total];
        usb.control_transfer(
            STANDARD_DEVICE,
            GET_DESCRIPTOR,
            CONFIGURATION << 8 | u16::from(index),
            0,
            ControlTransfer::DataIn(&mut bytes),
            TIMEOUT,
        )
        .ok()?;
        // bConfigurationValue.
        (bytes.get(5) == Some(&active.configuration_value)).then_some(bytes)
    })
}

/// What attributes report of the device, and the reader's name without its numbers, as pcscd would make it.
fn describe(usb: &mut UsbIo, interface: &Interface) -> (reader::DeviceInfo, String) {
    let mut description = reader::DeviceInfo::default();
    let mut product_name = None;
    if let Ok(device) = usb.device_descriptor() {
        description.vendor = device.id_vendor;
        description.product = device.id_product;
        description.release = device.bcd_device;
        description.manufacturer = string(usb, device.str_manufacturer);
        description.serial = string(usb, device.str_serial_number);
        product_name = string(usb, device.str_product);
    }
    let name = names::NameIdentity {
        vendor: description.vendor,
        product: description.product,
        manufacturer: description.manufacturer.as_deref(),
        product_name: product_name.as_deref(),
        interface: string(usb, interface.name_index).as_deref(),
        serial: description.serial.as_deref(),
    }
    .base_name();
    (description, cut(&name, MAX_BASE))
}

/// The characters of a text that fit `size` UTF-16 units.
fn cut(text: &str, size: usize) -> String {
    let mut used = 0;
    let fits = |character: &char| {
        used += character.len_utf16();
        used <= size
    };
    text.chars().take_while(fits).collect()
}

/// A string of the device's, in English where it has that.
fn string(usb: &mut UsbIo, index: u8) -> Option<String> {
    if index == 0 {
        return None;
    }
    let languages = usb.supported_languages().ok()?;
    let language = match languages.contains(&ENGLISH) {
        true => ENGLISH,
        false => *languages.first()?,
    };
    let text = usb.string_descriptor(language, index).ok()?.to_string();
    (!text.is_empty()).then_some(text)
}
