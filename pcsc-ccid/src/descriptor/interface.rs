//! Where real devices put the class descriptor among their interfaces.

use alloc::vec::Vec;

use super::{ClassDescriptor, DescriptorError, SIZE};

/// How the host talks to an interface (`bInterfaceProtocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Flavour {
    /// Bulk pipes (CCID 1.1).
    #[default]
    Ccid,
    /// Control pipe, version A (ICCD 1.0, clause 6.1).
    IccdA,
    /// Control pipe, version B (ICCD 1.0, clause 6.2).
    IccdB,
}

impl Flavour {
    /// `bInterfaceProtocol`.
    pub const fn protocol(self) -> u8 {
        match self {
            Flavour::Ccid => 0,
            Flavour::IccdA => 1,
            Flavour::IccdB => 2,
        }
    }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
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
                current = Some(Draft {
                    interface: Interface {
                        number,
                        alternate,
                        class,
                        name_index,
                        ..Interface::default()
                    },
                    protocol,
                    kind: 0,
                    descriptor: None,
                });
            }
            (0x05, &[_, _, address, attributes, low, high, interval, ..]) => {
                if let Some(draft) = &mut current {
                    draft.add_endpoint(address, attributes, u16::from_le_bytes([low, high]), interval);
                }
            }
            (kind, bytes) if bytes.len() == SIZE => {
                if let Some(draft) = current.as_mut().filter(|draft| draft.may_have_for_class(kind)) {
                    // One of the specification's type replaces others of this size.
                    if draft.descriptor.is_none() || kind == STANDARD && draft.kind != STANDARD {
                        draft.kind = kind;
                        draft.descriptor = Some(ClassDescriptor::parse(bytes));
                    }
                }
            }
            _ => (),
        }
    }
    finish(&mut found, current);
    found
}

/// The type of class descriptors (CCID 1.1, clause 5.1).
const STANDARD: u8 = 0x21;

/// An interface whose descriptors are being read.
struct Draft {
    interface: Interface,
    protocol: u8,
    /// The type of the class descriptor.
    kind: u8,
    descriptor: Option<Result<ClassDescriptor, DescriptorError>>,
}

impl Draft {
    /// Whether a descriptor of this type and of the right size is the class descriptor. The specification's
    /// type is 21; some readers have FF. In an interface of the smart card class the size is enough.
    fn may_have_for_class(&self, kind: u8) -> bool {
        self.interface.class == CLASS_SMART_CARD || matches!(kind, STANDARD | 0xFF)
    }

    fn add_endpoint(&mut self, address: u8, attributes: u8, max_packet_size: u16, interval: u8) {
        // Number 0 is the control pipe, and there are 15 others; Linux skips such descriptors too (USB 2.0,
        // clause 9.6.6).
        if !matches!(address & 0x7F, 1..=15) {
            return;
        }
        let is_in = address & 0x80 != 0;
        match (attributes & 3, is_in) {
            (2, true) => _ = self.interface.bulk_in.get_or_insert(address),
            (2, false) => _ = self.interface.bulk_out.get_or_insert(address),
            (3, true) => {
                self.interface.interrupt_in.get_or_insert(Interrupt {
                    address,
                    max_packet_size: max_packet_size & 0x7FF,
                    interval,
                });
            }
            _ => (),
        }
    }

    fn finish(self) -> Option<Result<Interface, Unusable>> {
        let interface = self.interface;
        let is_reader = match interface.class {
            CLASS_SMART_CARD => true,
            CLASS_VENDOR => self.descriptor.is_some(),
            _ => false,
        };
        if !is_reader {
            return None;
        }
        // Readers from before the specification have protocol numbers of their own, and bulk pipes.
        let has_pipes = interface.bulk_in.is_some() && interface.bulk_out.is_some();
        let flavour = match self.protocol {
            1 if !has_pipes => Flavour::IccdA,
            2 if !has_pipes => Flavour::IccdB,
            _ => Flavour::Ccid,
        };
        let descriptor = match self.descriptor.unwrap_or(Err(DescriptorError::Missing)) {
            Ok(_) if flavour == Flavour::Ccid && !has_pipes => Err(DescriptorError::NoBulkPipes),
            descriptor => descriptor,
        };
        Some(match descriptor {
            Ok(descriptor) => Ok(Interface {
                flavour,
                descriptor,
                ..interface
            }),
            Err(error) => Err(Unusable {
                interface: interface.number,
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

/// An interface of the smart card class that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interface {interface}: {error}")]
#[non_exhaustive]
pub struct Unusable {
    /// Its number.
    pub interface: u8,
    /// Why.
    pub error: DescriptorError,
}
