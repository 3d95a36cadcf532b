//! The backends of a context: pcscd over its socket, a resource manager in this process, or the PC/SC library
//! of the system.
//!
//! Not covered by semantic versioning: for the crates of this workspace. The interface takes and returns the
//! numbers of the C interface, because the Rust API and libpcsclite.so.1 are both built on it.

#[cfg(all(feature = "daemon", unix))]
pub mod daemon;
#[cfg(not(all(feature = "daemon", unix)))]
mod no_daemon;
#[cfg(not(all(feature = "daemon", unix)))]
use no_daemon as daemon;

#[cfg(feature = "standalone")]
#[cfg_attr(
    not(all(feature = "daemon", feature = "sim")),
    allow(dead_code, unused_imports, reason = "each other backend uses a part of it")
)]
pub mod standalone;
#[cfg_attr(
    not(any(all(feature = "daemon", unix), feature = "standalone")),
    allow(dead_code, unused_imports, reason = "the system's library waits by itself")
)]
pub mod status_change;
#[cfg(feature = "system")]
mod system;

mod bytes;
mod calls;
mod choice;
#[cfg(any(all(feature = "daemon", unix), feature = "system"))]
mod driver_facts;
mod establish;
#[cfg_attr(
    not(any(all(feature = "daemon", unix), feature = "standalone")),
    allow(dead_code, reason = "the backend `system` hashes nothing")
)]
mod hash;
mod lifecycle;
mod session;
mod size_query;
mod values;

pub use bytes::{AtrBytes, AttributeValue, Bytes};
pub use calls::Calls;
pub use choice::{BackendKind, Choice};
pub use session::Session;
pub use values::{Connected, ConnectionStatus, Pci, SessionOptions, Transmitted};

/// The socket of the user's own server, `pcsc share`, if there is one that contexts may use.
#[cfg(feature = "standalone")]
pub fn user_socket() -> Option<std::path::PathBuf> {
    daemon::Listeners::user_socket()
}
