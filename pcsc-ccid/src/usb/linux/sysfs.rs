//! USB devices in /sys, which every user may read.

use super::super::candidate::{is_plausible, Candidate, DeviceIdentity, Place};
use super::descriptors::readers;
use crate::descriptor::{Interface, Unusable};
use rustix::io::Errno;
use std::format;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::string::String;
use std::vec::Vec;

pub(super) const DEVICES: &str = "/sys/bus/usb/devices";

/// Whether the system has a USB: described here, or in a container given by its nodes.
pub(in crate::usb) fn is_present() -> bool {
    ["/sys/bus/usb", Place::NODES]
        .iter()
        .any(|path| Path::new(path).exists())
}

/// The maximum number of bytes that are read of an attribute; a device's descriptors have fewer.
const MAX_ATTRIBUTE: u64 = 1 << 20;

/// The names of all interfaces, such as 1-4.2:1.0, in order.
pub(super) fn interfaces(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root)? {
        if let Ok(name) = entry?.file_name().into_string() {
            if name.contains(':') {
                // In order for the binary search of `is_there`, and so that the interfaces of a device follow
                // each other.
                names.insert(names.partition_point(|other| *other < name), name);
            }
        }
    }
    Ok(names)
}

/// The device that an interface belongs to.
pub(super) fn device_of(interface: &str) -> &str {
    interface.split(':').next().unwrap_or(interface)
}

/// Whether an interface is of a class that readers have.
pub(super) fn can_be_reader(root: &Path, interface: &str) -> io::Result<bool> {
    let class = optional(attribute(&root.join(interface), "bInterfaceClass"))?;
    let class = class.and_then(|class| u8::from_str_radix(&class, 16).ok());
    Ok(class.is_some_and(is_plausible))
}

/// Whether a known reader is still there. A reader whose address cannot be read counts as there: it is being
/// unplugged, and the kernel reports that once its interface is gone.
///
/// # Errors
/// If that cannot be determined at the moment.
pub(super) fn is_there(root: &Path, interfaces: &[String], reader: &Candidate) -> io::Result<bool> {
    if interfaces.binary_search(&reader.port).is_err() {
        return Ok(false);
    }
    let address = optional(address(&root.join(device_of(&reader.port))))?;
    Ok(address.is_none_or(|address| address == reader.place.address))
}

/// A device and its readers.
#[derive(Debug)]
pub(super) struct SysfsDevice {
    pub(super) identity: DeviceIdentity,
    pub(super) bus: u8,
    pub(super) address: u8,
    pub(super) configuration: u8,
    /// `MAJOR:MINOR` of its node.
    pub(super) number: Option<String>,
    /// With their interfaces' names.
    pub(super) readers: Vec<Result<(Interface, Option<String>), Unusable>>,
}

impl SysfsDevice {
    /// Reads a device's attributes.
    ///
    /// # Errors
    /// Also for a device that is being unplugged, or not configured yet.
    pub(super) fn read(root: &Path, name: &str) -> io::Result<SysfsDevice> {
        let dir = root.join(name);
        let hexadecimal = |name| u16::from_str_radix(&attribute(&dir, name)?, 16).map_err(io::Error::other);
        let text = |name| optional(attribute(&dir, name));
        let configuration = decimal(&dir, "bConfigurationValue")?;
        let mut found = Vec::new();
        for reader in readers(&bytes(&dir, "descriptors")?, configuration) {
            let interface = match reader {
                Ok(interface) => interface,
                Err(unusable) => {
                    found.push(Err(unusable));
                    continue;
                }
            };
            let dir = root.join(format!("{name}:{configuration}.{}", interface.number));
            // An interface that the kernel has not registered yet comes with a later event.
            if optional(attribute(&dir, "bInterfaceNumber"))?.is_some() {
                found.push(Ok((interface, optional(attribute(&dir, "interface"))?)));
            }
        }
        Ok(SysfsDevice {
            identity: DeviceIdentity {
                vendor_id: hexadecimal("idVendor")?,
                product_id: hexadecimal("idProduct")?,
                release: hexadecimal("bcdDevice")?,
                manufacturer: text("manufacturer")?,
                product: text("product")?,
                serial: text("serial")?,
            },
            bus: decimal(&dir, "busnum")?,
            address: address(&dir)?,
            configuration,
            number: text("dev")?,
            readers: found,
        })
    }
}

/// The driver that is bound to an interface; usbfs if a process has claimed it.
pub(super) fn driver(port: &str) -> Option<String> {
    let link = fs::read_link(Path::new(DEVICES).join(port).join("driver")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

/// Whether the failure may be temporary.
pub(in crate::usb) fn is_transient(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR | Errno::BUSY)
    )
}

/// `None` for an attribute that does not exist or may not be read.
fn optional<T>(value: io::Result<T>) -> io::Result<Option<T>> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_transient(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// A device's address. It has none while it is being reset.
fn address(dir: &Path) -> io::Result<u8> {
    match decimal(dir, "devnum")? {
        0 => Err(Errno::BUSY.into()),
        address => Ok(address),
    }
}

fn decimal(dir: &Path, name: &str) -> io::Result<u8> {
    attribute(dir, name)?.parse().map_err(io::Error::other)
}

/// An attribute without the final line feed. Blanks are kept, because names that applications have saved
/// contain them.
fn attribute(dir: &Path, name: &str) -> io::Result<String> {
    let value = bytes(dir, name)?;
    let value = String::from_utf8_lossy(&value);
    Ok(value.trim_end_matches('\n').into())
}

fn bytes(dir: &Path, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(dir.join(name))?;
    file.take(MAX_ATTRIBUTE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
