//! Readers that are not open yet.

use super::platform::Source;
use crate::descriptor::Interface;
use crate::names;
use crate::reader::DeviceInfo;
use std::fmt;
use std::format;
use std::path::{Path, PathBuf};
use std::string::String;

/// The identity of a device, as the system reports it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeviceIdentity {
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

impl fmt::Display for DeviceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor_id, self.product_id)?;
        for name in [&self.manufacturer, &self.product].into_iter().flatten() {
            write!(f, " {name}")?;
        }
        Ok(())
    }
}

/// The place of a device's interface on the bus. A device that is unplugged and plugged in again has another
/// address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Place {
    /// The number of the bus; 0 if the system does not number them.
    pub bus: u8,
    /// The device's address on the bus. `SCARD_ATTR_CHANNEL_ID` is made of bus and address.
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
#[non_exhaustive]
pub struct Candidate {
    /// The device's identity.
    pub identity: DeviceIdentity,
    /// Its place on the bus.
    pub place: Place,
    /// Its port and interface in the kernel's notation, such as 1-4.2:1.0.
    pub port: String,
    /// The interface that is a reader.
    pub interface: Interface,
    /// The interface's name.
    pub interface_name: Option<String>,
    /// What [`Candidate::open`] opens.
    pub(super) source: Source,
}

impl Candidate {
    /// The description for [`Reader::open`](crate::reader::Reader::open).
    pub fn device(&self) -> DeviceInfo {
        DeviceInfo {
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

    /// The parts of the reader's name.
    pub fn name_identity(&self) -> names::NameIdentity<'_> {
        names::NameIdentity {
            vendor: self.identity.vendor_id,
            product: self.identity.product_id,
            manufacturer: self.identity.manufacturer.as_deref(),
            product_name: self.identity.product.as_deref(),
            interface: self.interface_name.as_deref(),
            serial: self.identity.serial.as_deref(),
        }
    }
}

/// The udev rule that grants access to such a device to the user at the seat and the group plugdev.
pub fn udev_rule(identity: &DeviceIdentity) -> String {
    format!(
        "SUBSYSTEM==\"usb\", ATTR{{idVendor}}==\"{:04x}\", ATTR{{idProduct}}==\"{:04x}\", MODE=\"0660\", \
         GROUP=\"plugdev\", TAG+=\"uaccess\"",
        identity.vendor_id, identity.product_id
    )
}

/// Whether an interface of this class can be a reader: smart card, or vendor-specific.
pub(super) fn is_plausible(class: u8) -> bool {
    matches!(class, 0x0B | 0xFF)
}
