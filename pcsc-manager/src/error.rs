//! Why calls fail, and why a manager or a bus cannot start.

use std::io;
use std::path::PathBuf;

/// Defines the errors that have no data: each with its code and its text.
macro_rules! call_errors {
    ($($(#[$more:meta])* $name:ident = $code:ident: $text:literal;)+) => {
        /// Why a call of a client failed. Each variant has the meaning of the PC/SC return code of the same
        /// name (PC/SC part 5, clause 3.1).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum CallError {
            /// `SCARD_E_INSUFFICIENT_BUFFER`: the answer does not fit.
            #[error("the answer does not fit into the buffer")]
            InsufficientBuffer {
                /// How many bytes the answer has; 0 where that is not known.
                needed: usize,
            },
            $(
                #[doc = concat!("`", stringify!($code), "`: ", $text, ".")]
                $(#[$more])*
                #[error($text)]
                $name,
            )+
        }

        impl CallError {
            /// The PC/SC return code.
            pub fn code(self) -> u32 {
                match self {
                    CallError::InsufficientBuffer { .. } => pcsc_constants::SCARD_E_INSUFFICIENT_BUFFER,
                    $(CallError::$name => pcsc_constants::$code,)+
                }
            }
        }
    };
}

call_errors! {
    /// Also where its client was released.
    InvalidHandle = SCARD_E_INVALID_HANDLE: "there is no such connection";
    /// A share mode, an initialization or a disposition.
    InvalidValue = SCARD_E_INVALID_VALUE: "a parameter has a value that is not allowed";
    NoSmartcard = SCARD_E_NO_SMARTCARD: "there is no card in the reader";
    /// Also where there is no transaction to end.
    NotTransacted = SCARD_E_NOT_TRANSACTED: "the exchange or the transaction did not take place";
    ProtoMismatch = SCARD_E_PROTO_MISMATCH: "the card does not offer the protocol, or uses another one";
    ReaderUnavailable = SCARD_E_READER_UNAVAILABLE: "the reader is not available";
    RemovedCard = SCARD_W_REMOVED_CARD: "the card was removed";
    ResetCard = SCARD_W_RESET_CARD: "the card was reset";
    SharingViolation = SCARD_E_SHARING_VIOLATION: "the card is in use by another connection or process";
    Timeout = SCARD_E_TIMEOUT: "the deadline has passed";
    UnknownReader = SCARD_E_UNKNOWN_READER: "no reader has this name";
    UnpoweredCard = SCARD_W_UNPOWERED_CARD: "the card has no power";
    UnresponsiveCard = SCARD_W_UNRESPONSIVE_CARD: "the card does not answer";
    UnsupportedFeature = SCARD_E_UNSUPPORTED_FEATURE: "the reader has no such function";
}

impl CallError {
    /// How many bytes the answer has that does not fit; 0 where that is not known, and for other errors.
    pub fn needed(self) -> usize {
        match self {
            CallError::InsufficientBuffer { needed } => needed,
            _ => 0,
        }
    }
}

/// Why a manager or a bus cannot start. The system's error is the [`source`](std::error::Error::source), and
/// no part of the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The system has no room for a thread (RLIMIT_NPROC, RLIMIT_AS, a cgroup's pids.max).
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The USB cannot be listed or watched.
    #[error("the readers on the USB cannot be used")]
    Usb(#[source] io::Error),
    /// The process was forked from one that drives readers, and the USB library's thread does not survive a
    /// fork. Not on Linux.
    #[error(
        "the parent of this process drives the readers itself; a forked child cannot do so before it \
         executes a program"
    )]
    ForkedFromDriver,
    /// No simulated reader has this model name.
    #[error("there is no simulated reader called {0:?}")]
    UnknownModel(String),
    /// This is no port to listen on for virtual cards.
    #[error("{0:?} is no reader for virtual cards: there are vpcd, vpcd:PORT and vpcd:ADDRESS:PORT")]
    UnknownPort(String),
    /// The port for virtual cards cannot be opened.
    #[error("cannot listen for virtual cards")]
    Listen(#[source] io::Error),
    /// A record of a reader's transfers or of a program's calls cannot be replayed.
    #[error("{} cannot be replayed: {reason}", path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// The line, and what is wrong with it.
        reason: String,
    },
    /// Nothing answers at the socket of readers played by another program.
    #[error("cannot connect to the simulated readers at {}", path.display())]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    #[test]
    fn the_text_of_an_error_is_without_its_source() {
        let cause = || io::Error::from_raw_os_error(2);
        for error in [
            StartError::Thread(cause()),
            StartError::Usb(cause()),
            StartError::Listen(cause()),
            StartError::Connect {
                path: "/none".into(),
                source: cause(),
            },
        ] {
            assert_eq!(error.source().map(ToString::to_string), Some(cause().to_string()));
            assert!(!error.to_string().contains(&cause().to_string()), "{error}");
        }
    }
}
