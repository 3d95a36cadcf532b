//! Thread cancellation (POSIX.1-2017, XSH 2.9.5), kept away from Rust code.
//!
//! An entry point runs its body between [`disable`] and [`Disabled::restore`]. A cancellation request in
//! between stays pending, with one exception: in an entry point that used [`allow_in_waits`], the waits of
//! [`wait`](crate::wait) are cancellation points. A cancelled wait returns, so that locks are unlocked and
//! resources are freed, and `restore` returns true, upon which the entry point calls [`exit_thread`].
//!
//! Waits are cancellation points with glibc on x86 and x86-64. With other C libraries, which unwind a
//! cancelled thread each in its own way, a pending cancellation takes effect after the call. Android has
//! none.

#[cfg(not(any(target_os = "android", miri)))]
mod posix;
#[cfg(not(any(target_os = "android", miri)))]
use posix as platform;

#[cfg(any(target_os = "android", miri))]
mod none;
#[cfg(any(target_os = "android", miri))]
use none as platform;

#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
mod linux;
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
pub(crate) use linux::blocking;

use std::cell::Cell;
use std::ffi::{c_int, c_void};

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
        before: platform::set_state(platform::DISABLE),
        waits: false,
    }
}

/// Disables cancellation except in waits, if it is enabled now.
pub fn allow_in_waits() -> Disabled {
    let before = platform::set_state(platform::DISABLE);
    let waits = before == platform::ENABLE;
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
        if self.before == platform::ENABLE {
            platform::set_state(platform::ENABLE);
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
    // SAFETY: a thread may exit at any time. This frame owns nothing.
    unsafe { pthread_exit(platform::CANCELED as *mut c_void) }
}

/// Whether the calling thread was cancelled in a wait of the present call.
pub fn was_cancelled() -> bool {
    WAITS.get() == Waits::WereCancelled
}
