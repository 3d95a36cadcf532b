//! pcscd over its socket.
//!
//! `stream` moves bytes, `connect` and `handshake` make a connection, `link` has a request and its answer,
//! `calls` the calls of a context, `watch` its wait for changes, and `identity` finds out which device a
//! reader is. Each uses those before it.

mod calls;
mod connect;
mod handshake;
mod identity;
mod link;
mod stream;
mod watch;

pub use calls::DaemonContext;
pub use identity::Inquiry;
