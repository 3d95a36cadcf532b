//! A mount namespace without the daemon and the devices of this machine.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// `$1` becomes `/run/pcscd`. The USB has no devices; /sys has the folders `$2` alone.
const SCRIPT: &str = r#"
    mount -t tmpfs none /run
    mkdir /run/pcscd
    mount --bind "$1" /run/pcscd
    if [ -d /dev/bus ]; then mount -t tmpfs none /dev/bus; fi
    mount -t tmpfs none /sys
    for folder in $2; do mkdir -p "/sys/$folder"; done
    shift 2
    exec "$@"
"#;

/// The folder of /sys that exists on systems with USB.
pub const USB: &str = "bus/usb/devices";

/// `program` in a mount namespace in which the folder `run_pcscd` is `/run/pcscd`, so that it finds no daemon
/// of this machine, and in which no device is plugged in. /sys has only `folders`, which are paths separated
/// by spaces. Needs root.
pub fn in_namespace(run_pcscd: &Path, folders: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private"])
        .args(["sh", "-e", "-c", SCRIPT, "sh"])
        .arg(run_pcscd)
        .arg(folders)
        .arg(program);
    command
}
