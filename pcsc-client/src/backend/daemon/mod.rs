//! pcscd over its socket: stream (bytes) <- handshake, exchange (a round trip) <- session (the calls) <- waits.

mod connect;
mod exchange;
mod handshake;
mod session;
mod stream;
mod wait;

pub use session::Session;
