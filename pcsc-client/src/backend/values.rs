//! Parameters and results of a context's calls.

use std::path::PathBuf;
use std::time::Duration;

use super::bytes::AtrBytes;
use super::choice::Choice;
use pcsc_wire::ReaderStateRecord;

/// The options of a new context.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The backend to use.
    pub backend: Choice,
    /// The daemon's socket. `None` is the one in the environment, or the system's.
    pub socket: Option<PathBuf>,
    /// What connects to the daemon in place of a connect to the socket, whose path then only names it.
    #[cfg(all(feature = "daemon", unix))]
    pub connector: Option<super::daemon::connect::Connector>,
    /// Whether calls wait for the transactions of other connections. `None` is as the environment has it, but
    /// the begin of a transaction waits.
    pub waits: Option<bool>,
    /// The PC/SC library of the system. `None` is the one in the environment, or the platform's.
    pub library: Option<PathBuf>,
    /// Whether the caller itself is the PC/SC library of the system. It does not load itself:
    /// [`Choice::System`] in the environment is [`Choice::Automatic`] to it.
    pub is_system_library: bool,
    /// The node of a device on the USB that the caller has opened for reading and writing, instead of any
    /// backend.
    #[cfg(all(feature = "standalone", any(target_os = "linux", target_os = "android")))]
    pub device: Option<std::sync::Arc<std::os::fd::OwnedFd>>,
    /// The scope, which daemons ignore.
    pub scope: u32,
    /// How long the daemon may take for an answer that needs no card, before the connection is given up.
    pub limit: Duration,
}

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions {
            backend: Choice::default(),
            socket: None,
            #[cfg(all(feature = "daemon", unix))]
            connector: None,
            waits: None,
            library: None,
            is_system_library: false,
            #[cfg(all(feature = "standalone", any(target_os = "linux", target_os = "android")))]
            device: None,
            scope: 2,
            limit: Duration::from_secs(30),
        }
    }
}

/// A connection that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connected {
    /// Its number, for the context's other calls.
    pub card: i32,
    /// The protocol in use, `SCARD_PROTOCOL_*`; 0 for a connection to the reader alone.
    pub protocol: u32,
}

/// Protocol control information of a transmit (PC/SC part 5, clause 3.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pci {
    /// The protocol, `SCARD_PROTOCOL_*`.
    pub protocol: u32,
    /// The size in bytes of the caller's structure.
    pub length: u32,
}

/// A response that a card has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmitted {
    /// Its length in bytes.
    pub length: usize,
    /// Its protocol control information.
    pub pci: Pci,
}

/// The status of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionStatus {
    /// `SCARD_PRESENT` and its like (PC/SC part 5, clause 3.2.2).
    pub state: u32,
    /// How often the reader's state has changed.
    pub event_counter: u32,
    /// The protocol in use, `SCARD_PROTOCOL_*`.
    pub protocol: u32,
    /// The card's ATR.
    pub atr: AtrBytes,
}

impl From<ReaderStateRecord<'_>> for ConnectionStatus {
    fn from(reader: ReaderStateRecord<'_>) -> ConnectionStatus {
        ConnectionStatus {
            state: reader.state,
            event_counter: reader.event_counter,
            protocol: reader.protocol,
            atr: reader.atr.into(),
        }
    }
}
