//! Whether a daemon runs and lets this user connect.

use std::fmt;
use std::path::{Path, PathBuf};

use pcsc_client::{BackendKind, Cause, Choice, Failure, Found};

use super::Finding;
use crate::connect::Route;

const SUBJECT: &str = "daemon";
/// The advice where the user names the socket.
const NAMED: &str =
    "Look at --socket or PCSCLITE_CSOCK_NAME, which names this socket, and at the program that \
    listens there.";
const SOCKET: &str = "systemctl enable --now pcscd.socket";

/// What the library does with a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Daemon {
    /// It uses it.
    Serves {
        /// Whether there is any reader.
        lists_readers: bool,
        /// Where it listens.
        socket: PathBuf,
        /// The protocol that it speaks with this project's library.
        version: String,
    },
    /// It finds none.
    Absent,
    /// It finds one that it cannot use, and does not go on to the USB.
    Fails,
}

/// The state of the daemon that is named, or of the system's. Which program it is, pcscd or `pcsc share`, the
/// protocol does not say.
pub fn check(route: &Route) -> (Finding, Daemon) {
    match ask(route) {
        Ok(daemon) => (Finding::good(SUBJECT, format!("a daemon {daemon}")), daemon),
        Err(failure) => (
            diagnose(&failure, route.socket.is_some()),
            Daemon::after_failure(&failure),
        ),
    }
}

/// The daemon at the socket that is named, or at the system's.
pub(super) fn ask(route: &Route) -> Result<Daemon, Failure> {
    let route = Route {
        choice: Choice::Daemon,
        ..route.clone()
    };
    let context = route.builder().establish()?;
    let names = context.try_list_readers();
    let lists_readers = names.is_ok_and(|names| !names.is_empty());
    let (socket, version) = match context.backend() {
        BackendKind::Daemon { path, version } => (path, version.to_string()),
        other => (PathBuf::new(), other.to_string()),
    };
    Ok(Daemon::Serves {
        lists_readers,
        socket,
        version,
    })
}

impl Daemon {
    /// What a failure to connect says of the daemon.
    pub(super) fn after_failure(failure: &Failure) -> Daemon {
        match failure.cause() {
            Some(Cause::Connect {
                found: Found::Denied(_) | Found::Unknown,
                ..
            }) => Daemon::Fails,
            Some(Cause::Connect { .. }) => Daemon::Absent,
            _ => Daemon::Fails,
        }
    }
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Daemon::Serves { socket, version, .. } => {
                write!(f, "answers at {} and speaks protocol {version}", socket.display())
            }
            Daemon::Absent => f.write_str("is absent"),
            Daemon::Fails => f.write_str("fails"),
        }
    }
}

fn diagnose(failure: &Failure, is_named: bool) -> Finding {
    let restart = if is_named {
        NAMED
    } else {
        "systemctl restart pcscd.socket pcscd"
    };
    match failure.cause() {
        // The system's error is the source of the cause.
        Some(
            cause @ Cause::Connect {
                found: Found::Unknown,
                ..
            },
        ) => Finding::bad(SUBJECT, cause.chain().to_string()).advise(restart),
        Some(Cause::Connect { path, found, .. }) => unreachable(path, found, is_named),
        Some(cause @ Cause::Refused { .. }) => {
            let advice =
                "Install polkitd and a rule for org.debian.pcsc-lite.access_pcsc, or run pcscd with \
                          --disable-polkit.";
            let advice = match hides_processes() {
                true => format!(
                    "/proc is mounted with hidepid, which keeps Polkit from knowing who asks: mount -o \
                     remount,hidepid=0 /proc. Else: {advice}"
                ),
                false => advice.to_owned(),
            };
            Finding::bad(SUBJECT, cause.to_string()).advise(advice)
        }
        Some(cause @ (Cause::Version { .. } | Cause::ShortNames { .. })) => {
            Finding::bad(SUBJECT, cause.to_string()).advise("Install another version of pcscd.")
        }
        Some(Cause::Silent) => Finding::bad(
            SUBJECT,
            "something accepts connections at the socket and does not answer",
        )
        .advise(restart),
        _ => Finding::bad(SUBJECT, failure.to_string()).advise(restart),
    }
}

fn unreachable(path: &Path, found: &Found, is_named: bool) -> Finding {
    let at = path.display();
    match found {
        Found::Nothing if is_named => Finding::bad(SUBJECT, format!("nothing is at {at}")).advise(NAMED),
        Found::Nothing => match installed() {
            Some(program) => {
                let text = format!("{program} is installed, but nothing is at its socket {at}");
                Finding::note(SUBJECT, text).advise(SOCKET)
            }
            None => Finding::note(SUBJECT, format!("pcscd is not installed, and nothing is at {at}")).advise(
                "None is needed for one program at a time. For more: apt install pcscd, or \
                 dnf install pcsc-lite",
            ),
        },
        Found::StaleSocket => {
            let text = format!("{at} is a socket that a daemon left behind; no process listens on it");
            Finding::bad(SUBJECT, text).advise(if is_named {
                NAMED
            } else {
                "systemctl restart pcscd.socket"
            })
        }
        Found::Denied(permissions) => Finding::bad(SUBJECT, format!("{at} may not be used: {permissions}"))
            .advise(format!(
                "Join the group that may use {}, or change its mode.",
                permissions.path.display()
            )),
        other => Finding::bad(SUBJECT, format!("no connection to {at}: {other}")).advise(NAMED),
    }
}

/// The daemon's program.
fn installed() -> Option<&'static str> {
    let places = [
        "/usr/sbin/pcscd",
        "/usr/local/sbin/pcscd",
        "/usr/bin/pcscd",
        "/usr/local/bin/pcscd",
        "/sbin/pcscd",
    ];
    places.into_iter().find(|place| Path::new(place).exists())
}

/// Whether /proc hides the processes of other users.
fn hides_processes() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut procs = mounts
        .lines()
        .filter(|line| line.split(' ').nth(4) == Some("/proc"));
    procs.any(|line| line.contains("hidepid=") && !line.contains("hidepid=0"))
}
