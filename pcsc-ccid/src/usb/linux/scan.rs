//! A scan of the bus: which readers there are, from /sys, the nodes and udev.

use super::super::candidate::{Candidate, Place};
use super::super::listing::{Notice, NoticeReason, Scan};
use super::device::Source;
use super::sysfs::{self, SysfsDevice};
use super::udev::{self, Decision};
use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;
use std::format;
use std::io;
use std::path::Path;
use std::string::String;
use std::vec::Vec;

/// The directories in which the system describes devices.
struct Roots<'a> {
    devices: &'a Path,
    nodes: &'a Path,
    udev: &'a Path,
}

/// `open` checks the effective user, unlike `access` without this flag. Android has neither setuid programs
/// nor this flag.
#[cfg(target_os = "linux")]
const EFFECTIVE_RIGHTS: AtFlags = AtFlags::EACCESS;
#[cfg(target_os = "android")]
const EFFECTIVE_RIGHTS: AtFlags = AtFlags::empty();

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    List,
    Refuse(NoticeReason),
    Wait,
}

/// Whether to list a new reader, to refuse it, or to wait: for udev to set the permissions, and for the
/// kernel to read the name of the interface, which it cannot read of some. Does not wait if it `has_waited`
/// for long enough.
fn verdict(
    decision: Decision,
    obstacle: Option<NoticeReason>,
    lacks_name: bool,
    has_waited: bool,
) -> Verdict {
    let is_ready = decision == Decision::Allow && obstacle.is_none() && !lacks_name;
    match (decision, obstacle) {
        (Decision::Ignore, _) => Verdict::Refuse(NoticeReason::Ignored),
        _ if !is_ready && !has_waited => Verdict::Wait,
        (_, Some(reason)) => Verdict::Refuse(reason),
        (_, None) => Verdict::List,
    }
}

/// Finds which of the known readers are gone, and which other readers there are. A reader that is not ready
/// is left out unless it `has_waited` for long enough.
///
/// # Errors
/// If the system has no USB, or this process has no access to it.
pub(in crate::usb) fn scan(known: &[Candidate], has_waited: &dyn Fn(Place) -> bool) -> io::Result<Scan> {
    let roots = Roots {
        devices: Path::new(sysfs::DEVICES),
        nodes: Path::new(Place::NODES),
        udev: Path::new(udev::RUN),
    };
    roots.scan(known, has_waited)
}

impl Roots<'_> {
    fn scan(&self, known: &[Candidate], has_waited: &dyn Fn(Place) -> bool) -> io::Result<Scan> {
        let interfaces = sysfs::interfaces(self.devices)?;
        let mut found = Scan::default();
        for reader in known {
            match sysfs::is_there(self.devices, &interfaces, reader) {
                Ok(true) => (),
                Ok(false) => found.gone.push(reader.place),
                // It stays listed: a reader is gone only where that is certain.
                Err(error) => found.miss(&error),
            }
        }
        let mut devices: Vec<&str> = Vec::new();
        for interface in &interfaces {
            let device = sysfs::device_of(interface);
            match sysfs::can_be_reader(self.devices, interface) {
                // The interfaces of a device follow each other.
                Ok(true) if devices.last() == Some(&device) => (),
                Ok(true) => devices.push(device),
                Ok(false) => (),
                Err(error) => found.miss(&error),
            }
        }
        for name in devices {
            let added = SysfsDevice::read(self.devices, name)
                .and_then(|device| self.add(&device, name, known, has_waited, &mut found));
            if let Err(error) = added {
                found.miss(&error);
            }
        }
        Ok(found)
    }

    /// Adds a device's readers that are not known. Permissions and udev's decision matter only for these: a
    /// reader that is open already continues to work.
    fn add(
        &self,
        device: &SysfsDevice,
        name: &str,
        known: &[Candidate],
        has_waited: &dyn Fn(Place) -> bool,
        found: &mut Scan,
    ) -> io::Result<()> {
        let number = device.number.as_deref();
        // Read before the node's mode: udev writes its decision after it has set the mode.
        let decision = number.map_or(Ok(Decision::Allow), |number| udev::decision(self.udev, number))?;
        let obstacle = self.obstacle(device);
        for reader in &device.readers {
            let (interface, interface_name) = match reader {
                Ok((interface, name)) => (interface, name),
                Err(unusable) => {
                    let reason = NoticeReason::Descriptor(unusable.error);
                    found
                        .notices
                        .push(device.notice(name, unusable.interface, reason));
                    continue;
                }
            };
            let place = device.place(interface.number);
            // At the place of one that has gone in this scan there is another one.
            if known.iter().any(|known| known.place == place) && !found.gone.contains(&place) {
                continue;
            }
            let lacks_name = interface.name_index != 0 && interface_name.is_none();
            match verdict(decision, obstacle, lacks_name, has_waited(place)) {
                Verdict::Wait => found.pending.push(place),
                Verdict::Refuse(reason) => {
                    found.notices.push(device.notice(name, interface.number, reason));
                }
                Verdict::List => {
                    let reader = Candidate {
                        identity: device.identity.clone(),
                        place,
                        port: device.port(name, interface.number),
                        interface: *interface,
                        interface_name: interface_name.clone(),
                        source: Source::Node,
                    };
                    let at = found.arrived.partition_point(|other| other.place <= place);
                    found.arrived.insert(at, reader);
                }
            }
        }
        Ok(())
    }

    /// Why a device cannot be opened, by the mode of its node.
    fn obstacle(&self, device: &SysfsDevice) -> Option<NoticeReason> {
        let access = rustix::fs::accessat(
            rustix::fs::CWD,
            device.place(0).node_in(self.nodes),
            Access::READ_OK | Access::WRITE_OK,
            EFFECTIVE_RIGHTS,
        );
        match access {
            Ok(()) => None,
            Err(Errno::NOENT) => Some(NoticeReason::NoNode),
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Some(NoticeReason::Permission),
            // Opening it gives a better error for anything else.
            Err(_) => None,
        }
    }
}

impl Scan {
    fn miss(&mut self, error: &io::Error) {
        self.is_partial |= sysfs::is_transient(error);
    }
}

impl SysfsDevice {
    fn place(&self, interface: u8) -> Place {
        Place {
            bus: self.bus,
            address: self.address,
            interface,
        }
    }

    /// An interface of the device that /sys calls `name`.
    fn port(&self, name: &str, interface: u8) -> String {
        format!("{name}:{}.{interface}", self.configuration)
    }

    fn notice(&self, name: &str, interface: u8, reason: NoticeReason) -> Notice {
        Notice {
            place: self.place(interface),
            port: self.port(name, interface),
            identity: self.identity.clone(),
            reason,
        }
    }
}

#[cfg(test)]
mod tests;
