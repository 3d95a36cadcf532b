//! Clients and sources on other hosts, over mutual TLS 1.3.
//!
//! TLS carries the same protocol as the socket. A thread for each connection relays between the TLS stream
//! and a pair of sockets, whose other end is a client to the server, or a daemon to a
//! [source](crate::DaemonSource). Neither of these depends on TLS. All cryptography is rustls's and ring's.
//!
//! ```text
//! listener      accepts connections, and hands clients to the server
//! remote        connects to the server of another host
//! relay         the handshake, and bytes in both directions
//! acceptor      which certificates of clients are accepted
//! identity      certificates and keys from files
//! address       HOST:PORT
//! tcp           the options of TCP sockets
//! ```

mod acceptor;
mod address;
mod identity;
mod listener;
mod relay;
mod remote;
mod tcp;

pub use acceptor::Acceptor;
pub use address::check_address;
pub use identity::{Authorities, TlsError, TlsIdentity};
pub use listener::Listener;
pub use remote::Remote;
