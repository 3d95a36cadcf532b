//! `pcsc share`: serves readers to other programs.

#[cfg(feature = "tls")]
mod over_tls;
#[cfg(feature = "tls")]
use over_tls as tls;

#[cfg(not(feature = "tls"))]
mod without_tls;
#[cfg(not(feature = "tls"))]
use without_tls as tls;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use pcsc_manager::StartError;
use pcsc_process::activation;
use pcsc_share::socket::{default_socket, Access, Socket, SocketError};
use pcsc_share::{DaemonSource, Joined, Limits, ManagerSource, Options, Policy, Server, Source};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::accounts;
use crate::args::{Global, Share};
use crate::problem::{sentence, Exit, Problem, MODELS};

/// Serves until a signal ends it.
pub fn run(global: &Global, arguments: &Share) -> Result<(), Problem> {
    global.refuse("pcsc share", &["--json", "--backend"])?;
    let failed = |what, error: std::io::Error| Problem::because(Exit::Failed, what, error);
    let policy = policy(global, arguments)?;
    let named = named(&arguments.sources)?;
    let hosts = tls::Hosts::new(&arguments.tls)?;
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
    let own = socket.listener().local_addr().ok();
    let own = own.as_ref().and_then(SocketAddr::as_pathname);
    let sources = join_all(named, own, &hosts);
    let options = Options {
        policy,
        limits: limits(arguments),
    };
    let server = Server::start(sources?, options);
    let server = server.map_err(|error| failed("The server cannot start", error))?;
    let _listener = hosts.listen(server.entrance())?;
    let served = server.run(socket, &end, arguments.auto_exit);
    served.map_err(|error| failed("The socket has failed", error))
}

/// What clients may use.
fn limits(arguments: &Share) -> Limits {
    Limits {
        clients: arguments.max_clients,
        cards: arguments.max_cards,
        patience: arguments.patience,
    }
}

/// Who may use which readers.
fn policy(global: &Global, arguments: &Share) -> Result<Policy, Problem> {
    let users = |names: &[String]| {
        names
            .iter()
            .map(|name| accounts::user(name))
            .collect::<Result<_, _>>()
    };
    let groups = |names: &[String]| {
        names
            .iter()
            .map(|name| accounts::group(name))
            .collect::<Result<_, _>>()
    };
    Ok(Policy {
        users: users(&arguments.allow_user)?,
        groups: groups(&arguments.allow_group)?,
        watching_users: users(&arguments.watch_user)?,
        watching_groups: groups(&arguments.watch_group)?,
        readers: global.reader.iter().cloned().collect(),
        hidden: arguments.hide.clone(),
        controls: !arguments.no_control,
    })
}

/// Who may open the socket. Those who may not, but are served, could not connect.
fn access(arguments: &Share, policy: &Policy) -> Result<Access, Problem> {
    let others = [
        &policy.users,
        &policy.groups,
        &policy.watching_users,
        &policy.watching_groups,
    ];
    let is_private = others.into_iter().all(Vec::is_empty);
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
    chosen.or_else(default_socket).ok_or_else(Problem::no_socket)
}

fn listen(path: PathBuf, access: Access) -> Result<Socket, Problem> {
    let socket = Socket::bind(&path, access).map_err(|error| {
        let exit = match error {
            SocketError::InUse(_) => Exit::InUse,
            SocketError::NotASocket(_) | SocketError::TooLong(_) => Exit::Usage,
            _ => Exit::Failed,
        };
        Problem::new(exit, sentence(error))
    })?;
    log::info!("listening at {}", path.display());
    Ok(socket)
}

/// The labels of sources and their names.
fn named(arguments: &[String]) -> Result<Vec<(String, &str)>, Problem> {
    let mut sources: Vec<(String, &str)> = Vec::new();
    for (argument, number) in arguments.iter().zip(1..) {
        let (label, name) = named_by(argument, number)?;
        // Readers of two sources could have the same name.
        if sources.iter().any(|(other, _)| *other == label) {
            let text = format!("Another source has the label {label:?} of {argument:?}.");
            return Err(Problem::new(Exit::Usage, text).advise("LABEL=SOURCE gives a source another one."));
        }
        sources.push((label, name));
    }
    Ok(sources)
}

