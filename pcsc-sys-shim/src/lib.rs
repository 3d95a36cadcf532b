//! libpcsclite.so.1, the PC/SC Lite C library, in Rust.
//!
//! `entry` has the functions that C calls: each checks its pointers, looks up a handle in `handles`, calls
//! `pcsc-client`, and stores results by the rules in `convention`. `MATRIX.md` lists what each function does,
//! which programs need it and which tests cover it.

mod convention;
mod entry;
mod handles;
mod log_to_stderr;
mod memory;
#[allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "DWORD has 64 bits or 32"
)]
mod spy;
mod text;
mod without_signals;

pub use entry::*;
pub use text::pcsc_stringify_error;
