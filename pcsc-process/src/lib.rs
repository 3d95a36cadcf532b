//! The process and thread that the PC/SC crates run in: cancellation, waits, descriptors, forks.
//!
//! A program may cancel a thread that waits in one of its calls (`pthread_cancel`). C code is then unwound
//! by force, which Rust code is not prepared for: destructors are skipped or the process is aborted. So
//! [`cancellation`] keeps cancellation away from Rust code, and ends the thread when the Rust code has
//! returned. Calls that wait do so in [`wait`].
//!
//! A program may also close descriptors of the library, as daemons do with `closefrom(3)`, and then open
//! files that get their numbers. [`Descriptor`] and [`Waker`] do not touch such files.
//!
//! A program may fork. [`generation`] differs in the child, which then leaves alone what belongs to its
//! parent.

pub mod activation;
pub mod cancellation;
mod descriptor;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod generation;
pub mod peer;
pub mod socket;
pub mod wait;
mod waker;

pub use descriptor::Descriptor;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use generation::generation;
pub use waker::Waker;

/// A number that a process does not share with its parents.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn generation() -> u32 {
    std::process::id()
}
