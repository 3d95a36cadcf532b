//! Programs that use PC/SC, in an environment of the test's own.

use crate::stock;
use std::ffi::OsStr;
use std::process::Command;

/// `program` on the stock library. Neither a libpcsclite in /usr/local, nor variables of PC/SC, nor the
/// configuration of OpenSC on this machine has an effect on it.
///
/// A test sets `LD_LIBRARY_PATH` to [`artifacts::library_folder`](crate::artifacts::library_folder) for our
/// library.
///
/// # Panics
/// If the stock library is not installed.
#[track_caller]
pub fn client(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name_bytes = name.as_encoded_bytes();
        if name_bytes.starts_with(b"PCSC") || name_bytes.starts_with(b"LIBPCSCLITE") {
            command.env_remove(name);
        }
    }
    command
        .env_remove("JAVA_TOOL_OPTIONS")
        .env_remove("LD_PRELOAD")
        .env_remove("PYTHONHOME")
        .env_remove("PYTHONPATH")
        .env("OPENSC_CONF", "/dev/null")
        .env("LD_LIBRARY_PATH", stock::folder());
    command
}
