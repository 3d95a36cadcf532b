//! Which backend serves a context.

use std::fmt;
use std::path::PathBuf;

use crate::env;
use crate::error::SETTING_LOG;
use pcsc_wire::Version;

/// Which backend the caller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Choice {
    /// The value of `PCSCLITE_BACKEND`: `daemon`, `standalone`, `system` or `simulated`.
    /// [`Choice::Automatic`] if it is not set.
    #[default]
    Environment,
    /// The daemon whose socket the caller or `PCSCLITE_CSOCK_NAME` names. If none is named, the system's
    /// daemon, or without one the readers on the USB, driven by this process. On Windows and macOS as
    /// [`Choice::System`] if no socket is named.
    Automatic,
    /// A daemon only.
    Daemon,
    /// The readers on the USB, driven by this process.
    Standalone,
    /// The PC/SC library of the system, which is loaded at run time: winscard.dll on Windows, PCSC.framework
    /// on macOS, libpcsclite.so.1 elsewhere; or the library that the caller or `PCSCLITE_SYSTEM_LIBRARY`
    /// names.
    System,
    /// Simulated readers: those in `PCSCLITE_SIMULATED`, or the bundled one.
    Simulated,
    /// As [`Choice::Environment`], but the bundled simulated reader if no other reader is found.
    SimulatedAtLast,
}

impl Choice {
    /// Replaces the choices that depend on the environment. Unknown values are logged and ignored, and so is
    /// `system` by the library of the system itself.
    pub fn resolve(self, is_system_library: bool) -> Choice {
        let or_else = match self {
            Choice::Environment => Choice::Automatic,
            Choice::SimulatedAtLast => self,
            decided => return decided,
        };
        // As an empty PCSCLITE_CSOCK_NAME, it counts as unset.
        match env::var("PCSCLITE_BACKEND").filter(|value| !value.is_empty()) {
            None => or_else,
            Some(value) if value == "daemon" => Choice::Daemon,
            Some(value) if value == "standalone" => Choice::Standalone,
            Some(value) if value == "system" && is_system_library => or_else,
            Some(value) if value == "system" => Choice::System,
            Some(value) if value == "simulated" => Choice::Simulated,
            Some(value) => {
                log::error!(
                    target: SETTING_LOG,
                    "PCSCLITE_BACKEND is {value:?}; it can be daemon, standalone, system or simulated"
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
    /// This process, with the readers on the USB.
    Standalone,
    /// The PC/SC library of the system.
    System {
        /// Its path or name.
        library: PathBuf,
    },
    /// This process, with simulated readers.
    Simulated,
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackendKind::Daemon { path, version } => {
                write!(f, "the daemon at {} (protocol {version})", path.display())
            }
            BackendKind::Standalone => f.write_str("the bundled driver, without a daemon"),
            BackendKind::System { library } => write!(f, "the PC/SC library {}", library.display()),
            BackendKind::Simulated => f.write_str("simulated readers, not real hardware"),
        }
    }
}
