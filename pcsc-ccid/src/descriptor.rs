//! What a reader says of itself: the class descriptor (CCID 1.1, clause 5.1; ICCD 1.0, clause 5.1), and
//! where real devices put it among their interfaces.

use alloc::vec::Vec;
use core::fmt;

/// Length of the class descriptor in bytes.
pub const SIZE: usize = 54;

/// The smart card class descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassDescriptor {
    /// `bcdCCID`: the specification's release, 0x0110 for 1.1.
    pub release: u16,
    /// `bMaxSlotIndex`: the number of slots less one.
    pub max_slot_index: u8,
    /// `bVoltageSupport`: bit 0 for 5 V, bit 1 for 3 V, bit 2 for 1.8 V.
    pub voltages: u8,
    /// `dwProtocols`: bit 0 for T=0, bit 1 for T=1.
    pub protocols: u32,
    /// `dwDefaultClock` in kHz.
    pub default_clock_khz: u32,
    /// `dwMaximumClock` in kHz.
    pub max_clock_khz: u32,
    /// `bNumClockSupported`: how long the list of clocks is; 0 tells nothing.
    pub clock_count: u8,
    /// `dwDataRate` in bits per second.
    pub data_rate_bps: u32,
    /// `dwMaxDataRate` in bits per second.
    pub max_data_rate_bps: u32,
    /// `bNumDataRatesSupported`: how long the list of data rates is; 0 tells nothing.
    pub data_rate_count: u8,
    /// `dwMaxIFSD` for T=1.
    pub max_ifsd: u32,
    /// `dwSynchProtocols`.
    pub synchronous_protocols: u32,
    /// `dwMechanical`.
    pub mechanical: u32,
    /// `dwFeatures`, see [`Features`].
    pub features: Features,
    /// `dwMaxCCIDMessageLength` in bytes, header included.
    pub max_message_length: u32,
    /// `bClassGetResponse`: the class of GET RESPONSE; FF is that of the command.
    pub class_get_response: u8,
    /// `bClassEnvelope`: likewise of ENVELOPE.
    pub class_envelope: u8,
    /// `wLcdLayout`: lines in the high byte, columns in the low one.
    pub lcd_layout: u16,
    /// `bPINSupport`: bit 0 for verification, bit 1 for modification.
    pub pin_support: u8,
    /// `bMaxCCIDBusySlots`.
    pub max_busy_slots: u8,
}

/// What the reader does by itself (`dwFeatures`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(pub u32);

impl Features {
    /// The ATR decides the parameters.
    pub const AUTOMATIC_PARAMETERS: Features = Features(0x02);
    /// A card is activated when it is inserted.
    pub const AUTOMATIC_ACTIVATION: Features = Features(0x04);
    /// The voltage is found by trying.
    pub const AUTOMATIC_VOLTAGE: Features = Features(0x08);
    /// The clock follows the parameters.
    pub const AUTOMATIC_CLOCK: Features = Features(0x10);
    /// The baud rate follows the parameters.
    pub const AUTOMATIC_BAUD_RATE: Features = Features(0x20);
    /// Parameters are negotiated by the reader, by rules of its own.
    pub const AUTOMATIC_NEGOTIATION: Features = Features(0x40);
    /// PPS is made by the reader, for the parameters in use.
    pub const AUTOMATIC_PPS: Features = Features(0x80);
    /// The card's clock can be stopped.
    pub const CLOCK_STOP: Features = Features(0x100);
    /// A NAD other than 0 is taken.
    pub const NAD: Features = Features(0x200);
    /// IFSD is announced by the reader in the first exchange.
    pub const AUTOMATIC_IFSD: Features = Features(0x400);
    /// The device is a card and reader in one (ICCD 1.0).
    pub const ICCD: Features = Features(0x800);
    /// A card that is inserted wakes the host.
    pub const WAKE_UP: Features = Features(0x10_0000);

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Features) -> bool {
        self.0 & other.0 == other.0
    }

    /// The level of exchange.
    pub const fn exchange_level(self) -> ExchangeLevel {
        match self.0 & 0x7_0000 {
            0 => ExchangeLevel::Character,
            0x1_0000 => ExchangeLevel::Tpdu,
            0x2_0000 => ExchangeLevel::ShortApdu,
            _ => ExchangeLevel::ExtendedApdu,
        }
    }
}

