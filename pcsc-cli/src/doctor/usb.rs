//! Whether this process can reach readers on the USB.

use std::path::Path;

use pcsc_ccid::usb::{self, Candidate, NoticeReason, OpenError};

use super::Finding;

const SUBJECT: &str = "USB";

/// The readers on the USB. They are opened to see who has them, unless a daemon drives them.
pub fn check(has_daemon: bool) -> Vec<Finding> {
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
        findings.push(match has_daemon {
            true => Finding::good(
                SUBJECT,
                format!("{} is there; the daemon drives it", described(reader)),
            ),
            false => open(reader),
        });
    }
    for notice in &listing.notices {
        findings.push(match notice.reason {
            // The daemon has rights of its own.
            NoticeReason::Permission if has_daemon => {
                Finding::good(SUBJECT, format!("{} at {} is there; the daemon drives it", notice.identity, notice.port))
            }
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
