//! Whether a daemon runs and lets this user connect.

use std::path::Path;

use pcsc_client::{BackendKind, Cause, Choice, Context, Failure, Found};

use super::Finding;
use crate::args::Global;

const SUBJECT: &str = "daemon";
const SOCKET: &str = "systemctl enable --now pcscd.socket";

/// The daemon's state, and a context with it if it works.
pub fn check(global: &Global) -> (Finding, Option<Context>) {
    let mut builder = Context::builder().choose_backend(Choice::Daemon);
    if let Some(socket) = &global.socket {
        builder = builder.socket_path(socket);
    }
    match builder.establish() {
        Ok(context) => {
            let text = match context.backend() {
                BackendKind::Daemon { path, version } => {
                    format!(
                        "pcscd answers at {} and speaks protocol {version}",
                        path.display()
                    )
                }
                other => other.to_string(),
            };
            (Finding::good(SUBJECT, text), Some(context))
        }
        Err(failure) => (diagnose(&failure), None),
    }
}

fn diagnose(failure: &Failure) -> Finding {
    match failure.cause() {
        Some(Cause::Connect { path, found, .. }) => unreachable(path, found),
        Some(cause @ Cause::Refused { .. }) => {
            let advice =
                "Install polkitd and a rule for org.debian.pcsc-lite.access_pcsc, or run pcscd with \
                          --disable-polkit.";
            let advice = match hides_processes() {
                true => format!(
                    "/proc is mounted with hidepid, which keeps Polkit from knowing who asks. {advice}"
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
        .advise("systemctl restart pcscd.socket pcscd"),
        _ => Finding::bad(SUBJECT, failure.to_string()).advise("systemctl restart pcscd.socket pcscd"),
    }
}

fn unreachable(path: &Path, found: &Found) -> Finding {
    let at = path.display();
    match found {
        Found::Nothing => match installed() {
            Some(program) => {
                let text = format!("{program} is installed, but nothing is at its socket {at}");
                Finding::note(SUBJECT, text).advise(SOCKET)
            }
            None => Finding::note(SUBJECT, format!("pcscd is not installed, and nothing is at {at}")).advise(
                "None is needed for one program at a time. For more: apt install pcscd, or dnf install pcsc-lite",
            ),
        },
        Found::StaleSocket => {
            let text = format!("{at} is a socket that a daemon left behind; no process listens on it");
            Finding::bad(SUBJECT, text).advise("systemctl restart pcscd.socket")
        }
        Found::Denied(permissions) => Finding::bad(SUBJECT, format!("{at} may not be used: {permissions}")).advise(
            format!("Join the group that may use {}, or change its mode.", permissions.path.display()),
        ),
        other => Finding::bad(SUBJECT, format!("no connection to {at}: {other}"))
            .advise("See what PCSCLITE_CSOCK_NAME or --socket names."),
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
