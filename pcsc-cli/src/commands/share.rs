//! `pcsc share`: serves readers to other programs.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use pcsc_process::activation;
use pcsc_share::socket::{default_socket, Access, Socket, SocketError};
use pcsc_share::{DaemonSource, Joined, ManagerSource, Options, Policy, Server, Source};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::accounts;
use crate::args::{Global, Share};
use crate::problem::{Exit, Problem};

/// Serves until a signal ends it.
pub fn run(global: &Global, arguments: &Share) -> Result<(), Problem> {
    global.refuse("pcsc share", &["--json", "--backend"])?;
    let failed = |what: &str, error: std::io::Error| Problem::new(Exit::Failed, format!("{what}: {error}."));
    let policy = policy(global, arguments)?;
    // Before any thread starts, and before there is anything to clean up.
    let (sender, end) = UnixStream::pair().map_err(|error| failed("There is no descriptor", error))?;
    for signal in [SIGTERM, SIGINT] {
        let sender = sender.try_clone();
        sender
            .and_then(|sender| signal_hook::low_level::pipe::register(signal, sender))
            .map_err(|error| failed("A signal cannot be handled", error))?;
    }
    allow_descriptors();
    let socket = match activation::socket() {
        Some(socket) => Socket::inherited(socket.into()),
        None => listen(path(global)?, access(arguments, &policy)?)?,
    };
    let sources = arguments.sources.iter().zip(1..);
    let sources = sources.map(|(argument, number)| join(argument, number));
    let options = Options {
        policy,
        ..Options::default()
    };
    let server = Server::start(sources.collect::<Result<_, _>>()?, options);
    let server = server.map_err(|error| failed("The server cannot start", error))?;
    let served = server.run(socket, &end, arguments.auto_exit);
    served.map_err(|error| failed("The socket has failed", error))
}

/// Who may use which readers.
fn policy(global: &Global, arguments: &Share) -> Result<Policy, Problem> {
    let users = arguments.allow_user.iter().map(|name| accounts::user(name));
    let groups = arguments.allow_group.iter().map(|name| accounts::group(name));
    Ok(Policy {
        users: users.collect::<Result<_, _>>()?,
        groups: groups.collect::<Result<_, _>>()?,
        readers: global.reader.iter().cloned().collect(),
        hidden: arguments.hide.clone(),
        controls: !arguments.no_control,
    })
}

/// Who may open the socket. Those who may not, but are served, could not connect.
fn access(arguments: &Share, policy: &Policy) -> Result<Access, Problem> {
    let is_private = policy.users.is_empty() && policy.groups.is_empty();
    let group = arguments.group.as_deref().map(accounts::group);
    Ok(Access {
        mode: arguments.mode.unwrap_or(if is_private { 0o600 } else { 0o666 }),
        group: group.transpose()?,
    })
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

fn listen(path: PathBuf, access: Access) -> Result<Socket, Problem> {
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

/// A source and its label, as the argument of this number names them.
fn join(argument: &str, number: usize) -> Result<Joined, Problem> {
    let (label, source) = match argument.split_once('=') {
        // The = is a part of what the source is called.
        Some((label, _)) if label.contains(':') => (None, argument),
        Some((label, source)) => (Some(label), source),
        None => (None, argument),
    };
    let is_plain = |label: &str| label.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && label.len() <= 40;
    if !label.is_none_or(is_plain) {
        let text = format!("The label of {argument:?} is not one of up to 40 ASCII characters.");
        return Err(Problem::new(Exit::Usage, text));
    }
    Ok(Joined {
        source: open(source)?,
        label: label.map_or_else(|| Joined::default_label(number), str::to_owned),
    })
}

/// A source of readers, by its name.
fn open(name: &str) -> Result<Arc<dyn Source>, Problem> {
    let source = match name.split_once(':') {
        None if name == "usb" => ManagerSource::usb(),
        None if name == "sim" => ManagerSource::simulated(""),
        Some(("sim", what)) => ManagerSource::simulated(what),
        Some(("daemon", path)) if !path.is_empty() => {
            let source = DaemonSource::new(PathBuf::from(path));
            let source = source
                .map_err(|error| Problem::new(Exit::Failed, format!("{name} cannot be watched: {error}.")))?;
            return Ok(Arc::new(source));
        }
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
