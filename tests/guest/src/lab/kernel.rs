//! What the lab needs of the machine: QEMU, and a kernel to boot.

use super::error::Error;
use super::host::program;
use std::path::{Path, PathBuf};
use std::process::Command;

/// QEMU's program.
pub(super) fn qemu() -> Result<PathBuf, Error> {
    if !cfg!(target_arch = "x86_64") {
        let reason = "the guest runs this machine's programs, and the lab knows x86-64 alone";
        return Err(Error::Unavailable(reason.into()));
    }
    match program("qemu-system-x86_64") {
        Some(qemu) => Ok(qemu),
        // Where there is a package manager that scripts/setup supports, its absence is a mistake.
        None if program("apt-get").is_some() => Err(Error::Failed(
            "qemu-system-x86_64 is not installed: run scripts/setup".into(),
        )),
        None => Err(Error::Unavailable(
            "neither qemu-system-x86_64 nor apt-get to install it".into(),
        )),
    }
}

/// The folder of the kernel (`vmlinuz`) and its modules (`modules/*.ko`), fetched if it is not there.
pub(super) fn folder() -> Result<PathBuf, Error> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let script = root.join("scripts/guest-kernel");
    let output = Command::new(&script).output();
    let output = output.map_err(|error| Error::Failed(format!("{}: {error}", script.display())))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Failed(format!(
            "{}: {}\n{stderr}",
            script.display(),
            output.status
        )));
    }
    Ok(root.join("target/guest-kernel"))
}
