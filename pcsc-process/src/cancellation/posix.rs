//! `pthread_setcancelstate` and its numbers, which POSIX leaves to each system.

use std::ffi::c_int;

/// `PTHREAD_CANCEL_ENABLE`.
pub const ENABLE: c_int = if cfg!(target_vendor = "apple") { 1 } else { 0 };
/// `PTHREAD_CANCEL_DISABLE`.
pub const DISABLE: c_int = 1 - ENABLE;

/// `PTHREAD_CANCELED`, an address.
pub const CANCELED: isize = if cfg!(target_os = "linux") {
    -1
} else if cfg!(any(target_os = "illumos", target_os = "solaris")) {
    -19
} else {
    // The BSDs and Apple's systems.
    1
};

/// Sets the calling thread's cancellation state, and returns the one before.
pub fn set_state(state: c_int) -> c_int {
    unsafe extern "C-unwind" {
        fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
    }
    let mut before = DISABLE;
    // SAFETY: `before` is writable. The call is no cancellation point.
    unsafe { pthread_setcancelstate(state, &mut before) };
    before
}
