//! Systems without signals, and Miri.

/// There is nothing to block.
pub fn blocked<T>(work: impl FnOnce() -> T) -> T {
    work()
}
