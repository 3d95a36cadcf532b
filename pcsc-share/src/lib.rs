//! A server of pcscd's socket protocol, versions 4.2 to 4.6, in Rust: it shares readers between processes.
//!
//! A [`Source`] has readers: [`ManagerSource`] those of this machine, or simulated ones, and
//! [`DaemonSource`] those of another daemon. A [`Server`] joins
//! the readers of its sources into one list, and serves every client that connects to its socket with pcscd's
//! rules and return codes. Each client is served in the protocol version that it asks for.
//!
//! ```no_run
//! use std::sync::Arc;
//! use pcsc_share::{socket, Joined, ManagerSource, ServerOptions, Server, Source};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let source: Arc<dyn Source> = Arc::new(ManagerSource::usb()?);
//! let server = Server::start(Joined::numbered([source]), ServerOptions::default())?;
//! let access = socket::Access::new(0o600);
//! let socket = socket::Socket::bind("/tmp/pcscd.comm".as_ref(), access)?;
//! // A byte sent to the first one ends the server.
//! let (_ender, end) = std::os::unix::net::UnixStream::pair()?;
//! server.run(socket, &end, None)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//!
//! The caller of [`Server::run`] accepts clients, and learns of those that have gone: a call of theirs that
//! waits for a transaction ends. Each client has a thread with a small stack, which sleeps on its socket; the
//! thread of one that has gone takes the next.
//! Each source has one that sleeps on its counter of changes and sends the events. A [`DaemonSource`] has one
//! of its own, which waits for the daemon's events. A list of the readers of several daemons starts a thread
//! for each of them but the first. Nothing wakes up while nothing happens.
//!
//! # Sources that do not answer
//!
//! A [`DaemonSource`] knows the names of its readers from the event that it waits for. A call of a reader
//! goes to the source of that reader alone, and no other source delays it. SCardStatus is an exception: the
//! library requests the list too. Only a name that no source is
//! known to have costs a look at the daemons, for a reader that has just come.
//!
//! A list of the readers with their states is a look at each source. The looks go on at the same time. A
//! daemon that hangs delays the list by at most 2 seconds, and one on another host by 5 seconds; several that
//! hang at a time delay it no longer. Then they count as gone and have no readers, and they delay no list
//! while attempts to reach them fail. A daemon that answers late, but in time, may delay a list twice: the
//! list waits for a look of another client that is in progress, and then for its own.
//!
//! # Layers
//!
//! ```text
//! server                 clients that come and go, and the end
//! socket                 the socket's file
//! client                 one client: its requests and their answers, its sessions with the sources
//! shared                 what clients share: waiters (for an event), contexts (to be cancelled), readers,
//!                        buffers, limits
//! entrance               clients that do not come to the socket
//! tls                    those on other hosts, and sources there
//! threads                those that serve clients
//! places                 how many clients there are at a time
//! incoming, outgoing     a client's socket: messages; answers and events
//! wait                   waits for descriptors with a deadline
//! joined                 a source in the list, and the names of its readers there
//! readers                the list of all sources' readers
//! policy                 who may use which of them
//! source                 where readers come from
//! ```
#![forbid(unsafe_code)]

mod accept;
mod buffers;
mod client;
mod contexts;
mod entrance;
mod incoming;
mod joined;
mod limits;
mod outgoing;
mod places;
mod policy;
mod random;
mod readers;
mod server;
mod shared;
pub mod socket;
mod source;
mod sync;
mod threads;
#[cfg(feature = "tls")]
pub mod tls;
mod wait;
mod waiters;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use entrance::Entrance;
pub use joined::Joined;
pub use limits::Limits;
pub use policy::AccessPolicy;
pub use server::{Server, ServerOptions};
pub use source::{Connected, DaemonSource, Failed, ManagerSource, Source, SourceSession, Transmitted};
