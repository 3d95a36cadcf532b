//! `pcsc share`: serves readers to other programs.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use pcsc_share::socket::{default_socket, Access, Socket, SocketError};
use pcsc_share::{ManagerSource, Options, Server, Source};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::args::{Global, Share};
use crate::problem::{Exit, Problem};

/// Serves until a signal ends it.
pub fn run(global: &Global, arguments: &Share) -> Result<(), Problem> {
    global.refuse("pcsc share", &["--json", "--backend", "--reader"])?;
    let failed = |what: &str, error: std::io::Error| Problem::new(Exit::Failed, format!("{what}: {error}."));
    // Before any thread starts, and before there is anything to clean up.
    let (sender, end) = UnixStream::pair().map_err(|error| failed("There is no descriptor", error))?;
    for signal in [SIGTERM, SIGINT] {
        let sender = sender.try_clone();
        sender
            .and_then(|sender| signal_hook::low_level::pipe::register(signal, sender))
            .map_err(|error| failed("A signal cannot be handled", error))?;
    }
    allow_descriptors();
    let socket = listen(path(global)?)?;
    let sources = arguments.sources.iter().map(|source| open(source));
    let server = Server::start(sources.collect::<Result<_, _>>()?, Options::default());
    let server = server.map_err(|error| failed("The server cannot start", error))?;
    let served = server.run(socket, &end, arguments.auto_exit);
    served.map_err(|error| failed("The socket has failed", error))
}

/// Where to listen.
fn path(global: &Global) -> Result<PathBuf, Problem> {
    let chosen = global.socket.clone().or_else(|| {
        let variable = std::env::var_os("PCSCLITE_CSOCK_NAME").filter(|path| !path.is_empty());
        variable.map(PathBuf::from)
    });
    chosen.or_else(default_socket).ok_or_else(|| {
        Problem::new(Exit::Usage, "Which socket? XDG_RUNTIME_DIR is not set.")
            .advise("--socket PATH names one.")
    })
}

fn listen(path: PathBuf) -> Result<Socket, Problem> {
    let access = Access {
        mode: 0o600,
        group: None,
    };
    let socket = Socket::bind(&path, access).map_err(|error| {
        let exit = match error {
            SocketError::InUse(_) => Exit::InUse,
            SocketError::NotASocket(_) | SocketError::TooLong(_) => Exit::Usage,
            _ => Exit::Failed,
        };
        let text = error.to_string();
        let mut letters = text.chars();
        let first = letters.next().map(|first| first.to_uppercase().to_string());
        Problem::new(
            exit,
            format!("{}{}.", first.unwrap_or_default(), letters.as_str()),
        )
    })?;
    log::info!("listening at {}", path.display());
    Ok(socket)
}

/// A source of readers, by its name.
fn open(name: &str) -> Result<Arc<dyn Source>, Problem> {
    let source = match name.split_once(':') {
        None if name == "usb" => ManagerSource::usb(),
        None if name == "sim" => ManagerSource::simulated(""),
        Some(("sim", what)) => ManagerSource::simulated(what),
        _ => {
            let text = format!("There is no source {name:?}.");
            return Err(Problem::new(Exit::Usage, text).advise("pcsc share --help has the sources."));
        }
    };
    let source = source.map_err(|error| Problem::new(Exit::NoService, format!("{name}: {error}.")))?;
    Ok(Arc::new(source))
}

/// Allows as many descriptors as the system lets this process have: each client takes one.
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!("the limit of descriptors stays at {:?}: {error}", limit.current);
    }
}
