//! A context on the backend that the user chose.

use std::path::PathBuf;

use clap::ValueEnum;
use pcsc_client::{BackendKind, Builder, Choice, Context};
use serde::Serialize;

use crate::args::{Backend, Global};
use crate::environment::variable;
use crate::output::message;
use crate::problem::{Exit, Problem};

/// How readers are reached: what the user has chosen by options and by the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The backend. [`Choice::Automatic`] only where no socket is named.
    pub choice: Choice,
    /// The daemon's socket that the user names.
    pub socket: Option<PathBuf>,
    /// Whether the user has chosen anything.
    pub is_chosen: bool,
}

impl Route {
    /// The user's choice, which is made as in `pcsc_client`: options go before the environment, and a named
    /// socket before the search for readers.
    pub fn new(global: &Global) -> Result<Route, Problem> {
        let environment = variable("PCSCLITE_BACKEND");
        let socket = socket(global);
        let is_chosen = global.backend.is_some() || environment.is_some() || socket.is_some();
        let backend = match (global.backend, environment) {
            (Some(backend), _) => backend,
            (None, None) => Backend::Auto,
            (None, Some(value)) => match Backend::from_str(&value.to_string_lossy(), false) {
                Ok(backend) if backend != Backend::Auto => backend,
                // The library would log and ignore it.
                _ => {
                    let text = format!(
                        "PCSCLITE_BACKEND is {value:?}; it can be daemon, standalone, system or simulated."
                    );
                    return Err(Problem::new(Exit::Usage, text));
                }
            },
        };
        let choice = match backend {
            Backend::Auto if socket.is_some() => Choice::Daemon,
            Backend::Auto => Choice::Automatic,
            Backend::Daemon => Choice::Daemon,
            Backend::Standalone => Choice::Standalone,
            Backend::System => Choice::System,
            Backend::Simulated => Choice::Simulated,
        };
        Ok(Route {
            choice,
            socket,
            is_chosen,
        })
    }

    /// For a context that is reached in this way.
    pub fn builder(&self) -> Builder {
        let builder = Context::builder().choose_backend(self.choice);
        match &self.socket {
            Some(socket) => builder.socket_path(socket),
            None => builder,
        }
    }
}

/// The socket that the user has named.
pub fn socket(global: &Global) -> Option<PathBuf> {
    let socket = global.socket.clone();
    socket.or_else(|| variable("PCSCLITE_CSOCK_NAME").map(PathBuf::from))
}

/// Establishes a context as the user has chosen.
pub fn establish(global: &Global) -> Result<Context, Problem> {
    Ok(Route::new(global)?.builder().establish()?)
}

/// Establishes a context. Where no reader is connected and the user has chosen nothing, it has the simulated
/// reader, and a message says so.
pub fn establish_or_simulate(global: &Global) -> Result<Context, Problem> {
    let route = Route::new(global)?;
    let simulates = !route.is_chosen;
    let context = route.builder().simulate_if_no_reader(simulates).establish()?;
    if simulates && context.backend() == BackendKind::Simulated {
        // PCSCLITE_SIMULATED may name others than the bundled one.
        let which = match variable("PCSCLITE_SIMULATED") {
            Some(_) => "What PCSCLITE_SIMULATED names is used",
            None => "The bundled simulated reader is used",
        };
        message(format_args!(
            "No reader is connected. {which}, not real hardware; pcsc doctor says what is missing."
        ));
    }
    Ok(context)
}

/// The backend, as commands print it.
#[derive(Debug, Default, Serialize)]
pub struct BackendInfo {
    kind: &'static str,
    socket: Option<String>,
    /// That of the protocol with the daemon.
    version: Option<String>,
    /// The PC/SC library of the system.
    library: Option<String>,
}

impl From<BackendKind> for BackendInfo {
    fn from(kind: BackendKind) -> BackendInfo {
        let mut info = BackendInfo::default();
        info.kind = match kind {
            BackendKind::Daemon { path, version } => {
                info.socket = Some(path.display().to_string());
                info.version = Some(version.to_string());
                "daemon"
            }
            BackendKind::Standalone => "standalone",
            BackendKind::System { library } => {
                info.library = Some(library.display().to_string());
                "system"
            }
            BackendKind::Simulated => "simulated",
            _ => "other",
        };
        info
    }
}