/// The label of a source and its name, as the argument of this number has them.
fn named_by(argument: &str, number: usize) -> Result<(String, &str), Problem> {
    let (label, name) = match argument.split_once('=') {
        // The = is a part of what the source is called.
        Some((label, _)) if label.contains(':') => (None, argument),
        Some((label, name)) => (Some(label), name),
        None => (None, argument),
    };
    // With a parenthesis one label could end like another one.
    let is_letter = |byte: u8| (b' '..=b'~').contains(&byte) && !b"()".contains(&byte);
    let is_plain = |label: &str| label.bytes().all(is_letter) && label.len() <= 40;
    if !label.is_none_or(is_plain) {
        let text =
            format!("The label of {argument:?} is not one of up to 40 ASCII characters without parentheses.");
        return Err(Problem::new(Exit::Usage, text));
    }
    let label = label.map_or_else(|| Joined::default_label(number), str::to_owned);
    Ok((label, name))
}

/// Sources with their labels. One that does not answer delays no other one.
fn join_all(
    named: Vec<(String, &str)>,
    own: Option<&Path>,
    hosts: &tls::Hosts,
) -> Result<Vec<Joined>, Problem> {
    thread::scope(|scope| {
        let joining = named
            .into_iter()
            .map(|(label, name)| scope.spawn(move || join(label, name, own, hosts)));
        // All start before the first one is waited for.
        let joining: Vec<_> = joining.collect();
        let joined = joining
            .into_iter()
            .map(|joining| joining.join().unwrap_or_else(|panic| resume_unwind(panic)));
        joined.collect()
    })
}

/// A source with its label. `own` is the server's socket.
fn join(label: String, name: &str, own: Option<&Path>, hosts: &tls::Hosts) -> Result<Joined, Problem> {
    let upstream = name.strip_prefix("daemon:").map(Path::new);
    if upstream.zip(own).is_some_and(|(one, other)| is_same(one, other)) {
        let text = format!("{name} is this server's own socket.");
        return Err(Problem::new(Exit::Usage, text));
    }
    Ok(Joined {
        source: open(name, hosts)?,
        label,
    })
}

/// Whether two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    file(one).is_some_and(|one| Some(one) == file(other))
}

/// A source of readers, by its name.
fn open(name: &str, hosts: &tls::Hosts) -> Result<Arc<dyn Source>, Problem> {
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
        Some(("tls", address)) if address.starts_with("//") => return hosts.source(name, &address[2..]),
        _ => {
            let text = format!("There is no source {name:?}.");
            return Err(Problem::new(Exit::Usage, text).advise("pcsc share --help has the sources."));
        }
    };
    let source = source.map_err(|error| {
        let text = format!("{name}: {error}.");
        match error {
            StartError::UnknownModel(_) => Problem::new(Exit::Usage, text).advise(MODELS),
            _ => Problem::new(Exit::NoService, text),
        }
    })?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn the_limits_are_those_of_the_server_by_default() {
        let parsed = |arguments: &[&str]| {
            let command = crate::args::Arguments::parse_from([&["pcsc", "share"], arguments].concat());
            match command.command {
                crate::args::Command::Share(share) => format!("{:?}", limits(&share)),
                _ => unreachable!("share was asked for"),
            }
        };
        assert_eq!(parsed(&[]), format!("{:?}", Limits::default()));
        let other = parsed(&["--max-clients", "3", "--max-cards=2", "--patience", "0.5"]);
        assert_eq!(other, "Limits { clients: 3, cards: 2, patience: 500ms }");
    }

    #[test]
    fn labels_tell_the_sources_apart() {
        let labels = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            let named = named(&arguments).map_err(|problem| problem.to_string());
            named.map(|named| named.into_iter().map(|(label, _)| label).collect::<Vec<_>>())
        };
        assert_eq!(
            labels(&["usb", "sim:a=b", "x=usb"]).unwrap(),
            ["", "source 2", "x"]
        );
        assert_eq!(labels(&["x=usb", "=sim:"]).unwrap(), ["x", ""]);
        for refused in [
            &["x=usb", "x=sim:"][..],
            &["usb", "=sim:"],
            &["source 2=usb", "sim:"],
            &["x)=usb"],
            &["x\t=usb"],
        ] {
            assert!(labels(refused).is_err(), "{refused:?}");
        }
    }
}
