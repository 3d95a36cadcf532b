//! Whether readers on the USB can be reached, by this process or by the system's daemon.

use std::path::Path;

use pcsc_ccid::usb::{self, Candidate, DeviceIdentity, Holder, Listing, Notice, NoticeReason, OpenError};

use super::{devices, holders, Finding};

const SUBJECT: &str = "USB";

/// How many devices are named that are no readers.
const MANY: usize = 6;

/// Where pcscd finds its drivers, on Debian and on Fedora.
const PCSCD_DRIVERS: [&str; 2] = ["/usr/lib/pcsc/drivers", "/usr/lib64/pcsc/drivers"];

/// The readers on the USB where the system's daemon runs, which lists readers or not. What this process may
/// do there does not matter: the daemon has rights of its own.
pub fn served(daemon_lists_readers: bool) -> Vec<Finding> {
    let listing = usb::list().unwrap_or_default();
    let readers = listing
        .readers
        .iter()
        .map(|reader| drives(reader, daemon_lists_readers));
    let notices = listing.notices.iter();
    let notices = notices.filter_map(|notice| match notice.reason {
        NoticeReason::Permission => {
            let name = format!("{} at {}", notice.identity, notice.port);
            Some(driven(&name, daemon_lists_readers))
        }
        // The daemon's node is another one in a container.
        NoticeReason::NoNode => None,
        _ => Some(noticed(notice, true)),
    });
    let mut findings: Vec<Finding> = readers.chain(notices).collect();
    findings.extend(foreign(&listing));
    if findings.is_empty() && !daemon_lists_readers {
        findings.push(nothing_plugged_in());
    }
    findings
}

/// Whether the daemon can drive a reader.
fn drives(reader: &Candidate, daemon_lists_readers: bool) -> Finding {
    let name = described(reader);
    let holders = reader.holders();
    let is_pcscd = |holder: &Holder| matches!(holder, Holder::Process { name, .. } if name == "pcscd");
    if let Some(reason) = reader.refused_firmware() {
        return refused(&name, reason);
    }
    if holders.is_empty() || holders.iter().any(is_pcscd) {
        return driven(&name, daemon_lists_readers);
    }
    let advice = holders::advice(&holders);
    let text = format!(
        "{name}: {}; the daemon cannot have it too",
        OpenError::Busy { holders }
    );
    match daemon_lists_readers {
        // A program may have opened the device without claiming it.
        true => Finding::note(SUBJECT, text),
        false => Finding::bad(SUBJECT, text).advise(advice),
    }
}

/// A reader that no other process uses.
fn driven(name: &str, daemon_lists_readers: bool) -> Finding {
    if daemon_lists_readers {
        return Finding::good(SUBJECT, format!("{name} is there; the daemon drives it"));
    }
    let finding = Finding::bad(
        SUBJECT,
        format!("{name} is there, and the daemon does not list it"),
    );
    let has_driver = PCSCD_DRIVERS.iter().any(|folder| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .any(|path| path.extension().is_some_and(|end| end == "bundle"))
    });
    match has_driver {
        true => finding.advise(
            "If it is pcscd: systemctl restart pcscd. journalctl -u pcscd says what its driver does.",
        ),
        false => finding
            .advise("If it is pcscd, it has no driver: apt install libccid, or dnf install pcsc-lite-ccid"),
    }
}

/// The readers on the USB, which are opened to see who has them.
pub fn check() -> Vec<Finding> {
    let listing = match usb::list() {
        Ok(listing) => listing,
        Err(error) => {
            let text = format!("the USB is not visible: {error}");
            return vec![Finding::note(SUBJECT, text).advise(
                "In a container, mount the daemon's socket: docker run -v /run/pcscd:/run/pcscd. On a \
                 machine, load the USB's modules: modprobe usbcore",
            )];
        }
    };
    let mut findings: Vec<Finding> = Vec::new();
    let has_nodes = Path::new("/dev/bus/usb").exists();
    if !has_nodes {
        let text = "/dev/bus/usb is missing: this is a container that has no USB devices";
        findings.push(Finding::note(SUBJECT, text).advise(
            "docker run --device /dev/bus/usb, or with the daemon's socket: \
             docker run -v /run/pcscd:/run/pcscd",
        ));
    }
    let foreign = foreign(&listing);
    if listing.readers.is_empty() && listing.notices.is_empty() && foreign.is_empty() {
        findings.push(nothing_plugged_in());
    }
    findings.extend(listing.readers.iter().map(open));
    findings.extend(listing.notices.iter().map(|notice| noticed(notice, has_nodes)));
    findings.extend(foreign);
    findings
}

