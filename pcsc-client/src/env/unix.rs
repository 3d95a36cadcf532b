//! The BSDs, macOS and illumos.
#![allow(unsafe_code)]

use std::ffi::c_int;

/// Where pcscd listens. These systems have no `/run`. Homebrew's pcscd listens in Homebrew's own folder.
#[cfg(feature = "daemon")]
pub const DEFAULT_SOCKET: &str = "/var/run/pcscd/pcscd.comm";

/// Whether this is a setuid or setgid program. Such a program ignores the environment of its caller.
pub fn is_privileged() -> bool {
    unsafe extern "C" {
        // All of them have it. Crate libc does not declare it for illumos.
        fn issetugid() -> c_int;
    }
    // SAFETY: it has no preconditions. Unlike a comparison of the numbers, it is also true in a program that
    // has changed its own since.
    unsafe { issetugid() != 0 }
}
