//! Linux: a look at the readers.

use super::candidate::{Candidate, Notice, Place, Reason, Source};
use super::roll::Seen;
use super::sysfs::{self, Device};
use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::format;
use std::fs;
use std::io;
use std::path::Path;

/// Where the system tells of devices.
struct Roots<'a> {
    devices: &'a Path,
    nodes: &'a Path,
}

/// Looks which of the known readers are gone, and which others are there.
///
/// # Errors
/// Where the system has no USB, or does not tell.
pub(super) fn look(known: &[Candidate]) -> io::Result<Seen> {
    let roots = Roots {
        devices: Path::new(sysfs::DEVICES),
        nodes: Path::new(Place::NODES),
    };
    roots.look(known)
}

impl Roots<'_> {
    fn look(&self, known: &[Candidate]) -> io::Result<Seen> {
        let interfaces = sysfs::interfaces(self.devices)?;
        let mut seen = Seen::default();
        for reader in known {
            match sysfs::is_there(self.devices, &interfaces, reader) {
                Ok(true) => (),
                Ok(false) => seen.gone.push(reader.place),
                Err(error) => seen.miss(&error),
            }
        }
        let mut devices = BTreeSet::new();
        for interface in &interfaces {
            match sysfs::can_be_reader(self.devices, interface) {
                Ok(true) => _ = devices.insert(sysfs::device_of(interface)),
                Ok(false) => (),
                Err(error) => seen.miss(&error),
            }
        }
        for name in devices {
            match Device::read(self.devices, name) {
                Ok(device) => self.add(&device, name, known, &mut seen),
                Err(error) => seen.miss(&error),
            }
        }
        seen.arrived.sort_by_key(|reader| reader.place);
        Ok(seen)
    }

    /// Adds a device's readers that are not known. Whether we may open it, or shall, matters for these alone: one that
    /// is open already works on.
    fn add(&self, device: &Device, name: &str, known: &[Candidate], seen: &mut Seen) {
        let obstacle = self.obstacle(device);
        for reader in &device.readers {
            let (interface, interface_name) = match reader {
                Ok((interface, name)) => (interface, name),
                Err(unusable) => {
                    let reason = Reason::Descriptor(unusable.error);
                    seen.notices.push(device.notice(unusable.interface, reason));
                    continue;
                }
            };
            let place = device.place(interface.number);
            if known.iter().any(|known| known.place == place) && !seen.gone.contains(&place) {
                continue;
            }
            match obstacle {
                Some(reason) => seen.notices.push(device.notice(interface.number, reason)),
                None => seen.arrived.push(Candidate {
                    identity: device.identity.clone(),
                    place,
                    port: format!("{name}:{}.{}", device.configuration, interface.number),
                    interface: *interface,
                    interface_name: interface_name.clone(),
                    source: Source::Node,
                }),
            }
        }
    }

    /// Why none of a device's readers is to be listed.
    fn obstacle(&self, device: &Device) -> Option<Reason> {
        if device.number.as_deref().is_some_and(is_ignored) {
            return Some(Reason::Ignored);
        }
        // With the rights that opening is subject to, which are the effective ones.
        let access = rustix::fs::accessat(
            rustix::fs::CWD,
            device.place(0).node_in(self.nodes),
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

impl Seen {
    fn miss(&mut self, error: &io::Error) {
        self.is_partial |= sysfs::is_passing(error);
    }
}

impl Device {
    fn place(&self, interface: u8) -> Place {
        Place {
            bus: self.bus,
            address: self.address,
            interface,
        }
    }

    fn notice(&self, interface: u8, reason: Reason) -> Notice {
        Notice {
            place: self.place(interface),
            identity: self.identity.clone(),
            reason,
        }
    }
}

/// Whether udev's database has `PCSCLITE_IGNORE` for a character device, which pcscd honours too.
fn is_ignored(number: &str) -> bool {
    fs::read_to_string(format!("/run/udev/data/c{number}"))
        .is_ok_and(|data| data.lines().any(|line| line == "E:PCSCLITE_IGNORE=1"))
}

#[cfg(test)]
mod tests;
