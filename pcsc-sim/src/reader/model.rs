//! What a reader is before a card comes: identity, descriptors, lists. A line of text makes one.

use core::str::FromStr;

use pcsc_ccid::descriptor::{interfaces, ClassDescriptor, Features, Flavour, Interface};

use crate::UsbIdentity;

/// A model of reader: one interface of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Model {
    /// A short name without spaces.
    pub name: String,
    /// The device's numbers and strings.
    pub identity: UsbIdentity,
    /// `bInterfaceNumber`.
    pub number: u8,
    /// `bAlternateSetting`.
    pub alternate: u8,
    /// `bNumEndpoints`: 3 with an interrupt endpoint, 2 without; 1 or 0 of ICCD.
    pub endpoints: u8,
    /// `bInterfaceClass`: 0B, or FF.
    pub class: u8,
    /// `bInterfaceSubClass`.
    pub subclass: u8,
    /// `bInterfaceProtocol`.
    pub protocol: u8,
    /// The class descriptor.
    pub descriptor: ClassDescriptor,
    /// What GET_CLOCK_FREQUENCIES answers, in kHz; the request is refused where there are none.
    pub clocks_khz: Vec<u32>,
    /// What GET_DATA_RATES answers, in bits per second; likewise.
    pub data_rates_bps: Vec<u32>,
}

/// Why a line is no model: the number of the column, from 1, that is missing or cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("column {0} of the line is missing or wrong")]
pub struct BadColumn(pub usize);

impl Model {
    /// Makes a model of a line of 34 columns parted by tabs, in the order of this crate's list of readers.
    /// "-" is none.
    ///
    /// # Errors
    /// [`BadColumn`].
    pub fn parse(line: &str) -> Result<Model, BadColumn> {
        let mut columns = Columns {
            texts: line.trim_end_matches(['\r', '\n']).split('\t'),
            at: 0,
        };
        let name = columns.read(|text| Some(text.to_owned()))?;
        let mut identity = UsbIdentity::default();
        columns.read(|text| identity.set_ids(text))?;
        columns.read(|text| identity.set_release(text))?;
        identity.manufacturer = columns.string()?;
        identity.product = columns.string()?;
        identity.interface_name = columns.string()?;
        let model = Model {
            name,
            identity,
            number: columns.decimal()?,
            alternate: columns.decimal()?,
            endpoints: columns.decimal()?,
            class: columns.decimal()?,
            subclass: columns.decimal()?,
            protocol: columns.decimal()?,
            descriptor: class_descriptor(&mut columns)?,
            clocks_khz: columns.list()?,
            data_rates_bps: columns.list()?,
        };
        match columns.texts.next() {
            None => Ok(model),
            Some(_) => Err(BadColumn(columns.at + 1)),
        }
    }

    /// How the host talks to it.
    pub fn flavour(&self) -> Flavour {
        match self.protocol {
            1 if self.endpoints < 2 => Flavour::IccdA,
            2 if self.endpoints < 2 => Flavour::IccdB,
            _ => Flavour::Ccid,
        }
    }

    /// The clock at the contact after a reset, in Hz: `dwDefaultClock`, unless no card would take it (below
    /// 1 MHz, ISO 7816-3 clause 5.2.3); then what `dwDataRate` makes at 372/1.
    pub fn clock_hz(&self) -> u32 {
        match self.descriptor.default_clock_khz {
            khz @ 1000.. => khz.saturating_mul(1000),
            _ => self.descriptor.data_rate_bps.saturating_mul(372).max(1_000_000),
        }
    }

    /// The longest message that the firmware takes. Those that announce 263, or less than a packet of 64
    /// bytes, have room for a whole short APDU all the same: only the announcement is wrong.
    pub fn longest_message(&self) -> usize {
        match self.descriptor.max_message_length {
            263 | 0..64 => 271,
            // More than the longest extended command, whatever a model from a file announces.
            announced => (announced as usize).min(0x1_1000),
        }
    }

    /// Whether there is an interrupt endpoint: the third, or an ICCD device's only one.
    pub fn notifies(&self) -> bool {
        matches!(self.endpoints, 1 | 3..)
    }

    /// The interface, class and endpoint descriptors, one after the other (USB 2.0, clause 9.6), with
    /// the class descriptor where most devices have it, and bulk endpoints of 64 bytes.
    fn interface_descriptors(&self, name_index: u8) -> Vec<u8> {
        let mut bytes = vec![9, 0x04, self.number, self.alternate, self.endpoints];
        bytes.extend([self.class, self.subclass, self.protocol, name_index]);
        bytes.extend(self.descriptor.to_bytes());
        // Two endpoint numbers an interface, so that several interfaces fit one device.
        let address = self.number.wrapping_mul(2) & 0x0F;
        if self.endpoints >= 2 {
            bytes.extend([7, 0x05, (address + 1) & 0x0F, 0x02, PACKET as u8, 0, 0]);
            bytes.extend([7, 0x05, 0x80 | (address + 1) & 0x0F, 0x02, PACKET as u8, 0, 0]);
        }
        if self.notifies() {
            bytes.extend([7, 0x05, 0x80 | (address + 2) & 0x0F, 0x03, 8, 0, 16]);
        }
        bytes
    }