/// What one XfrBlock carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeLevel {
    /// Characters: the host runs the protocol.
    Character,
    /// TPDUs: a T=0 command or a T=1 block.
    Tpdu,
    /// Short APDUs.
    ShortApdu,
    /// Short and extended APDUs.
    ExtendedApdu,
}

impl ClassDescriptor {
    /// Reads a class descriptor.
    ///
    /// # Errors
    /// [`Error::Size`].
    pub fn parse(bytes: &[u8]) -> Result<ClassDescriptor, Error> {
        let bytes: &[u8; SIZE] = bytes
            .get(..SIZE)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(Error::Size(bytes.len()))?;
        if usize::from(bytes[0]) != SIZE {
            return Err(Error::Size(bytes[0].into()));
        }
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let long = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let descriptor = ClassDescriptor {
            release: word(2),
            max_slot_index: bytes[4],
            voltages: bytes[5],
            protocols: long(6),
            default_clock_khz: long(10),
            max_clock_khz: long(14),
            clock_count: bytes[18],
            data_rate_bps: long(19),
            max_data_rate_bps: long(23),
            data_rate_count: bytes[27],
            max_ifsd: long(28),
            synchronous_protocols: long(32),
            mechanical: long(36),
            features: Features(long(40)),
            max_message_length: long(44),
            class_get_response: bytes[48],
            class_envelope: bytes[49],
            lcd_layout: word(50),
            pin_support: bytes[52],
            max_busy_slots: bytes[53],
        };
        Ok(descriptor)
    }

    /// The descriptor's bytes.
    pub fn to_bytes(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[0] = SIZE as u8;
        bytes[1] = 0x21;
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(2, &self.release.to_le_bytes());
        put(4, &[self.max_slot_index, self.voltages]);
        put(6, &self.protocols.to_le_bytes());
        put(10, &self.default_clock_khz.to_le_bytes());
        put(14, &self.max_clock_khz.to_le_bytes());
        put(18, &[self.clock_count]);
        put(19, &self.data_rate_bps.to_le_bytes());
        put(23, &self.max_data_rate_bps.to_le_bytes());
        put(27, &[self.data_rate_count]);
        put(28, &self.max_ifsd.to_le_bytes());
        put(32, &self.synchronous_protocols.to_le_bytes());
        put(36, &self.mechanical.to_le_bytes());
        put(40, &self.features.0.to_le_bytes());
        put(44, &self.max_message_length.to_le_bytes());
        put(48, &[self.class_get_response, self.class_envelope]);
        put(50, &self.lcd_layout.to_le_bytes());
        put(52, &[self.pin_support, self.max_busy_slots]);
        bytes
    }

    /// How many slots the reader has.
    pub fn slots(&self) -> u16 {
        u16::from(self.max_slot_index) + 1
    }
}

/// Reads the answer to GET_CLOCK_FREQUENCIES (kHz) or GET_DATA_RATES (bits per second) (CCID 1.1,
/// clauses 5.3.2 and 5.3.3): whole numbers only, without the zeros that some readers fill up with.
pub fn list(bytes: &[u8]) -> Vec<u32> {
    bytes
        .chunks_exact(4)
        .map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        .filter(|value| *value != 0)
        .collect()
}

/// How the host talks to an interface (`bInterfaceProtocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flavour {
    /// Bulk pipes (CCID 1.1).
    #[default]
    Ccid,
    /// Control pipe, version A (ICCD 1.0, clause 6.1).
    IccdA,
    /// Control pipe, version B (ICCD 1.0, clause 6.2).
    IccdB,
}

/// An interrupt endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupt {
    /// Its address.
    pub address: u8,
    /// `wMaxPacketSize` in bytes.
    pub max_packet_size: u16,
    /// `bInterval`.
    pub interval: u8,
}

