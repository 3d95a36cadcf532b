//! Which libraries the programs of this machine find, and which protocols they speak.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::daemon::Daemon;
use super::{protocol, Finding};
use crate::environment::variable;

const SUBJECT: &str = "library";

/// The files called libpcsclite.so.1, and whether the daemon that serves refuses them.
pub fn check(daemon: &Daemon) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for path in files() {
        // Folders may be links to each other.
        let Ok(file) = path.canonicalize() else {
            continue;
        };
        if seen.insert(file.clone()) {
            findings.push(match std::fs::read(&file) {
                Ok(bytes) => look(&path, &bytes, daemon),
                Err(error) => Finding::note(SUBJECT, format!("{} cannot be read: {error}", path.display())),
            });
        }
    }
    if findings.is_empty() {
        findings.push(
            Finding::note(
                SUBJECT,
                "no libpcsclite.so.1 is installed: programs in C and Python find no readers",
            )
            .advise("pcsc with COMMAND runs one program on this project's library."),
        );
    }
    findings
}

fn look(path: &Path, bytes: &[u8], daemon: &Daemon) -> Finding {
    let (kind, known) = kind(bytes);
    // What it does says more than its text.
    let version = match is_ours(bytes) {
        true => None,
        false => protocol::offered(path),
    };
    let spoken = version.map_or_else(|| known.to_owned(), |version| version.to_string());
    let text = format!("{} is {kind}, which speaks protocol {spoken}", path.display());
    match daemon {
        Daemon::Serves {
            socket,
            version: theirs,
            ..
        } if version.is_some() && protocol::is_refused(path, socket) => {
            let text = format!(
                "{text}; the daemon, which speaks {theirs}, refuses it: its programs find no service"
            );
            Finding::bad(SUBJECT, text).advise(
                "pcsc with COMMAND runs a program on this project's library, which speaks with both. Or \
                 install libpcsclite and pcscd of one version.",
            )
        }
        _ => Finding::note(SUBJECT, text),
    }
}

/// The first library that a program finds and that is not this project's.
pub fn of_others() -> Option<PathBuf> {
    let is_other = |file: &PathBuf| std::fs::read(file).is_ok_and(|bytes| !is_ours(&bytes));
    files().find(is_other)
}

/// Where libraries called libpcsclite.so.1 can be, in the order in which the loader looks.
fn files() -> impl Iterator<Item = PathBuf> {
    let folders = folders().into_iter();
    folders.map(|folder| folder.join("libpcsclite.so.1"))
}

/// Where the loader looks first to last.
pub fn folders() -> Vec<PathBuf> {
    let own = variable("LD_LIBRARY_PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&own)
        .filter(|folder| folder.is_absolute())
        .collect();
    for parent in ["/usr/local/lib", "/lib", "/usr/lib", "/lib64", "/usr/lib64"] {
        folders.push(parent.into());
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let mut triples: Vec<PathBuf> = entries
            .filter(|entry| entry.file_name().to_string_lossy().contains("-linux-"))
            .map(|entry| entry.path())
            .collect();
        triples.sort();
        folders.extend(triples);
    }
    folders.retain(|folder| Path::is_dir(folder));
    folders
}

/// Whether a library is this project's.
pub fn is_ours(bytes: &[u8]) -> bool {
    has(bytes, "PCSCLITE_BACKEND")
}

fn has(bytes: &[u8], name: &str) -> bool {
    bytes.windows(name.len()).any(|window| window == name.as_bytes())
}

/// What a library is, by names that only it has, and the protocols that it speaks then.
fn kind(bytes: &[u8]) -> (&'static str, &'static str) {
    if is_ours(bytes) {
        ("this project's", "4.2 to 4.6")
    } else if has(bytes, "LIBPCSCLITE_DELEGATE") {
        ("of pcsc-lite 2.3 or later", "4.5 or later")
    } else {
        ("of pcsc-lite before 2.3", "4.4 or earlier")
    }
}

#[cfg(test)]
mod tests {
    use super::kind;

    #[test]
    fn libraries_are_known_by_their_variables() {
        let ours = kind(b"\0PCSCLITE_BACKEND\0LIBPCSCLITE_DELEGATE\0");
        assert_eq!(ours.0, "this project's");
        assert_eq!(kind(b"\0LIBPCSCLITE_DELEGATE\0").0, "of pcsc-lite 2.3 or later");
        assert_eq!(kind(b"").0, "of pcsc-lite before 2.3");
    }
}