    /// A configuration descriptor with all that belongs to it, for a device of these interfaces; the
    /// interface's string has this index, and those of the next ones follow.
    pub fn configuration_descriptor(interfaces: &[&Model], first_name_index: u8) -> Vec<u8> {
        let mut bytes = Vec::from([9, 0x02, 0, 0, interfaces.len() as u8, 1, 0, 0x80, 50]);
        let mut next = first_name_index;
        for model in interfaces {
            let index = model.identity.interface_name.as_ref().map_or(0, |_| next);
            next = next.wrapping_add(u8::from(index != 0));
            bytes.extend(model.interface_descriptors(index));
        }
        let total = (bytes.len() as u16).to_le_bytes();
        bytes[2..4].copy_from_slice(&total);
        bytes
    }

    /// The interface as a host reads it; `None` if it is no reader.
    pub fn interface(&self) -> Option<Interface> {
        let configuration = Model::configuration_descriptor(&[self], 4);
        interfaces(&configuration).into_iter().find_map(Result::ok)
    }

    /// The device descriptor (USB 2.0, clause 9.6.1): full speed, one configuration; string 1 is the
    /// manufacturer and 2 the product, where they are.
    pub fn device_descriptor(&self) -> [u8; 18] {
        let mut bytes = [0; 18];
        bytes[..8].copy_from_slice(&[18, 0x01, 0x00, 0x02, 0, 0, 0, 64]);
        let identity = &self.identity;
        for (at, number) in [
            (8, identity.vendor_id),
            (10, identity.product_id),
            (12, identity.release),
        ] {
            bytes[at..at + 2].copy_from_slice(&number.to_le_bytes());
        }
        bytes[14] = u8::from(identity.manufacturer.is_some());
        bytes[15] = 2 * u8::from(identity.product.is_some());
        // bNumConfigurations.
        bytes[17] = 1;
        bytes
    }
}

/// Bytes in a packet of the bulk pipes.
pub const PACKET: usize = 64;

/// The class descriptor, from its columns.
fn class_descriptor(columns: &mut Columns<'_>) -> Result<ClassDescriptor, BadColumn> {
    let mut descriptor = ClassDescriptor::default();
    descriptor.release = columns.hexadecimal()? as u16;
    descriptor.max_slot_index = columns.decimal()?;
    descriptor.voltages = columns.decimal()?;
    descriptor.protocols = columns.hexadecimal()?;
    descriptor.default_clock_khz = columns.decimal()?;
    descriptor.max_clock_khz = columns.decimal()?;
    descriptor.clock_count = columns.decimal()?;
    descriptor.data_rate_bps = columns.decimal()?;
    descriptor.max_data_rate_bps = columns.decimal()?;
    descriptor.data_rate_count = columns.decimal()?;
    descriptor.max_ifsd = columns.decimal()?;
    descriptor.synchronous_protocols = columns.hexadecimal()?;
    descriptor.mechanical = columns.hexadecimal()?;
    descriptor.features = Features(columns.hexadecimal()?);
    descriptor.max_message_length = columns.decimal()?;
    descriptor.class_get_response = columns.hexadecimal()? as u8;
    descriptor.class_envelope = columns.hexadecimal()? as u8;
    descriptor.lcd_layout = columns.hexadecimal()? as u16;
    descriptor.pin_support = columns.decimal()?;
    descriptor.max_busy_slots = columns.decimal()?;
    Ok(descriptor)
}

struct Columns<'a> {
    texts: core::str::Split<'a, char>,
    at: usize,
}

impl<'a> Columns<'a> {
    fn read<T>(&mut self, read: impl FnOnce(&'a str) -> Option<T>) -> Result<T, BadColumn> {
        self.at += 1;
        let text = self.texts.next().filter(|text| !text.is_empty());
        text.and_then(read).ok_or(BadColumn(self.at))
    }

    fn string(&mut self) -> Result<Option<String>, BadColumn> {
        self.read(|text| Some((text != "-").then(|| text.to_owned())))
    }

    fn decimal<N: FromStr>(&mut self) -> Result<N, BadColumn> {
        self.read(|text| text.parse().ok())
    }

    fn hexadecimal(&mut self) -> Result<u32, BadColumn> {
        self.read(|text| u32::from_str_radix(text, 16).ok())
    }

    fn list(&mut self) -> Result<Vec<u32>, BadColumn> {
        self.read(|text| match text {
            "-" => Some(Vec::new()),
            text => text.split(',').map(|number| number.parse().ok()).collect(),
        })
    }
}
