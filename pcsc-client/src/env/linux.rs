//! Linux and Android.
#![allow(unsafe_code)]

/// Where pcscd listens.
#[cfg(feature = "daemon")]
pub const DEFAULT_SOCKET: &str = "/run/pcscd/pcscd.comm";

/// Whether this is a setuid or setgid program, or one with file capabilities. Such a program ignores the
/// environment of its caller.
pub fn is_privileged() -> bool {
    if cfg!(miri) {
        // Miri has neither users nor an auxiliary vector.
        return false;
    }
    // SAFETY: getauxval reads the process's auxiliary vector and has no preconditions.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    secure
        || rustix::process::getuid() != rustix::process::geteuid()
        || rustix::process::getgid() != rustix::process::getegid()
}
