//! Which backend serves a context.

use std::fmt;
use std::path::PathBuf;

use crate::env;
use crate::wire::Version;

/// A wish for a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// What `PCSCLITE_BACKEND` says: `daemon` or `simulated`; a daemon where it says nothing.
    #[default]
    Environment,
    /// A daemon and nothing else.
    Daemon,
    /// The bundled simulated reader.
    Simulated,
    /// A daemon, or the bundled simulated reader where there is no daemon, or no reader.
    DaemonOrSimulated,
}

impl Choice {
    /// The choice that the environment makes, where it is asked. What it says and nobody knows is told
    /// to the log, and is no choice.
    pub fn resolve(self) -> Choice {
        if !matches!(self, Choice::Environment | Choice::DaemonOrSimulated) {
            return self;
        }
        let or_else = if self == Choice::Environment {
            Choice::Daemon
        } else {
            self
        };
        match env::var("PCSCLITE_BACKEND") {
            None => or_else,
            Some(value) if value == "daemon" => Choice::Daemon,
            Some(value) if value == "simulated" => Choice::Simulated,
            Some(value) => {
                log::error!("PCSCLITE_BACKEND is {value:?}; it can be daemon or simulated");
                or_else
            }
        }
    }
}

/// The backend that serves a context.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendKind {
    /// A daemon.
    Daemon {
        /// Its socket.
        path: PathBuf,
        /// The protocol version spoken with it.
        version: Version,
    },
    /// The bundled simulated reader.
    Simulated,
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackendKind::Daemon { path, version } => {
                write!(f, "pcscd at {} (protocol {version})", path.display())
            }
            BackendKind::Simulated => f.write_str("the bundled simulated reader, not real hardware"),
        }
    }
}
