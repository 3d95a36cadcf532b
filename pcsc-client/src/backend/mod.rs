//! What stands behind a context: pcscd over its socket, or a resource manager in this process.
//!
//! Everything here takes and gives the C API's numbers, because both faces, Rust's and C's, build on it.
//! The two backends give the same message bodies: a call without a daemon is answered as pcscd would.

pub mod daemon;
pub mod standalone;
pub mod status_change;

mod choice;
mod session;
mod signal;
mod size_query;

pub use crate::env::var as environment;
pub use crate::error::{Cause, Failure, Outcome, SETTING_LOG};
pub use crate::process::generation as process_generation;
pub use choice::{BackendKind, Choice};
pub use session::{Listener, Options, Session};
