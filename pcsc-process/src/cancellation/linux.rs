//! System calls of Linux that may block.

#[cfg(all(target_env = "gnu", any(target_arch = "x86_64", target_arch = "x86")))]
mod glibc;
#[cfg(all(target_env = "gnu", any(target_arch = "x86_64", target_arch = "x86")))]
use glibc::cancellable;

#[cfg(not(all(target_env = "gnu", any(target_arch = "x86_64", target_arch = "x86"))))]
use uncancellable as cancellable;

use std::ffi::c_long;
use std::io;

use super::{Waits, WAITS};

/// Makes a system call that may block. It is a cancellation point where the entry point allows it.
///
/// # Errors
/// The system call's. `ECANCELED` if the thread was cancelled, also for every further call until the entry
/// point returns.
///
/// # Safety
/// The arguments are valid for the system call. A cancelled call may have had its effect.
pub(crate) unsafe fn blocking(number: c_long, arguments: [usize; 6]) -> io::Result<usize> {
    let result = match WAITS.get() {
        // SAFETY: as the caller promises.
        Waits::AreNoCancellationPoints => unsafe { uncancellable(number, arguments) },
        // SAFETY: as the caller promises.
        Waits::AreCancellationPoints => unsafe { cancellable(number, arguments) },
        Waits::WereCancelled => None,
    };
    match result {
        Some(-1) => Err(io::Error::last_os_error()),
        Some(result) => Ok(result as usize),
        None => {
            WAITS.set(Waits::WereCancelled);
            Err(io::Error::from_raw_os_error(libc::ECANCELED))
        }
    }
}

/// # Safety
/// As [`blocking`].
unsafe fn uncancellable(number: c_long, arguments: [usize; 6]) -> Option<c_long> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: as the caller promises.
    Some(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}
