//! What the PC/SC crates need to know of the process and thread that they run in.
//!
//! A program may cancel a thread that waits in one of its calls (`pthread_cancel`). C code is then unwound
//! by force, which Rust code is not prepared for: destructors are skipped or the process is aborted. So
//! [`cancellation`] keeps cancellation away from Rust code, and ends the thread when the Rust code has
//! returned. Calls that wait do so in [`wait`].
//!
//! A program may also close descriptors that it does not know, as daemons do with `closefrom(3)`, and then
//! open files that get their numbers. [`Descriptor`] and [`Waker`] leave such files alone.

pub mod cancellation;
mod descriptor;
pub mod wait;
mod waker;

pub use descriptor::Descriptor;
pub use waker::Waker;
