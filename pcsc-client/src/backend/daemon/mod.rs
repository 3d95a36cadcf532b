//! pcscd over its socket: stream (bytes) <- handshake and session (one round trip a call) <- waits.

mod handshake;
mod session;
mod stream;
mod wait;

pub use session::Session;
