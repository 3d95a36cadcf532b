//! The generation by the process's number, for systems without a page that a fork clears.
//!
//! The BSDs have such a page too (`minherit`), each in its own way, and macOS has none. `getpid` is the same
//! everywhere, and a small part of a call that makes three system calls.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// See [`generation`](super::generation). Process numbers are not used as they are: a child's is unrelated to
/// its parent's, while tables are indexed by the generation so that the two do not meet.
pub fn generation() -> u32 {
    /// The process that counted last, and its generation in the lower half. A child inherits its parent's.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let process = process::id();
    let mut last = LAST.load(Ordering::Acquire);
    loop {
        let generation = last as u32;
        if last >> 32 == u64::from(process) {
            return generation;
        }
        let fresh = u64::from(process) << 32 | u64::from(generation.wrapping_add(1).max(1));
        // It fails if another thread of this process was first.
        last = match LAST.compare_exchange(last, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(other) => other,
        };
    }
}
