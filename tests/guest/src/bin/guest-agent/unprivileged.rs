//! Debian's pcscd without privileges, with our driver and our udev rule. From pcsc-lite 2.4 on it runs as a
//! user of its own.

use crate::daemon::Pcscd;
use crate::path::{Daemon, Path as _};
use crate::system::installed;
use crate::{fact, hex, Result};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{chown, MetadataExt};
use std::process::Command;

/// The user and the group pcscd of the guest.
const ID: u32 = 600;

/// A user to whom nothing belongs.
const NOBODY: u32 = 65534;

/// The reader that QEMU has plugged in.
const READER: &str = "433-Swap";

pub fn scenario() -> Result<()> {
    append("/etc/group", &format!("pcscd:x:{ID}:"))?;
    append(
        "/etc/passwd",
        &format!("pcscd:x:{ID}:{ID}::/nonexistent:/bin/false"),
    )?;
    installed(|| {
        run("udevadm", &["control", "--reload"])?;
        run("udevadm", &["trigger", "--action=add", "--subsystem-match=usb"])?;
        run("udevadm", &["settle"])?;
        // The rule makes the user the owner of the node, and gives it to the group by an access control list.
        for (name, user) in [("owner", ID), ("group", NOBODY)] {
            serves(name, user).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    })
}

/// pcscd by this user, in the group pcscd, reaches the card.
fn serves(name: &str, user: u32) -> Result<()> {
    fs::create_dir_all("/run/pcscd")?;
    chown("/run/pcscd", Some(user), Some(ID))?;
    let (pcscd, context) = Pcscd::start_as(user, ID, "unprivileged")?;
    let process = fs::metadata(format!("/proc/{}", pcscd.id()))?;
    fact(
        &format!("{name}/ids"),
        format!("{} {}", process.uid(), process.gid()),
    );
    let mut path = Daemon::connect(&context, READER)?;
    fact(&format!("{name}/reader"), path.reader());
    let response = path.transmit(b"\x00\xA4\x04\x00\x02\x01\x02")?;
    fact(&format!("{name}/select-nothing"), hex(&response));
    Ok(())
}

fn append(path: &str, line: &str) -> Result<()> {
    Ok(writeln!(File::options().append(true).open(path)?, "{line}")?)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program).args(arguments).status()?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| format!("{program} {arguments:?}: {status}").into())
}
