//! Whether this process can reach readers on the USB.

use std::path::Path;

use pcsc_ccid::usb::{self, Candidate, NoticeReason, OpenError};

use super::Finding;

const SUBJECT: &str = "USB";

/// The readers on the USB that the system's daemon drives. What this process may do there does not matter.
pub fn served() -> Vec<Finding> {
    let listing = usb::list().unwrap_or_default();
    let readers = listing.readers.iter().map(described);
    // The daemon has rights of its own.
    let hidden = listing
        .notices
        .iter()
        .filter(|notice| notice.reason == NoticeReason::Permission);
    let hidden = hidden.map(|notice| format!("{} at {}", notice.identity, notice.port));
    let is_there = |reader| Finding::good(SUBJECT, format!("{reader} is there; the daemon drives it"));
    readers.chain(hidden).map(is_there).collect()
}

/// The readers on the USB, which are opened to see who has them.
pub fn check() -> Vec<Finding> {
    let listing = match usb::list() {
        Ok(listing) => listing,
        Err(error) => {
            let text = format!("the USB is not visible: {error}");
            return vec![Finding::note(SUBJECT, text).advise(
                "In a container, mount the daemon's socket: docker run -v /run/pcscd:/run/pcscd. On a machine, load \
                 the USB's modules: modprobe usbcore",
            )];
        }
    };
    let mut findings: Vec<Finding> = Vec::new();
    let has_nodes = Path::new("/dev/bus/usb").exists();
    if !has_nodes {
        let text = "/dev/bus/usb is missing: this is a container that has no USB devices";
        findings.push(Finding::note(SUBJECT, text).advise(
            "docker run --device /dev/bus/usb, or with the daemon's socket: docker run -v /run/pcscd:/run/pcscd",
        ));
    }
    if listing.readers.is_empty() && listing.notices.is_empty() {
        findings.push(
            Finding::note(SUBJECT, "no reader is plugged in: no device is of the class CCID")
                .advise("See lsusb. A device that is there and not of this class needs its maker's driver."),
        );
    }
    for reader in &listing.readers {
        findings.push(open(reader));
    }
    for notice in &listing.notices {
        findings.push(match notice.reason {
            NoticeReason::Permission => {
                let text = format!(
                    "{} at {}: no permission for {}",
                    notice.identity,
                    notice.port,
                    notice.place.node().display()
                );
                let rule = usb::udev_rule(&notice.identity);
                Finding::bad(SUBJECT, text).advise(format!(
                    "Put this line into /etc/udev/rules.d/70-pcsc-ccid.rules, join the group plugdev, and plug the \
                     reader in again: {rule}"
                ))
            }
            NoticeReason::NoNode if !has_nodes => Finding::bad(SUBJECT, notice.to_string()),
            NoticeReason::NoNode => Finding::bad(SUBJECT, notice.to_string()).advise("udevadm trigger"),
            NoticeReason::Ignored => Finding::note(SUBJECT, notice.to_string())
                .advise("A udev rule sets PCSCLITE_IGNORE; see udevadm info."),
            _ => Finding::bad(SUBJECT, notice.to_string())
                .advise("The device claims to be a reader and is none. Its maker's driver may know it."),
        });
    }
    findings
}

fn described(reader: &Candidate) -> String {
    format!("{} at {}", reader.identity, reader.port)
}

/// Whether a reader can be opened; it is given back at once.
fn open(reader: &Candidate) -> Finding {
    match reader.open() {
        Ok(_) => Finding::good(SUBJECT, format!("{} can be opened", described(reader))),
        Err(error @ OpenError::Busy { .. }) => {
            Finding::bad(SUBJECT, format!("{}: {error}", described(reader))).advise(
                "End that program (scdaemon: gpgconf --kill scdaemon), or run pcscd, which shares readers.",
            )
        }
        Err(error) => Finding::bad(SUBJECT, format!("{}: {error}", described(reader))),
    }
}
