//! What the PC/SC crates need to know of the process and thread that they run in.
//!
//! A program may cancel a thread that waits in one of its calls (`pthread_cancel`). C code is then unwound
//! by force, which Rust code is not prepared for: destructors are skipped or the process is aborted. So
//! [`cancellation`] keeps cancellation away from Rust code, and ends the thread when the Rust code has
//! returned. Calls that wait do so in [`wait`].

pub mod cancellation;
pub mod wait;