/// An interface that is a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// `bInterfaceNumber`.
    pub number: u8,
    /// `bAlternateSetting`.
    pub alternate: u8,
    /// `bInterfaceClass`: 0B, or FF of readers from before the class.
    pub class: u8,
    /// `iInterface`: the index of its name; 0 for none.
    pub name_index: u8,
    /// How to talk to it.
    pub flavour: Flavour,
    /// Bulk OUT endpoint; a reader with bulk pipes has both.
    pub bulk_out: Option<u8>,
    /// Bulk IN endpoint.
    pub bulk_in: Option<u8>,
    /// Interrupt IN endpoint; without one, cards are looked for by asking.
    pub interrupt_in: Option<Interrupt>,
    /// The class descriptor.
    pub descriptor: ClassDescriptor,
}

const CLASS_SMART_CARD: u8 = 0x0B;
const CLASS_VENDOR: u8 = 0xFF;

/// Finds the readers in a configuration descriptor with all that belongs to it (USB 2.0, clause 9.6.3).
///
/// The class descriptor is taken from wherever it is in the interface, after an endpoint too; in an
/// interface of the vendor's class its presence makes it a reader. Of several alternate settings the first
/// usable one counts. An interface of the smart card class that cannot be used is an error with its number.
pub fn interfaces(configuration: &[u8]) -> Vec<Result<Interface, Unusable>> {
    let mut found: Vec<Result<Interface, Unusable>> = Vec::new();
    let mut current: Option<Draft> = None;
    let mut rest = configuration;
    while let [length, kind, ..] = *rest {
        let length = usize::from(length);
        let Some((descriptor, after)) = rest.split_at_checked(length).filter(|_| length >= 2) else {
            break;
        };
        rest = after;
        match (kind, descriptor) {
            (0x04, &[_, _, number, alternate, _, class, _, protocol, name_index, ..]) => {
                finish(&mut found, current.take());
                current = Some(Draft::new(number, alternate, class, protocol, name_index));
            }
            (0x05, &[_, _, address, attributes, low, high, interval, ..]) => {
                if let Some(draft) = &mut current {
                    draft.add_endpoint(address, attributes, u16::from_le_bytes([low, high]), interval);
                }
            }
            (0x21 | 0xFF, bytes) if bytes.len() == SIZE => {
                if let Some(draft) = &mut current {
                    draft
                        .descriptor
                        .get_or_insert_with(|| ClassDescriptor::parse(bytes));
                }
            }
            _ => (),
        }
    }
    finish(&mut found, current);
    found
}

struct Draft {
    number: u8,
    alternate: u8,
    class: u8,
    protocol: u8,
    name_index: u8,
    bulk_out: Option<u8>,
    bulk_in: Option<u8>,
    interrupt_in: Option<Interrupt>,
    descriptor: Option<Result<ClassDescriptor, Error>>,
}

impl Draft {
    fn new(number: u8, alternate: u8, class: u8, protocol: u8, name_index: u8) -> Draft {
        Draft {
            number,
            alternate,
            class,
            protocol,
            name_index,
            bulk_out: None,
            bulk_in: None,
            interrupt_in: None,
            descriptor: None,
        }
    }

    fn add_endpoint(&mut self, address: u8, attributes: u8, max_packet_size: u16, interval: u8) {
        let is_in = address & 0x80 != 0;
        match (attributes & 3, is_in) {
            (2, true) => _ = self.bulk_in.get_or_insert(address),
            (2, false) => _ = self.bulk_out.get_or_insert(address),
            (3, true) => {
                self.interrupt_in.get_or_insert(Interrupt {
                    address,
                    max_packet_size: max_packet_size & 0x7FF,
                    interval,
                });
            }
            _ => (),
        }
    }

