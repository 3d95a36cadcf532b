//! A context on the backend that the user chose.

use pcsc_client::{BackendKind, Choice, Context};
use serde::Serialize;

use crate::args::{Backend, Global};
use crate::problem::{Exit, Problem};

/// What a command does where there is neither a daemon nor a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// It uses the bundled simulated reader, and says so.
    Simulated,
    /// It goes on without a reader.
    Nothing,
}

/// Establishes a context. The simulated reader never stands in where the user has chosen something.
pub fn establish(global: &Global, fallback: Fallback) -> Result<Context, Problem> {
    let is_set = |name| std::env::var_os(name).is_some();
    if global.backend.is_none() {
        check_environment()?;
    }
    let is_chosen = global.backend.is_some()
        || global.socket.is_some()
        || is_set("PCSCLITE_BACKEND")
        || is_set("PCSCLITE_CSOCK_NAME");
    let simulates = fallback == Fallback::Simulated && !is_chosen;
    let mut builder = Context::builder().simulate_if_no_reader(simulates);
    match global.backend {
        Some(Backend::Daemon) => builder = builder.choose_backend(Choice::Daemon),
        Some(Backend::Standalone) => builder = builder.choose_backend(Choice::Standalone),
        Some(Backend::Simulated) => builder = builder.choose_backend(Choice::Simulated),
        Some(Backend::Auto) => builder = builder.choose_backend(Choice::Automatic),
        None => (),
    }
    if let Some(socket) = &global.socket {
        builder = builder.socket_path(socket);
    }
    let context = builder.establish()?;
    if simulates && context.backend() == BackendKind::Simulated {
        eprintln!(
            "pcsc: There is no reader and no daemon. This is the bundled simulated reader, not real \
             hardware; pcsc doctor says what is missing."
        );
    }
    Ok(context)
}

/// Whether the user wants simulated readers.
pub fn wants_simulated(global: &Global) -> Result<bool, Problem> {
    match global.backend {
        Some(backend) => Ok(backend == Backend::Simulated),
        None => {
            check_environment()?;
            Ok(std::env::var_os("PCSCLITE_BACKEND").is_some_and(|value| value == "simulated"))
        }
    }
}

/// Refuses a value of PCSCLITE_BACKEND that the library would log and ignore.
fn check_environment() -> Result<(), Problem> {
    match std::env::var_os("PCSCLITE_BACKEND") {
        Some(value)
            if !["daemon", "standalone", "simulated"]
                .iter()
                .any(|known| value == *known) =>
        {
            let text = format!("PCSCLITE_BACKEND is {value:?}; it can be daemon, standalone or simulated.");
            Err(Problem::new(Exit::Usage, text))
        }
        _ => Ok(()),
    }
}

/// The backend, as commands print it.
#[derive(Debug, Serialize)]
pub struct BackendInfo {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
}

impl From<BackendKind> for BackendInfo {
    fn from(kind: BackendKind) -> BackendInfo {
        let (kind, daemon) = match kind {
            BackendKind::Daemon { path, version } => ("daemon", Some((path, version))),
            BackendKind::Standalone => ("standalone", None),
            BackendKind::Simulated => ("simulated", None),
            _ => ("other", None),
        };
        BackendInfo {
            kind,
            socket: daemon.as_ref().map(|(path, _)| path.display().to_string()),
            protocol: daemon.map(|(_, version)| version.to_string()),
        }
    }
}
