//! Udev's decision on a device, in the database that it writes when its rules have run.

use super::sysfs::is_transient;
use std::format;
use std::fs;
use std::io;
use std::path::Path;

/// Udev's files, while it runs.
pub(super) const RUN: &str = "/run/udev";

/// Udev's decision on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// The device may be used, or there is no udev.
    Allow,
    /// `PCSCLITE_IGNORE` is set, which pcscd honours too.
    Ignore,
    /// Udev has not processed the device yet.
    Pending,
}

/// Whether udev's daemon runs.
pub(super) fn runs(run: &Path) -> bool {
    run.join("control").exists()
}

/// The decision on a character device, named by `MAJOR:MINOR`.
///
/// # Errors
/// If it cannot be read at the moment.
pub(super) fn decision(run: &Path, number: &str) -> io::Result<Decision> {
    match fs::read(run.join(format!("data/c{number}"))) {
        Ok(data) if data.split(|byte| *byte == b'\n').any(is_ignoring) => Ok(Decision::Ignore),
        Err(error) if is_transient(&error) => Err(error),
        Err(error) if error.kind() == io::ErrorKind::NotFound && runs(run) => Ok(Decision::Pending),
        _ => Ok(Decision::Allow),
    }
}

fn is_ignoring(line: &[u8]) -> bool {
    line == b"E:PCSCLITE_IGNORE=1"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usb::linux::tests::Tree;

    #[test]
    fn the_decision_is_in_the_database() {
        let run = Tree::new("udev-decision");
        run.put("", &[("control", b"")]);
        run.put("data", &[("c189:1", b"I:1\nE:ID_BUS=usb\n")]);
        run.put(
            "data",
            &[("c189:2", b"I:1\nE:ID_NAME=\xFF\nE:PCSCLITE_IGNORE=1\n")],
        );
        run.put("data", &[("c189:3", b"I:1\nE:PCSCLITE_IGNORE=0\n")]);
        let decision = |number| decision(run.root(), number).unwrap();
        assert_eq!(decision("189:1"), Decision::Allow);
        assert_eq!(decision("189:2"), Decision::Ignore);
        assert_eq!(decision("189:3"), Decision::Allow);
        assert_eq!(decision("189:4"), Decision::Pending);
    }

    #[test]
    fn without_udev_a_device_is_allowed() {
        let run = Tree::new("udev-none");
        assert_eq!(decision(run.root(), "189:1").unwrap(), Decision::Allow);
    }
}
