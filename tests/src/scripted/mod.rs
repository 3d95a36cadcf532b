//! A scripted daemon, for protocol versions that Debian's pcscd does not have and for answers that no real
//! daemon gives.
//!
//! It answers as pcscd does, with the codec of `pcsc_wire`. A test can change its readers while clients wait,
//! and replace any answer.

mod connection;
mod daemon;
mod script;
mod world;

pub use daemon::Scripted;
pub use script::{
    endian, number, reader, repeat_with_other_endian, Answer, Interceptor, Reader, Script, LONG,
};
