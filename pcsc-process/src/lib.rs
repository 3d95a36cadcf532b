//! The process and thread that the PC/SC crates run in: cancellation, waits, descriptors, forks, signals.
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
//!
//! A program may have signal handlers. [`signals`] keeps them out of the threads of a library.
//!
//! A peer may send its messages in pieces. [`Yields`] lets it send all of them before the thread sleeps
//! again.
//!
//! Windows has the waits alone.

#[cfg(unix)]
pub mod cancellation;
#[cfg(unix)]
mod descriptor;
mod generation;
#[cfg(unix)]
pub mod peer;
pub mod signals;
#[cfg(unix)]
pub mod socket;
pub mod wait;
#[cfg(unix)]
mod waker;
#[cfg(unix)]
mod yields;

#[cfg(unix)]
pub use descriptor::Descriptor;
pub use generation::generation;
#[cfg(unix)]
pub use waker::Waker;
#[cfg(unix)]
pub use yields::Yields;
