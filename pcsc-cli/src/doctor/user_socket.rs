//! Whether the user's own server, `pcsc share`, serves, and whether programs use it.

use std::path::{Path, PathBuf};

use pcsc_client::internals::user_socket;
use pcsc_client::{Cause, Choice, Failure, Found};

use super::daemon::{self, Daemon};
use super::Finding;
use crate::connect::Route;
use crate::environment::variable;

const SUBJECT: &str = "server";

/// The state of the user's socket, and what the library does with it where `system`, the system's daemon, is
/// absent. `None` if there is no such file.
pub fn check(system: &Daemon) -> Option<(Finding, Daemon)> {
    let path = path().filter(|path| path.symlink_metadata().is_ok())?;
    let at = path.display();
    if user_socket().as_ref() != Some(&path) {
        let text =
            format!("{at} is not used: it, or a folder on the way to it, is another user's, or a link");
        let finding = Finding::note(SUBJECT, text).advise("Remove it, and start pcsc share as this user.");
        return Some((finding, Daemon::Absent));
    }
    let route = Route {
        choice: Choice::Daemon,
        socket: Some(path.clone()),
        is_chosen: true,
    };
    Some(match daemon::ask(&route) {
        Ok(daemon) => (answers(&daemon, &path, system), daemon),
        Err(failure) => (diagnose(&failure, &path, system), Daemon::after_failure(&failure)),
    })
}

/// Where the library looks for the user's own server, whether or not the file is there.
fn path() -> Option<PathBuf> {
    let folder = PathBuf::from(variable("XDG_RUNTIME_DIR")?);
    Some(folder.join("pcsc/pcscd.comm"))
}

fn answers(daemon: &Daemon, path: &Path, system: &Daemon) -> Finding {
    let variable = format!("PCSCLITE_CSOCK_NAME={}", path.display());
    let leads = format!("{variable} leads a program to this server.");
    match system {
        Daemon::Absent => {
            let text = format!("pcsc share {daemon}; programs on this project's library use it");
            Finding::good(SUBJECT, text).advise(format!("Those on other libraries need {variable}."))
        }
        Daemon::Serves { .. } => {
            let text =
                format!("pcsc share {daemon}; programs use the system's daemon, whose socket comes first");
            Finding::note(SUBJECT, text).advise(leads)
        }
        Daemon::Fails => {
            let text = format!(
                "pcsc share {daemon}; programs fail at the system's daemon, whose socket comes first"
            );
            Finding::note(SUBJECT, text).advise(leads)
        }
    }
}

fn diagnose(failure: &Failure, path: &Path, system: &Daemon) -> Finding {
    let at = path.display();
    if let Some(Cause::Connect {
        found: Found::StaleSocket,
        ..
    }) = failure.cause()
    {
        let text = format!("{at} is a socket that a server left behind; programs do not use it");
        return Finding::note(SUBJECT, text).advise("pcsc share replaces it.");
    }
    let text = format!("{at}: {failure}");
    let finding = match system {
        Daemon::Absent => Finding::bad(SUBJECT, text),
        _ => Finding::note(SUBJECT, text),
    };
    finding.advise("Look at the program that listens there, or start pcsc share again.")
}
