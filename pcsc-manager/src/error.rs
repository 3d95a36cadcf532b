//! Why calls fail, and why a manager or a bus cannot start.

use std::io;
use std::path::PathBuf;

/// Why a call of a client failed. Each variant has the meaning of the PC/SC return code of the same name
/// (PC/SC part 5, clause 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// `SCARD_E_INSUFFICIENT_BUFFER`: the answer does not fit.
    #[error("the answer does not fit into the buffer")]
    InsufficientBuffer {
        /// How many bytes the answer has; 0 where that is not known.
        needed: usize,
    },
    /// `SCARD_E_INVALID_HANDLE`: there is no such connection, or its client was released.
    #[error("there is no such connection")]
    InvalidHandle,
    /// `SCARD_E_INVALID_VALUE`: a share mode, an initialization or a disposition does not exist.
    #[error("a parameter has a value that is not allowed")]
    InvalidValue,
    /// `SCARD_E_NO_SMARTCARD`: the slot is empty.
    #[error("there is no card in the reader")]
    NoSmartcard,
    /// `SCARD_E_NOT_TRANSACTED`: the exchange failed, or there is no transaction to end.
    #[error("the exchange or the transaction did not take place")]
    NotTransacted,
    /// `SCARD_E_PROTO_MISMATCH`: the card does not offer the protocols, or another one is in use.
    #[error("the card does not offer the protocol, or uses another one")]
    ProtoMismatch,
    /// `SCARD_E_READER_UNAVAILABLE`: the reader is gone or does not answer.
    #[error("the reader is not available")]
    ReaderUnavailable,
    /// `SCARD_W_REMOVED_CARD`: the card was removed.
    #[error("the card was removed")]
    RemovedCard,
    /// `SCARD_W_RESET_CARD`: the card was reset by another connection.
    #[error("the card was reset")]
    ResetCard,
    /// `SCARD_E_SHARING_VIOLATION`: another connection or another process uses the card.
    #[error("the card is in use by another connection or process")]
    SharingViolation,
    /// `SCARD_E_TIMEOUT`: the caller's deadline has passed.
    #[error("the deadline has passed")]
    Timeout,
    /// `SCARD_E_UNKNOWN_READER`: no reader has this name.
    #[error("no reader has this name")]
    UnknownReader,
    /// `SCARD_W_UNPOWERED_CARD`: the card has no power.
    #[error("the card has no power")]
    UnpoweredCard,
    /// `SCARD_W_UNRESPONSIVE_CARD`: the card does not answer.
    #[error("the card does not answer")]
    UnresponsiveCard,
    /// `SCARD_E_UNSUPPORTED_FEATURE`: the reader has no such function or attribute.
    #[error("the reader has no such function")]
    UnsupportedFeature,
}

impl CallError {
    /// The PC/SC return code.
    pub fn code(self) -> u32 {
        use pcsc_constants as codes;
        match self {
            CallError::InsufficientBuffer { .. } => codes::SCARD_E_INSUFFICIENT_BUFFER,
            CallError::InvalidHandle => codes::SCARD_E_INVALID_HANDLE,
            CallError::InvalidValue => codes::SCARD_E_INVALID_VALUE,
            CallError::NoSmartcard => codes::SCARD_E_NO_SMARTCARD,
            CallError::NotTransacted => codes::SCARD_E_NOT_TRANSACTED,
            CallError::ProtoMismatch => codes::SCARD_E_PROTO_MISMATCH,
            CallError::ReaderUnavailable => codes::SCARD_E_READER_UNAVAILABLE,
            CallError::RemovedCard => codes::SCARD_W_REMOVED_CARD,
            CallError::ResetCard => codes::SCARD_W_RESET_CARD,
            CallError::SharingViolation => codes::SCARD_E_SHARING_VIOLATION,
            CallError::Timeout => codes::SCARD_E_TIMEOUT,
            CallError::UnknownReader => codes::SCARD_E_UNKNOWN_READER,
            CallError::UnpoweredCard => codes::SCARD_W_UNPOWERED_CARD,
            CallError::UnresponsiveCard => codes::SCARD_W_UNRESPONSIVE_CARD,
            CallError::UnsupportedFeature => codes::SCARD_E_UNSUPPORTED_FEATURE,
        }
    }

    /// How many bytes the answer has that does not fit; 0 where that is not known, and for other errors.
    pub fn needed(self) -> usize {
        match self {
            CallError::InsufficientBuffer { needed } => needed,
            _ => 0,
        }
    }
}

/// Why a manager or a bus cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The system has no room for a thread (RLIMIT_NPROC, RLIMIT_AS, a cgroup's pids.max).
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The USB cannot be listed or watched.
    #[error("the readers on the USB cannot be used: {0}")]
    Usb(#[source] io::Error),
    /// The process was forked from one that drives readers, and the USB library's thread does not survive a
    /// fork. Not on Linux.
    #[error("the parent of this process drives the readers itself")]
    ForkedFromDriver,
    /// No simulated reader has this model name.
    #[error("there is no simulated reader called {0:?}")]
    UnknownModel(String),
    /// This is no port to listen on for virtual cards.
    #[error("{0:?} is not vpcd, vpcd:PORT or vpcd:ADDRESS:PORT")]
    UnknownPort(String),
    /// The port for virtual cards cannot be opened.
    #[error("cannot listen for virtual cards: {0}")]
    Listen(#[source] io::Error),
    /// Nothing answers at the socket of readers played by another program.
    #[error("cannot connect to {}: {source}", path.display())]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}
