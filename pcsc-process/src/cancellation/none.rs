//! Android's C library has no cancellation, and Miri neither.

use std::ffi::c_int;

/// A state that no thread has.
pub const ENABLE: c_int = 0;
/// The state of each thread.
pub const DISABLE: c_int = 1;
/// What a cancelled thread would return.
pub const CANCELED: isize = -1;

/// The state, which cannot be changed.
pub fn set_state(_state: c_int) -> c_int {
    DISABLE
}
