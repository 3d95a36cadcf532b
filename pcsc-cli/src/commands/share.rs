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
use std::io::ErrorKind;
use std::net;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::SocketAddr;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use listenfd::ListenFd;
use pcsc_share::socket::{default_socket, Access, Socket, SocketError};
use pcsc_share::{AccessPolicy, DaemonSource, Joined, Limits, ManagerSource, Server, ServerOptions, Source};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::accounts;
use crate::args::{Global, Share};
use crate::connect;
use crate::output::{message, printable};
use crate::problem::{chain, sentence, start_advice, Exit, Problem};
use crate::signal;

/// Serves until a signal ends it.
pub fn run(global: &Global, arguments: &Share) -> Result<(), Problem> {
    let failed = |what, error: std::io::Error| Problem::because(Exit::Failed, what, error);
    let policy = policy(global, arguments)?;
    let named = named(&arguments.sources)?;
    let hosts = tls::Hosts::new(&arguments.tls)?;
    // Before any thread starts, and before there is anything to clean up.
    let end = signal::end(&[SIGTERM, SIGINT])?;
    allow_descriptors();
    let socket = match passed()? {
        Some(socket) => socket,
        None => listen(path(global)?, access(arguments, &policy)?)?,
    };
    let own = socket.listener().local_addr().ok();
    let own = own.as_ref().and_then(SocketAddr::as_pathname);
    let place = own.map_or("a socket without a path".into(), |path| {
        path.display().to_string()
    });
    let sources = join_all(named, own, &hosts);
    let mut options = ServerOptions::default();
    options.policy = policy;
    options.limits = limits(arguments);
    let server = Server::start(sources?, options);
    let server = server.map_err(|error| failed("The server cannot start", error))?;
    let listener = hosts.listen(server.entrance())?;
    let addresses = listener.as_ref().map_or(&[][..], tls::addresses);
    // Without it a log does not say when the server was started, and with what.
    message(printable(&start_line(&place, addresses, &arguments.sources)));
    let served = server.run(socket, &end, arguments.auto_exit);
    served.map_err(|error| failed("The socket has failed", error))
}

/// Where a server listens, and its sources as the arguments have them.
fn start_line(place: &str, addresses: &[net::SocketAddr], sources: &[String]) -> String {
    let over_tls = addresses
        .iter()
        .map(|address| format!(", and for TLS at {address}"));
    let over_tls: String = over_tls.collect();
    let word = if sources.len() == 1 { "source" } else { "sources" };
    format!("listening at {place}{over_tls}; {word} {}", sources.join(", "))
}

/// What clients may use.
fn limits(arguments: &Share) -> Limits {
    let mut limits = Limits::default();
    limits.clients = arguments.max_clients;
    limits.cards = arguments.max_cards;
    limits.patience = arguments.patience;
    limits
}

/// Who may use which readers.
fn policy(global: &Global, arguments: &Share) -> Result<AccessPolicy, Problem> {
    let users = |names: &[String]| numbers(names, accounts::user);
    let groups = |names: &[String]| numbers(names, accounts::group);
    let mut policy = AccessPolicy::default();
    policy.users = users(&arguments.allow_user)?;
    policy.groups = groups(&arguments.allow_group)?;
    policy.watching_users = users(&arguments.watch_user)?;
    policy.watching_groups = groups(&arguments.watch_group)?;
    policy.readers = global.reader.iter().cloned().collect();
    policy.hidden = arguments.hide.clone();
    policy.controls = !arguments.no_control;
    Ok(policy)
}

fn numbers(names: &[String], number: fn(&str) -> Result<u32, Problem>) -> Result<Vec<u32>, Problem> {
    names.iter().map(|name| number(name)).collect()
}

/// Who may open the socket. Those who may not, but are served, could not connect.
fn access(arguments: &Share, policy: &AccessPolicy) -> Result<Access, Problem> {
    let others = [
        &policy.users,
        &policy.groups,
        &policy.watching_users,
        &policy.watching_groups,
    ];
    let is_private = others.into_iter().all(Vec::is_empty);
    let owner = arguments.owner.as_deref().map(accounts::user);
    let group = arguments.group.as_deref().map(accounts::group);
    let mode = arguments.mode.unwrap_or(if is_private { 0o600 } else { 0o666 });
    let mut access = Access::new(mode);
    access.owner = owner.transpose()?;
    access.group = group.transpose()?;
    Ok(access)
}

/// Where to listen.
fn path(global: &Global) -> Result<PathBuf, Problem> {
    let chosen = connect::socket(global).or_else(default_socket);
    chosen.ok_or_else(Problem::no_socket)
}

/// The socket that systemd has opened before it started this process (sd_listen_fds(3)). It changes the
/// environment, which no other thread may read meanwhile.
fn passed() -> Result<Option<Socket>, Problem> {
    let mut passed = ListenFd::from_env();
    let listener = passed.take_unix_listener(0).map_err(|error| {
        Problem::because(
            Exit::Failed,
            "The socket that systemd passes cannot be used",
            error,
        )
    })?;
    if passed.len() > 1 {
        log::warn!(
            "systemd passes {} sockets, and the first one is served alone",
            passed.len()
        );
    }
    Ok(listener.map(Socket::inherited))
}

fn listen(path: PathBuf, access: Access) -> Result<Socket, Problem> {
    Socket::bind(&path, access).map_err(|error| {
        let exit = match error {
            SocketError::InUse(_) => Exit::InUse,
            SocketError::NotASocket(_) | SocketError::TooLong(_) => Exit::Usage,
            _ => Exit::Failed,
        };
        let advice = match &error {
            SocketError::System { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                Some("--socket PATH names another place, in a folder that this user may write to.")
            }
            SocketError::Folder(_) => {
                Some("--socket PATH names another place, in a folder of this user or of root.")
            }
            _ => None,
        };
        Problem {
            advice: advice.map(str::to_owned),
            ..Problem::new(exit, sentence(chain(&error)))
        }
    })
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
    Ok(Joined::new(open(name, hosts)?, label))
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
        let (exit, advice) = start_advice(&error);
        Problem {
            advice: advice.map(str::to_owned),
            ..Problem::new(exit, format!("{name}: {}.", chain(&error)))
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
    fn a_problem_has_the_systems_error_once() {
        let command = crate::args::Arguments::parse_from(["pcsc", "share"]).command;
        let crate::args::Command::Share(share) = command else {
            unreachable!("share was asked for");
        };
        let hosts = tls::Hosts::new(&share.tls).unwrap();
        let cause = std::io::Error::from_raw_os_error(2).to_string();
        let place = "/proc/none/socket";
        let access = Access::new(0o600);
        for text in [
            open(&format!("sim:{place}"), &hosts).err().unwrap().text,
            listen(PathBuf::from(place), access).err().unwrap().text,
        ] {
            let ending = format!("{place}: {cause}.");
            assert!(
                text.ends_with(&ending) && text.matches(&cause).count() == 1,
                "{text}"
            );
        }
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
