//! libpcsclite.so.1, the PC/SC Lite C library, in Rust.
//!
//! `entry` has the functions that C calls: each checks pointers, looks a handle up in `handles`, calls
//! `pcsc-client`, and writes results by the rules in `convention`. `MATRIX.md` says, function by
//! function, what each does, who needs it and what tests it.

mod convention;
mod entry;
mod handles;
mod log_to_stderr;
mod text;

pub use entry::*;
pub use text::pcsc_stringify_error;