    fn finish(self) -> Option<Result<Interface, Unusable>> {
        let is_reader = match self.class {
            CLASS_SMART_CARD => true,
            CLASS_VENDOR => self.descriptor.is_some(),
            _ => false,
        };
        if !is_reader {
            return None;
        }
        // Readers from before the specification have protocol numbers of their own, and bulk pipes.
        let has_pipes = self.bulk_in.is_some() && self.bulk_out.is_some();
        let flavour = match self.protocol {
            1 if !has_pipes => Flavour::IccdA,
            2 if !has_pipes => Flavour::IccdB,
            _ => Flavour::Ccid,
        };
        let descriptor = match self.descriptor.unwrap_or(Err(Error::Missing)) {
            Ok(_) if flavour == Flavour::Ccid && !has_pipes => Err(Error::NoBulkPipes),
            descriptor => descriptor,
        };
        Some(match descriptor {
            Ok(descriptor) => Ok(Interface {
                number: self.number,
                alternate: self.alternate,
                class: self.class,
                name_index: self.name_index,
                flavour,
                bulk_out: self.bulk_out,
                bulk_in: self.bulk_in,
                interrupt_in: self.interrupt_in,
                descriptor,
            }),
            Err(error) => Err(Unusable {
                interface: self.number,
                error,
            }),
        })
    }
}

fn finish(found: &mut Vec<Result<Interface, Unusable>>, draft: Option<Draft>) {
    let Some(new) = draft.and_then(Draft::finish) else {
        return;
    };
    let number = |entry: &Result<Interface, Unusable>| match entry {
        Ok(interface) => interface.number,
        Err(unusable) => unusable.interface,
    };
    match found.iter_mut().find(|entry| number(entry) == number(&new)) {
        None => found.push(new),
        Some(entry) if entry.is_err() => *entry = new,
        Some(_) => (),
    }
}

/// An interface of the smart card class that is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unusable {
    /// Its number.
    pub interface: u8,
    /// Why.
    pub error: Error,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interface {}: {}", self.interface, self.error)
    }
}

#[cfg(feature = "std")]
impl std::error::Error for Unusable {}

/// What is wrong with a class descriptor or with its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// There is no class descriptor.
    Missing,
    /// The class descriptor has 54 bytes, not this many.
    Size(usize),
    /// One of the bulk endpoints is missing.
    NoBulkPipes,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Missing => f.write_str("there is no class descriptor"),
            Error::Size(size) => write!(f, "the class descriptor has {size} bytes, not {SIZE}"),
            Error::NoBulkPipes => f.write_str("a bulk endpoint is missing"),
        }
    }
}

