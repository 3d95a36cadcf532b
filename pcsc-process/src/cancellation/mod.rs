//! Thread cancellation (POSIX.1-2017, XSH 2.9.5), kept away from Rust code.
//!
//! An entry point runs its body between [`disable`] and [`Disabled::restore`]. A cancellation request in
//! between stays pending, with one exception: in an entry point that used [`allow_in_waits`], the waits of
//! [`wait`](crate::wait) are cancellation points. A cancelled wait returns, so that locks are unlocked and
//! resources are freed, and `restore` returns true, upon which the entry point calls [`exit_thread`].
//!
//! Waits are cancellation points with glibc on x86 and x86-64. Elsewhere a pending cancellation takes
//! effect after the call.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
use std::{ffi::c_long, io};

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "x86"),
    not(miri)
))]
mod glibc;
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "x86"),
    not(miri)
))]
use glibc::cancellable;

#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(all(target_env = "gnu", any(target_arch = "x86_64", target_arch = "x86"))),
    not(miri)
))]
use uncancellable as cancellable;

const ENABLE: c_int = if cfg!(target_vendor = "apple") { 1 } else { 0 };
const DISABLE: c_int = 1 - ENABLE;

/// What a cancellation does to the calling thread's waits.
#[derive(Clone, Copy, PartialEq)]
enum Waits {
    AreNoCancellationPoints,
    AreCancellationPoints,
    WereCancelled,
}

thread_local! {
    static WAITS: Cell<Waits> = const { Cell::new(Waits::AreNoCancellationPoints) };
}

/// Cancellation is disabled in the calling thread, until this is restored.
#[must_use]
pub struct Disabled {
    before: c_int,
    waits: bool,
}

/// Disables cancellation.
pub fn disable() -> Disabled {
    Disabled {
        before: set_state(DISABLE),
        waits: false,
    }
}

/// Disables cancellation except in waits, if it is enabled now.
pub fn allow_in_waits() -> Disabled {
    let before = set_state(DISABLE);
    let waits = before == ENABLE;
    if waits {
        WAITS.set(Waits::AreCancellationPoints);
    }
    Disabled { before, waits }
}

impl Disabled {
    /// Restores the caller's cancellation state. True if a wait was cancelled: the entry point calls
    /// [`exit_thread`].
    pub fn restore(self) -> bool {
        if self.waits && WAITS.replace(Waits::AreNoCancellationPoints) == Waits::WereCancelled {
            return true;
        }
        if self.before == ENABLE {
            set_state(ENABLE);
        }
        false
    }
}

/// Ends the calling thread as a cancellation does: the stack is unwound by force. To be called by an entry
/// point of the ABI "C-unwind", in a frame that owns nothing.
pub fn exit_thread() -> ! {
    unsafe extern "C-unwind" {
        fn pthread_exit(value: *mut c_void) -> !;
    }
    /// `PTHREAD_CANCELED`.
    const CANCELED: usize = if cfg!(target_vendor = "apple") {
        1
    } else {
        usize::MAX
    };
    // SAFETY: a thread may exit at any time. This frame owns nothing.
    unsafe { pthread_exit(CANCELED as *mut c_void) }
}

/// Whether the calling thread was cancelled in a wait of the present call.
pub fn was_cancelled() -> bool {
    WAITS.get() == Waits::WereCancelled
}

/// Makes a system call that may block. It is a cancellation point where the entry point allows it.
///
/// # Errors
/// The system call's. `ECANCELED` if the thread was cancelled, also for every further call until the entry
/// point returns.
///
/// # Safety
/// The arguments are valid for the system call. A cancelled call may have had its effect.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
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
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
unsafe fn uncancellable(number: c_long, arguments: [usize; 6]) -> Option<c_long> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: as the caller promises.
    Some(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

#[cfg(not(any(target_os = "android", miri)))]
fn set_state(state: c_int) -> c_int {
    unsafe extern "C-unwind" {
        fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
    }
    let mut before = DISABLE;
    // SAFETY: `before` is writable. The call is no cancellation point.
    unsafe { pthread_setcancelstate(state, &mut before) };
    before
}

/// Android's C library has no cancellation.
#[cfg(any(target_os = "android", miri))]
fn set_state(_state: c_int) -> c_int {
    DISABLE
}
