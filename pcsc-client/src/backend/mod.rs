//! What stands behind a context: today pcscd over its socket.
//!
//! Everything here takes and gives the C API's numbers, because both faces, Rust's and C's, build on it.

pub mod daemon;
pub mod status_change;

pub use crate::env::var as environment;
pub use crate::error::{Cause, Failure, Outcome};
pub use crate::process::generation as process_generation;
