//! What is known of a reader before it is opened.

use super::error::OpenError;
use crate::descriptor::{Interface, Unusable};
use crate::names;
use crate::reader::Device;
use std::fmt;
use std::format;
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec::Vec;

/// What a device says of itself, as the system has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// `idVendor`.
    pub vendor_id: u16,
    /// `idProduct`.
    pub product_id: u16,
    /// `bcdDevice`: the firmware's release.
    pub release: u16,
    /// The manufacturer's name.
    pub manufacturer: Option<String>,
    /// The product's name.
    pub product: Option<String>,
    /// The serial number.
    pub serial: Option<String>,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor_id, self.product_id)?;
        for name in [&self.manufacturer, &self.product].into_iter().flatten() {
            write!(f, " {name}")?;
        }
        Ok(())
    }
}

/// Where an interface of a device is. A device that is unplugged and comes back has another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Number of the bus; 0 where the system has none.
    pub bus: u8,
    /// The device's address on the bus. Bus and address are what `SCARD_ATTR_CHANNEL_ID` tells.
    pub address: u8,
    /// `bInterfaceNumber`.
    pub interface: u8,
}

impl Place {
    /// The folder of nodes on Linux.
    pub(super) const NODES: &'static str = "/dev/bus/usb";

    /// The device's node on Linux, /dev/bus/usb/BBB/DDD.
    pub fn node(&self) -> PathBuf {
        self.node_in(Path::new(Place::NODES))
    }

    pub(super) fn node_in(&self, nodes: &Path) -> PathBuf {
        nodes.join(format!("{:03}/{:03}", self.bus, self.address))
    }
}

/// A reader that can be opened.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// What it says of itself.
    pub identity: Identity,
    /// Where it is.
    pub place: Place,
    /// Its port and interface as the kernel writes them, such as 1-4.2:1.0.
    pub port: String,
    /// The interface that is a reader.
    pub interface: Interface,
    /// The interface's name.
    pub interface_name: Option<String>,
    pub(super) source: Source,
}

impl Candidate {
    /// What [`Reader::open`](crate::reader::Reader::open) takes.
    pub fn device(&self) -> Device {
        Device {
            vendor: self.identity.vendor_id,
            product: self.identity.product_id,
            release: self.identity.release,
            manufacturer: self.identity.manufacturer.clone(),
            serial: self.identity.serial.clone(),
            bus: self.place.bus,
            address: self.place.address,
            path: self.port.clone(),
        }
    }

    /// What the reader's name is made of.
    pub fn name_identity(&self) -> names::Identity<'_> {
        names::Identity {
            vendor: self.identity.vendor_id,
            product: self.identity.product_id,
            manufacturer: self.identity.manufacturer.as_deref(),
            product_name: self.identity.product.as_deref(),
            interface: self.interface_name.as_deref(),
            serial: self.identity.serial.as_deref(),
        }
    }
}

/// What to open.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// The device's node.
    #[cfg(target_os = "linux")]
    Node,
    #[cfg(any(target_os = "macos", target_os = "windows"))]
    Listed(nusb::DeviceInfo),
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Open(super::system::Device),
}

/// The readers on the USB, and what to tell of devices that look like one and cannot be used.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// In the order of bus, address and interface.
    pub readers: Vec<Candidate>,
    /// What to log, once.
    pub notices: Vec<Notice>,
}

/// What is to be told of a device that is not among the readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Where it is.
    pub place: Place,
    /// What it is.
    pub identity: Identity,
    /// Why it is not among the readers.
    pub reason: Reason,
}

/// Why a device is not among the readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The user may not open it.
    Permission,
    /// It has no node under /dev.
    NoNode,
    /// Its descriptor is of no use.
    Descriptor(crate::descriptor::Error),
    /// Udev's property `PCSCLITE_IGNORE` says so.
    Ignored,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Notice {
            place,
            identity,
            reason,
        } = self;
        let node = place.node();
        write!(f, "reader {identity}: ")?;
        match *reason {
            Reason::Permission => OpenError::Permission {
                node,
                rule: udev_rule(identity),
            }
            .fmt(f),
            Reason::NoNode => write!(f, "{} does not exist", node.display()),
            Reason::Descriptor(error) => Unusable {
                interface: place.interface,
                error,
            }
            .fmt(f),
            Reason::Ignored => f.write_str("ignored, as PCSCLITE_IGNORE is set"),
        }
    }
}

/// The udev rule that lets the user at the seat, and the group plugdev, open such a device.
pub fn udev_rule(identity: &Identity) -> String {
    format!(
        "SUBSYSTEM==\"usb\", ATTR{{idVendor}}==\"{:04x}\", ATTR{{idProduct}}==\"{:04x}\", MODE=\"0660\", \
         GROUP=\"plugdev\", TAG+=\"uaccess\"",
        identity.vendor_id, identity.product_id
    )
}

/// Whether an interface of this class can be a reader: smart card, or the vendor's own.
#[cfg(not(target_os = "android"))]
pub(super) fn is_plausible(class: u8) -> bool {
    matches!(class, 0x0B | 0xFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn notice(reason: Reason) -> String {
        Notice {
            place: Place {
                bus: 1,
                address: 4,
                interface: 2,
            },
            identity: Identity {
                vendor_id: 0x058F,
                product_id: 0x9540,
                manufacturer: Some("Generic".into()),
                product: Some("EMV Smartcard Reader".into()),
                ..Identity::default()
            },
            reason,
        }
        .to_string()
    }

    #[test]
    fn a_missing_permission_names_the_node_and_the_rule() {
        let text = notice(Reason::Permission);
        assert!(
            text.starts_with("reader 058f:9540 Generic EMV Smartcard Reader: "),
            "{text}"
        );
        assert!(text.contains("/dev/bus/usb/001/004"), "{text}");
        let rule = "SUBSYSTEM==\"usb\", ATTR{idVendor}==\"058f\", ATTR{idProduct}==\"9540\", MODE=\"0660\", \
                    GROUP=\"plugdev\", TAG+=\"uaccess\"";
        assert!(text.ends_with(rule), "{text}");
    }

    #[test]
    fn other_reasons_are_told_too() {
        assert!(notice(Reason::NoNode).ends_with("/dev/bus/usb/001/004 does not exist"));
        let text = notice(Reason::Descriptor(crate::descriptor::Error::Missing));
        assert!(
            text.ends_with("interface 2: there is no class descriptor"),
            "{text}"
        );
    }
}
