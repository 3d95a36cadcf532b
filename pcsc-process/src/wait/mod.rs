//! Waits, which are cancellation points where the entry point allows it.
//!
//! A cancelled wait returns as if its time were over, and so does every further one until the entry point
//! returns.

#[cfg(any(test, not(all(any(target_os = "linux", target_os = "android"), not(miri)))))]
mod condvar;
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
mod linux;
#[cfg(all(
    unix,
    any(test, not(all(any(target_os = "linux", target_os = "android"), not(miri))))
))]
mod poll;

#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(miri))))]
pub use condvar::{sleep, ChangeCounter};
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
pub use linux::{poll, sleep, ChangeCounter};
#[cfg(all(unix, not(all(any(target_os = "linux", target_os = "android"), not(miri)))))]
pub use poll::poll;

#[cfg(test)]
mod tests;
