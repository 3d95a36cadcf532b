//! Signals, kept away from the threads of a library: the program's handlers run in its own threads.

#[cfg(all(unix, not(miri)))]
mod posix;
#[cfg(all(unix, not(miri)))]
use posix as platform;

#[cfg(any(not(unix), miri))]
mod none;
#[cfg(any(not(unix), miri))]
use none as platform;

/// Blocks all signals meanwhile. A new thread inherits the mask of the one that starts it.
pub fn blocked<T>(work: impl FnOnce() -> T) -> T {
    platform::blocked(work)
}
