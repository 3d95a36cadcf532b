//! The commands on simulated readers, with what they print.
//!
//! A file of `tests/golden` is a transcript: after `$ ` a command for the shell, then what it writes to
//! standard output and error, and after `? ` its exit code if that is not 0. Lines that begin with `#`,
//! before the first command, are comments. `UPDATE_GOLDEN=1 cargo test -p pcsc-cli --test golden` writes them
//! anew; read the difference.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Runs a command of a transcript, and writes it as in one.
fn transcribe(command: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_pcsc"));
    let folders = program.parent().into_iter().map(Path::to_owned);
    let path = std::env::var_os("PATH").expect("a PATH");
    let path = std::env::join_paths(folders.chain(std::env::split_paths(&path))).expect("a PATH");
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &format!("exec 2>&1\nset -o pipefail\n{command}")])
        .current_dir(folder())
        .env_clear()
        .env("PATH", path)
        .env("HOME", folder().join("home"))
        .env("TMPDIR", env!("CARGO_TARGET_TMPDIR"))
        .env("PCSCLITE_BACKEND", "simulated");
    let output = shell.output().expect("bash can be started");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let mut text: String = without_times(&text)
        .split_inclusive('\n')
        .filter(|line| !is_late(line))
        .collect();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push_str("(no end of line)\n");
    }
    let mut transcript = format!("$ {command}\n{text}");
    if !output.status.success() {
        let _ = writeln!(transcript, "? {}", output.status.code().unwrap_or(-1));
    }
    transcript
}

/// Whether a line is there on a busy machine alone: commands say that they wait once a card has taken two
/// seconds.
fn is_late(line: &str) -> bool {
    line.starts_with("pcsc: Waiting for the card")
}

/// The text with TIME in the place of each time of the form 2026-11-28T07:19:30.123Z, or of its second half.
fn without_times(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = ["0000-00-00T00:00:00.000Z", "00:00:00.000Z"]
            .into_iter()
            .find(|form| is_like(rest, form));
        match length {
            Some(form) => {
                result.push_str("TIME");
                rest = &rest[form.len()..];
            }
            None => {
                result.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    result
}

fn is_like(text: &str, form: &str) -> bool {
    let pairs = form.bytes().zip(text.bytes());
    let alike = |(form, byte): (u8, u8)| form == byte || (form == b'0' && byte.is_ascii_digit());
    text.len() >= form.len() && pairs.into_iter().all(alike)
}

/// The commands of a transcript, and the comments before them.
fn commands(text: &str) -> (String, Vec<&str>) {
    let comments: String = text
        .lines()
        .take_while(|line| !line.starts_with("$ "))
        .map(|line| format!("{line}\n"))
        .collect();
    (
        comments,
        text.lines().filter_map(|line| line.strip_prefix("$ ")).collect(),
    )
}

#[test]
fn commands_print_what_the_transcripts_say() {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder())
        .expect("the transcripts")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut differences = String::new();
    for path in paths {
        let expected = fs::read_to_string(&path).expect("a transcript");
        let (comments, commands) = commands(&expected);
        assert!(!commands.is_empty(), "{} has no command", path.display());
        let transcripts: Vec<String> = commands.into_iter().map(transcribe).collect();
        let found = comments + &transcripts.concat();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, found).expect("a transcript");
        } else if found != expected {
            let first = expected
                .lines()
                .zip(found.lines())
                .position(|(one, other)| one != other);
            let line = first.unwrap_or_else(|| expected.lines().count().min(found.lines().count()));
            let shown = |text: &str| -> String {
                let lines = text.lines().skip(line.saturating_sub(3)).take(12);
                lines.map(|line| format!("    {line}\n")).collect()
            };
            let _ = write!(
                differences,
                "{}, line {}: expected\n{}found\n{}",
                path.display(),
                line + 1,
                shown(&expected),
                shown(&found)
            );
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn times_are_replaced() {
    assert_eq!(
        without_times("at 2026-11-28T07:19:30.123Z, 07:19:30.123Z é 07:19"),
        "at TIME, TIME é 07:19"
    );
}

#[test]
fn ctrl_c_ends_a_watch() {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;

    // A shell without job control starts commands in the background with SIGINT ignored.
    let mut watch = Command::new("env");
    watch
        .args(["--default-signal=INT", env!("CARGO_BIN_EXE_pcsc")])
        .args(["watch", "--backend", "simulated", "--json"])
        .env_remove("PCSCLITE_SIMULATED");
    let mut child = watch.stdout(Stdio::piped()).spawn().expect("pcsc can be started");
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let lines: Vec<String> = output.lines().take(2).map(|line| line.expect("a line")).collect();
    let pid = child.id().to_string();
    assert!(Command::new("kill")
        .args(["-INT", &pid])
        .status()
        .expect("kill")
        .success());
    assert_eq!(child.wait().expect("our child").signal(), Some(2));
    assert!(
        lines[0].contains("reader_added") && lines[1].contains("card_inserted"),
        "{lines:?}"
    );
}
