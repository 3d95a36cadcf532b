//! Environment variables, with the names of PC/SC Lite where it has them.
//!
//! setuid and setgid programs ignore them all.

use std::ffi::OsString;
use std::path::PathBuf;

use once_cell::race::OnceBool;

/// Where pcscd listens by default.
#[cfg(feature = "daemon")]
pub const DEFAULT_SOCKET: &str = "/run/pcscd/pcscd.comm";

/// A variable's value. `None` in setuid and setgid programs.
pub fn var(name: &str) -> Option<OsString> {
    if is_privileged() {
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

/// The socket to use for a new context.
#[cfg(feature = "daemon")]
pub fn socket_path() -> PathBuf {
    chosen_socket().unwrap_or_else(|| DEFAULT_SOCKET.into())
}

/// A variable's text; empty where it has none.
#[cfg(feature = "standalone")]
pub fn text(name: &str) -> String {
    var(name).map_or(String::new(), |value| value.to_string_lossy().into_owned())
}

/// Whether a call that meets a sharing violation waits for the card (the default) or gives up at once
/// (`PCSCLITE_NO_BLOCKING` set); read once.
pub fn waits_for_shared_card() -> bool {
    static WAITS: OnceBool = OnceBool::new();
    WAITS.get_or_init(|| var("PCSCLITE_NO_BLOCKING").is_none())
}

/// Whether this is a setuid or setgid program, or one with file capabilities. Such a program ignores the
/// environment of its caller.
#[allow(unsafe_code)]
fn is_privileged() -> bool {
    static PRIVILEGED: OnceBool = OnceBool::new();
    PRIVILEGED.get_or_init(|| {
        if cfg!(miri) {
            // Miri has neither users nor an auxiliary vector.
            return false;
        }
        // SAFETY: getauxval reads the process's auxiliary vector and has no preconditions.
        #[cfg(target_os = "linux")]
        let secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
        #[cfg(not(target_os = "linux"))]
        let secure = false;
        secure
            || rustix::process::getuid() != rustix::process::geteuid()
            || rustix::process::getgid() != rustix::process::getegid()
    })
}