fn nothing_plugged_in() -> Finding {
    let devices = devices::all(Path::new(devices::DEVICES));
    let shown: Vec<String> = devices.iter().take(MANY).map(ToString::to_string).collect();
    let rest = match devices.len().saturating_sub(MANY) {
        0 => String::new(),
        rest => format!(" and {rest} more"),
    };
    let there = match shown.is_empty() {
        true => "no other device is there either".into(),
        false => format!("what is there is {}{rest}", shown.join(", ")),
    };
    Finding::note(
        SUBJECT,
        format!("no reader is plugged in: no device is of the class CCID; {there}"),
    )
    .advise("Plug a reader in. One that is there and not of this class needs its maker's driver for pcscd.")
}

/// Devices that call themselves readers and are not of the class.
fn foreign(listing: &Listing) -> Vec<Finding> {
    let id = |identity: &DeviceIdentity| format!("{:04x}:{:04x}", identity.vendor_id, identity.product_id);
    let readers = listing.readers.iter().map(|reader| id(&reader.identity));
    let known: Vec<String> = readers
        .chain(listing.notices.iter().map(|notice| id(&notice.identity)))
        .collect();
    let devices = devices::all(Path::new(devices::DEVICES)).into_iter();
    let foreign = devices.filter(|device| device.claims_to_be_a_reader() && !known.contains(&device.id));
    let finding = |device| {
        Finding::bad(SUBJECT, format!("{device} is no CCID reader"))
            .advise("It needs its maker's driver for pcscd. Such drivers are not of this project.")
    };
    foreign.map(finding).collect()
}

fn noticed(notice: &Notice, has_nodes: bool) -> Finding {
    match notice.reason {
        NoticeReason::Permission => {
            let text = format!(
                "{} at {}: no permission for {}",
                notice.identity,
                notice.port,
                notice.place.node().display()
            );
            let rule = usb::udev_rule(&notice.identity);
            Finding::bad(SUBJECT, text).advise(format!(
                "Put this line into /etc/udev/rules.d/70-pcsc-ccid.rules, join the group plugdev, and plug \
                 the reader in again: {rule}"
            ))
        }
        NoticeReason::NoNode if !has_nodes => Finding::bad(SUBJECT, notice.to_string()),
        NoticeReason::NoNode => Finding::bad(SUBJECT, notice.to_string()).advise("udevadm trigger"),
        NoticeReason::Ignored => Finding::note(SUBJECT, notice.to_string())
            .advise("A udev rule sets PCSCLITE_IGNORE; see udevadm info."),
        _ => Finding::bad(SUBJECT, notice.to_string())
            .advise("The device claims to be a reader and is none. Its maker's driver may know it."),
    }
}

fn described(reader: &Candidate) -> String {
    format!("{} at {}", reader.identity, reader.port)
}

fn refused(name: &str, reason: &str) -> Finding {
    Finding::bad(
        SUBJECT,
        format!("{name}: the driver refuses its firmware, which is known not to work: {reason}"),
    )
    .advise("Update the reader's firmware with its maker's program, or use another reader.")
}

/// Whether a reader can be opened; it is given back at once.
fn open(reader: &Candidate) -> Finding {
    let name = described(reader);
    if let Some(reason) = reader.refused_firmware() {
        return refused(&name, reason);
    }
    match reader.open() {
        Ok(_) => Finding::good(SUBJECT, format!("{name} can be opened")),
        Err(OpenError::Busy { holders }) => {
            let advice = holders::advice(&holders);
            let text = format!("{name}: {}", OpenError::Busy { holders });
            Finding::bad(SUBJECT, text).advise(advice)
        }
        Err(error) => Finding::bad(SUBJECT, format!("{name}: {error}")),
    }
}
