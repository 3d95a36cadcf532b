//! Linux: a look at the readers.

use super::candidate::{Candidate, Notice, Place, Reason, Source};
use super::roll::Seen;
use super::sysfs::{self, Device};
use super::udev::{self, Word};
use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::format;
use std::io;
use std::path::Path;

/// Where the system tells of devices.
struct Roots<'a> {
    devices: &'a Path,
    nodes: &'a Path,
    udev: &'a Path,
}

/// What is to be known of a new reader before it is listed.
#[derive(Debug, Clone, Copy)]
struct Signs {
    word: Word,
    obstacle: Option<Reason>,
    /// The kernel has not read its interface's name yet, or cannot.
    lacks_name: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    List,
    Refuse(Reason),
    Wait,
}

impl Signs {
    /// Udev may set rights, and the kernel may add the name, until it `has_waited` for long enough.
    fn verdict(self, has_waited: bool) -> Verdict {
        let is_ready = self.word == Word::Welcome && self.obstacle.is_none() && !self.lacks_name;
        match (self.word, self.obstacle) {
            (Word::Ignored, _) => Verdict::Refuse(Reason::Ignored),
            _ if !is_ready && !has_waited => Verdict::Wait,
            (_, Some(reason)) => Verdict::Refuse(reason),
            (_, None) => Verdict::List,
        }
    }
}

/// Looks which of the known readers are gone, and which others are there. One that is not ready is left out unless it
/// `has_waited` for long enough.
///
/// # Errors
/// Where the system has no USB, or does not tell.
pub(super) fn look(known: &[Candidate], has_waited: impl Fn(Place) -> bool) -> io::Result<Seen> {
    let roots = Roots {
        devices: Path::new(sysfs::DEVICES),
        nodes: Path::new(Place::NODES),
        udev: Path::new(udev::RUN),
    };
    roots.look(known, has_waited)
}

impl Roots<'_> {
    fn look(&self, known: &[Candidate], has_waited: impl Fn(Place) -> bool) -> io::Result<Seen> {
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
            let added = Device::read(self.devices, name)
                .and_then(|device| self.add(&device, name, known, &has_waited, &mut seen));
            if let Err(error) = added {
                seen.miss(&error);
            }
        }
        seen.arrived.sort_by_key(|reader| reader.place);
        Ok(seen)
    }

    /// Adds a device's readers that are not known. Whether we may open it, or shall, matters for these alone: one that
    /// is open already works on.
    fn add(
        &self,
        device: &Device,
        name: &str,
        known: &[Candidate],
        has_waited: impl Fn(Place) -> bool,
        seen: &mut Seen,
    ) -> io::Result<()> {
        let number = device.number.as_deref();
        // Read first, as udev writes it after it has set the node's mode.
        let word = number.map_or(Ok(Word::Welcome), |number| udev::word(self.udev, number))?;
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
            let signs = Signs {
                word,
                obstacle,
                lacks_name: interface.name_index != 0 && interface_name.is_none(),
            };
            match signs.verdict(has_waited(place)) {
                Verdict::Wait => seen.coming.push(place),
                Verdict::Refuse(reason) => seen.notices.push(device.notice(interface.number, reason)),
                Verdict::List => seen.arrived.push(Candidate {
                    identity: device.identity.clone(),
                    place,
                    port: format!("{name}:{}.{}", device.configuration, interface.number),
                    interface: *interface,
                    interface_name: interface_name.clone(),
                    source: Source::Node,
                }),
            }
        }
        Ok(())
    }

    /// Why a device cannot be opened, as far as its node tells.
    fn obstacle(&self, device: &Device) -> Option<Reason> {
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

#[cfg(test)]
mod tests;
