//! Which backend serves a context.

use std::fmt;
use std::path::PathBuf;

use crate::env;
use crate::error::SETTING_LOG;
use pcsc_wire::Version;

/// A wish for a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Choice {
    /// What `PCSCLITE_BACKEND` says: `daemon`, `standalone` or `simulated`; [`Choice::Automatic`] where it
    /// says nothing.
    #[default]
    Environment,
    /// The daemon whose socket is named, by the caller or by `PCSCLITE_CSOCK_NAME`, and nothing else. Where
    /// none is named: the system's daemon if it listens, otherwise the readers on the USB, driven by this
    /// process.
    Automatic,
    /// A daemon and nothing else.
    Daemon,
    /// The readers on the USB, driven by this process.
    Standalone,
    /// Simulated readers: the bundled one, or those of `PCSCLITE_SIMULATED`.
    Simulated,
    /// As [`Choice::Environment`]; but where nothing has a reader, the bundled simulated reader.
    SimulatedAtLast,
}

impl Choice {
    /// The choice that the environment makes, where it is asked. Unknown values are logged and ignored.
    pub fn resolve(self) -> Choice {
        let or_else = match self {
            Choice::Environment => Choice::Automatic,
            Choice::SimulatedAtLast => self,
            decided => return decided,
        };
        match env::var("PCSCLITE_BACKEND") {
            None => or_else,
            Some(value) if value == "daemon" => Choice::Daemon,
            Some(value) if value == "standalone" => Choice::Standalone,
            Some(value) if value == "simulated" => Choice::Simulated,
            Some(value) => {
                log::error!(
                    target: SETTING_LOG,
                    "PCSCLITE_BACKEND is {value:?}; it can be daemon, standalone or simulated"
                );
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
    /// This process itself, with the readers on the USB.
    Standalone,
    /// This process itself, with simulated readers.
    Simulated,
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackendKind::Daemon { path, version } => {
                write!(f, "pcscd at {} (protocol {version})", path.display())
            }
            BackendKind::Standalone => f.write_str("the bundled driver, without a daemon"),
            BackendKind::Simulated => f.write_str("the bundled simulated reader, not real hardware"),
        }
    }
}