#[cfg(feature = "std")]
impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn sample() -> ClassDescriptor {
        ClassDescriptor {
            release: 0x0110,
            max_slot_index: 1,
            voltages: 7,
            protocols: 3,
            default_clock_khz: 4800,
            max_clock_khz: 8000,
            clock_count: 2,
            data_rate_bps: 12_903,
            max_data_rate_bps: 412_903,
            data_rate_count: 0,
            max_ifsd: 254,
            synchronous_protocols: 7,
            mechanical: 1,
            features: Features(0x0001_00BA),
            max_message_length: 271,
            class_get_response: 0xFF,
            class_envelope: 0xFE,
            lcd_layout: 0x0210,
            pin_support: 3,
            max_busy_slots: 1,
        }
    }

    fn interface(number: u8, class: u8, protocol: u8) -> Vec<u8> {
        vec![9, 4, number, 0, 3, class, 0, protocol, 5]
    }

    const BULK_OUT: [u8; 7] = [7, 5, 0x02, 2, 64, 0, 0];
    const BULK_IN: [u8; 7] = [7, 5, 0x82, 2, 64, 0, 0];
    const INTERRUPT: [u8; 7] = [7, 5, 0x81, 3, 8, 0, 16];
    const CONFIGURATION: [u8; 9] = [9, 2, 0, 0, 1, 1, 0, 0x80, 50];

    fn only(parts: &[&[u8]]) -> Result<Interface, Unusable> {
        let mut found = interfaces(&parts.concat());
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    #[test]
    fn every_field_is_at_its_offset() {
        let bytes = sample().to_bytes();
        assert_eq!(bytes[..6], [54, 0x21, 0x10, 0x01, 1, 7]);
        assert_eq!(bytes[10..14], 4800u32.to_le_bytes());
        assert_eq!(bytes[40..44], [0xBA, 0x00, 0x01, 0x00]);
        assert_eq!(bytes[48..], [0xFF, 0xFE, 0x10, 0x02, 3, 1]);
        assert_eq!(ClassDescriptor::parse(&bytes), Ok(sample()));
        assert_eq!(ClassDescriptor::parse(&bytes[..53]), Err(Error::Size(53)));
    }

    #[test]
    fn the_class_descriptor_is_found_wherever_it_is() {
        let class = sample().to_bytes();
        let before = only(&[
            &CONFIGURATION,
            &interface(0, 0x0B, 0),
            &class,
            &INTERRUPT,
            &BULK_OUT,
            &BULK_IN,
        ])
        .unwrap();
        assert_eq!(before.descriptor, sample());
        assert_eq!((before.bulk_out, before.bulk_in), (Some(0x02), Some(0x82)));
        assert_eq!(before.interrupt_in.unwrap().interval, 16);
        assert_eq!(before.name_index, 5);
        let after = only(&[
            &CONFIGURATION,
            &interface(0, 0x0B, 0),
            &BULK_OUT,
            &BULK_IN,
            &class,
        ])
        .unwrap();
        assert_eq!((after.descriptor, after.interrupt_in), (sample(), None));
        let mut vendor = class;
        vendor[1] = 0xFF;
        let old = only(&[
            &CONFIGURATION,
            &interface(0, 0xFF, 0),
            &vendor,
            &BULK_OUT,
            &BULK_IN,
        ])
        .unwrap();
        assert_eq!(old.class, 0xFF);
    }

    #[test]
    fn several_interfaces_and_alternates() {
        let class = sample().to_bytes();
        let mut second_alternate = interface(2, 0x0B, 0);
        second_alternate[3] = 1;
        let found = interfaces(
            &[
                &CONFIGURATION[..],
                &interface(0, 3, 0),
                &[9, 0x21, 0x11, 1, 0, 1, 0x22, 63, 0],
                &INTERRUPT,
                &interface(1, 0x0B, 0),
                &class,
                &BULK_OUT,
                &BULK_IN,
                &interface(2, 0x0B, 0),
                &second_alternate,
                &class,
                &BULK_OUT,
                &BULK_IN,
                &interface(3, 0xFF, 0),
                &interface(4, 0x0B, 2),
                &class,
            ]
            .concat(),
        );
        let seen: Vec<_> = found
            .iter()
            .map(|entry| entry.map(|i| (i.number, i.alternate, i.flavour)))
            .collect();
        assert_eq!(
            seen,
            [
                Ok((1, 0, Flavour::Ccid)),
                Ok((2, 1, Flavour::Ccid)),
                Ok((4, 0, Flavour::IccdB)),
            ]
        );
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let class = sample().to_bytes();
        let error = |parts: &[&[u8]]| only(parts).unwrap_err().error;
        assert_eq!(
            error(&[&interface(0, 0x0B, 0), &BULK_OUT, &BULK_IN]),
            Error::Missing
        );
        assert_eq!(
            error(&[&interface(0, 0x0B, 0), &class, &BULK_OUT]),
            Error::NoBulkPipes
        );
        assert!(
            interfaces(&[0, 4, 1]).is_empty(),
            "a length of 0 does not go on for ever"
        );
        assert!(interfaces(&class[..20]).is_empty());
    }

    #[test]
    fn lists_of_rates_may_be_short_and_padded() {
        assert_eq!(list(&[0x00, 0x2A, 0, 0, 0x80, 0x25, 0, 0]), [10_752, 9600]);
        assert_eq!(list(&[0x00, 0x2A, 0, 0, 0, 0, 0, 0, 1, 2]), [10_752]);
        assert_eq!(list(&[]), []);
    }

    #[test]
    fn levels_by_their_bits() {
        let level = |bits| Features(bits).exchange_level();
        assert_eq!(level(0x840), ExchangeLevel::Character);
        assert_eq!(level(0x100BA), ExchangeLevel::Tpdu);
        assert_eq!(level(0x204BE), ExchangeLevel::ShortApdu);
        assert_eq!(level(0x404BA), ExchangeLevel::ExtendedApdu);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for entry in interfaces(&bytes) {
                let _ = entry;
            }
            list(&bytes);
            if let Ok(descriptor) = ClassDescriptor::parse(&bytes) {
                prop_assert_eq!(&descriptor.to_bytes()[2..], &bytes[2..SIZE]);
            }
        }
    }
}
