//! Environment variables, with the names of PC/SC Lite where it has them.
//!
//! setuid and setgid programs ignore them all.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(any(target_os = "linux", target_os = "android"))]
use linux as platform;

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
mod unix;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
use unix as platform;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

use std::ffi::OsString;
use std::path::PathBuf;

use once_cell::race::OnceBool;

#[cfg(all(feature = "daemon", unix))]
pub use platform::DEFAULT_SOCKET;

/// A variable's value. `None` in setuid and setgid programs.
pub fn var(name: &str) -> Option<OsString> {
    static IS_PRIVILEGED: OnceBool = OnceBool::new();
    if IS_PRIVILEGED.get_or_init(platform::is_privileged) {
        return None;
    }
    std::env::var_os(name)
}

/// The socket for new contexts that `PCSCLITE_CSOCK_NAME` names. Read for each context.
pub fn chosen_socket() -> Option<PathBuf> {
    let path = var("PCSCLITE_CSOCK_NAME").filter(|path| !path.is_empty())?;
    Some(path.into())
}

/// The PC/SC library of the system that `PCSCLITE_SYSTEM_LIBRARY` names. Read for each context.
#[cfg(feature = "system")]
pub fn chosen_library() -> Option<PathBuf> {
    let path = var("PCSCLITE_SYSTEM_LIBRARY").filter(|path| !path.is_empty())?;
    Some(path.into())
}

/// A variable's text; empty where it has none.
#[cfg(feature = "standalone")]
pub fn text(name: &str) -> String {
    var(name).map_or(String::new(), |value| value.to_string_lossy().into_owned())
}

#[cfg_attr(
    not(any(all(feature = "daemon", unix), feature = "standalone")),
    allow(dead_code, reason = "the system's library reads it by itself")
)]
/// Whether a call that meets a sharing violation waits for the card (the default) or gives up at once
/// (`PCSCLITE_NO_BLOCKING` set); read once.
#[cfg(any(feature = "daemon", feature = "standalone"))]
pub fn waits_for_shared_card() -> bool {
    static WAITS: OnceBool = OnceBool::new();
    WAITS.get_or_init(|| var("PCSCLITE_NO_BLOCKING").is_none())
}
