//! What udev says of a device, in the database that it writes when its rules have run.

use super::sysfs::is_passing;
use std::format;
use std::fs;
use std::io;
use std::path::Path;

/// What udev keeps while it runs.
pub(super) const RUN: &str = "/run/udev";

/// Udev's word on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// There is nothing against it, or there is no udev.
    Welcome,
    /// `PCSCLITE_IGNORE` is set, which pcscd honours too.
    Ignored,
    /// Udev has not come to it yet.
    Awaited,
}

/// Whether udev's daemon runs.
pub(super) fn runs(run: &Path) -> bool {
    run.join("control").exists()
}

/// The word on a character device, named by `MAJOR:MINOR`.
///
/// # Errors
/// Where it can be read later only.
pub(super) fn word(run: &Path, number: &str) -> io::Result<Word> {
    match fs::read(run.join(format!("data/c{number}"))) {
        Ok(data) if data.split(|byte| *byte == b'\n').any(is_ignoring) => Ok(Word::Ignored),
        Err(error) if is_passing(&error) => Err(error),
        Err(error) if error.kind() == io::ErrorKind::NotFound && runs(run) => Ok(Word::Awaited),
        _ => Ok(Word::Welcome),
    }
}

fn is_ignoring(line: &[u8]) -> bool {
    line == b"E:PCSCLITE_IGNORE=1"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usb::tree::Tree;

    #[test]
    fn the_word_is_in_the_database() {
        let run = Tree::new("udev-word");
        run.put("", &[("control", b"")]);
        run.put("data", &[("c189:1", b"I:1\nE:ID_BUS=usb\n")]);
        run.put(
            "data",
            &[("c189:2", b"I:1\nE:ID_NAME=\xFF\nE:PCSCLITE_IGNORE=1\n")],
        );
        run.put("data", &[("c189:3", b"I:1\nE:PCSCLITE_IGNORE=0\n")]);
        let word = |number| word(run.root(), number).unwrap();
        assert_eq!(word("189:1"), Word::Welcome);
        assert_eq!(word("189:2"), Word::Ignored);
        assert_eq!(word("189:3"), Word::Welcome);
        assert_eq!(word("189:4"), Word::Awaited);
    }

    #[test]
    fn without_udev_there_is_nothing_to_wait_for() {
        let run = Tree::new("udev-none");
        assert_eq!(word(run.root(), "189:1").unwrap(), Word::Welcome);
    }
}
