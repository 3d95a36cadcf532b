//! What Linux tells of USB devices under /sys, to everybody.

use super::candidate::{is_plausible, Candidate, Identity, Listing, Notice, Place, Reason, Source};
use super::descriptors::readers;
use crate::descriptor::{Interface, Unusable};
use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::format;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::string::String;
use std::vec::Vec;

const DEVICES: &str = "/sys/bus/usb/devices";

/// The most bytes of an attribute that are read; a device's descriptors have fewer.
const MAX_ATTRIBUTE: u64 = 1 << 20;

pub(super) fn list(listing: &mut Listing) -> io::Result<()> {
    let names = devices_with_readers(Path::new(DEVICES))?;
    for name in names {
        if let Some(device) = Device::read(Path::new(DEVICES), &name) {
            device.add_to(listing, &name);
        }
    }
    Ok(())
}

/// Names of the devices that have an interface which can be a reader, from the names of interfaces, such as
/// 1-4.2:1.0.
fn devices_with_readers(root: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        let Some((device, _)) = name.to_str().and_then(|name| name.split_once(':')) else {
            continue;
        };
        let class = attribute(&root.join(&name), "bInterfaceClass");
        let class = class.and_then(|class| u8::from_str_radix(&class, 16).ok());
        if class.is_some_and(is_plausible) {
            names.insert(device.into());
        }
    }
    Ok(names)
}

/// A device and its readers.
#[derive(Debug)]
struct Device {
    identity: Identity,
    bus: u8,
    address: u8,
    configuration: u8,
    /// `MAJOR:MINOR` of its node.
    number: Option<String>,
    readers: Vec<Result<(Interface, Option<String>), Unusable>>,
}

impl Device {
    /// `None` for a device that is just being unplugged, or not configured yet.
    fn read(root: &Path, name: &str) -> Option<Device> {
        let dir = root.join(name);
        let hexadecimal = |name| u16::from_str_radix(&attribute(&dir, name)?, 16).ok();
        let decimal = |name| attribute(&dir, name)?.parse::<u8>().ok();
        let configuration = decimal("bConfigurationValue")?;
        let found = readers(&bytes(&dir, "descriptors")?, configuration);
        let readers = found
            .into_iter()
            .filter_map(|reader| match reader {
                Ok(interface) => {
                    let interface_dir = root.join(format!("{name}:{configuration}.{}", interface.number));
                    // An interface that the kernel has not registered yet comes with a later event.
                    attribute(&interface_dir, "bInterfaceNumber")?;
                    Some(Ok((interface, attribute(&interface_dir, "interface"))))
                }
                Err(unusable) => Some(Err(unusable)),
            })
            .collect();
        Some(Device {
            identity: Identity {
                vendor_id: hexadecimal("idVendor")?,
                product_id: hexadecimal("idProduct")?,
                release: hexadecimal("bcdDevice")?,
                manufacturer: attribute(&dir, "manufacturer"),
                product: attribute(&dir, "product"),
                serial: attribute(&dir, "serial"),
            },
            bus: decimal("busnum")?,
            address: decimal("devnum")?,
            configuration,
            number: attribute(&dir, "dev"),
            readers,
        })
    }

    fn add_to(self, listing: &mut Listing, name: &str) {
        let reason = self.reason_against();
        for reader in &self.readers {
            let place = |interface| Place {
                bus: self.bus,
                address: self.address,
                interface,
            };
            let (place, reason) = match reader {
                Ok((interface, interface_name)) => {
                    let place = place(interface.number);
                    let Some(reason) = reason else {
                        listing.readers.push(Candidate {
                            identity: self.identity.clone(),
                            place,
                            port: format!("{name}:{}.{}", self.configuration, interface.number),
                            interface: *interface,
                            interface_name: interface_name.clone(),
                            source: Source::Node,
                        });
                        continue;
                    };
                    (place, reason)
                }
                Err(unusable) => (place(unusable.interface), Reason::Descriptor(unusable.error)),
            };
            listing.notices.push(Notice {
                place,
                identity: self.identity.clone(),
                reason,
            });
        }
    }

    /// Why none of its readers is to be listed.
    fn reason_against(&self) -> Option<Reason> {
        if self.number.as_deref().is_some_and(is_ignored) {
            return Some(Reason::Ignored);
        }
        let place = Place {
            bus: self.bus,
            address: self.address,
            interface: 0,
        };
        // With the rights that opening is subject to, which are the effective ones.
        let access = rustix::fs::accessat(
            rustix::fs::CWD,
            place.node(),
            Access::READ_OK | Access::WRITE_OK,
            AtFlags::EACCESS,
        );
        match access {
            Ok(()) => None,
            Err(Errno::NOENT) => Some(Reason::NoNode),
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Some(Reason::Permission),
            // Something else is better said by opening it.
            Err(_) => None,
        }
    }
}

/// Whether udev's database has `PCSCLITE_IGNORE` for a character device, which pcscd honours too.
fn is_ignored(number: &str) -> bool {
    fs::read_to_string(format!("/run/udev/data/c{number}"))
        .is_ok_and(|data| data.lines().any(|line| line == "E:PCSCLITE_IGNORE=1"))
}

/// A driver bound to an interface, such as usbfs, which stands for a process.
pub(super) fn driver(port: &str) -> Option<String> {
    let link = fs::read_link(Path::new(DEVICES).join(port).join("driver")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

/// An attribute without the line's end. Blanks are kept: names that applications have saved contain them.
fn attribute(dir: &Path, name: &str) -> Option<String> {
    let value = bytes(dir, name)?;
    let value = String::from_utf8_lossy(&value);
    Some(value.trim_end_matches('\n').into())
}

fn bytes(dir: &Path, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(dir.join(name)).ok()?;
    file.take(MAX_ATTRIBUTE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests;
