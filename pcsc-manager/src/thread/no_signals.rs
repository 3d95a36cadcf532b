//! Systems without signals.

/// There is nothing to block.
pub fn blocked<T>(work: impl FnOnce() -> T) -> T {
    work()
}
