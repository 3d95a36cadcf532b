//! The same C program on Debian's library and on ours, against a daemon in the same state: what it prints must be
//! identical, line by line, but for the differences listed here, each with its reason.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pcsc_tests::{artifacts, atr, Pcscd};

const LIMIT: Duration = Duration::from_secs(120);

/// The program, built against Debian's headers and linked to libpcsclite.so.1 by name.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROGRAM.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("differential");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/c/differential.c");
        let output = Command::new("cc")
            .args([
                "-std=gnu11",
                "-Wall",
                "-Wextra",
                "-O1",
                "-I/usr/include/PCSC",
                source,
                "-o",
            ])
            .arg(&path)
            .args(["-lpcsclite", "-lpthread"])
            .output()
            .expect("cc is not installed: run scripts/setup");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        (folder, path)
    });
    path
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Library {
    Stock,
    Ours,
}

/// Runs one part of the program on a library; gives its lines.
fn lines(part: &str, library: Library, environment: &[(&str, &str)]) -> Vec<String> {
    let mut pcscd = Pcscd::start(if part == "no_readers" { 0 } else { 2 });
    let mut command = Command::new(program());
    command
        .arg(part)
        .env_remove("LD_LIBRARY_PATH")
        .env("PCSCLITE_CSOCK_NAME", pcscd.socket());
    command.envs(environment.iter().copied());
    if library == Library::Ours {
        command.env("LD_LIBRARY_PATH", artifacts::library_folder());
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        output.split(b'\n').map_while(Result::ok).for_each(|line| {
            let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
        });
    });
    let mut input = child.stdin.take().unwrap();
    let deadline = Instant::now() + LIMIT;
    let mut lines: Vec<String> = Vec::new();
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => match line.strip_prefix('@') {
                Some(wish) => {
                    fulfil(&mut pcscd, wish);
                    let _ = input.write_all(b"done\n");
                }
                None => lines.push(line),
            },
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(_) => {
                let _ = child.kill();
                lines.push("(hangs)".into());
                break;
            }
        }
    }
    let status = child.wait().unwrap();
    drop(reader);
    if !status.success() {
        lines.push(format!("({status})"));
    }
    lines
}

/// Does what the program asks for.
fn fulfil(pcscd: &mut Pcscd, wish: &str) {
    let words: Vec<&str> = wish.split_whitespace().collect();
    let reader = |number: &str| pcscd.reader(number.parse().expect("a reader's number"));
    match words[..] {
        ["insert", number, card] => reader(number).insert(match card {
            "T0" => atr::T0,
            "T1" => atr::T1,
            "T0_T1" => atr::T0_T1,
            "CONTACTLESS" => atr::CONTACTLESS,
            _ => panic!("unknown card {card}"),
        }),
        ["remove", number] => reader(number).remove(),
        ["mute", number, state] => reader(number).mute(state == "on"),
        ["fail", number, state] => reader(number).fail(state == "on"),
        ["unplug", number] => reader(number).unplug(),
        ["plug", number] => reader(number).plug(),
        ["kill"] => pcscd.kill(),
        ["restart"] => pcscd.restart(),
        _ => panic!("unknown wish {wish:?}"),
    }
}

/// A line on which the libraries differ on purpose.
struct Difference {
    part: &'static str,
    stock: &'static str,
    ours: &'static str,
    /// For the reader of this file and of MATRIX.md.
    #[allow(dead_code)]
    reason: &'static str,
}

/// Shortens the list below.
const fn difference(
    part: &'static str,
    stock: &'static str,
    ours: &'static str,
    reason: &'static str,
) -> Difference {
    Difference {
        part,
        stock,
        ours,
        reason,
    }
}

const DIFFERENCES: &[Difference] = &[
    difference(
        "change",
        "event=0x2 cbAtr=0x0",
        "SCARD_E_UNKNOWN_READER",
        "an empty name matches stock's free slots, as long as there are any",
    ),
    difference(
        "change",
        "readers, k) = SCARD_E_INVALID_PARAMETER",
        "readers, k) = SCARD_E_TIMEOUT",
        "1.9.9 takes at most 16 readers; 2.5 and ours take any number",
    ),
    difference(
        "change",
        "current=0x100000000",
        "= SCARD_S_SUCCESS [ current=0x100000000",
        "a state has 32 bits; the rest of C's long says nothing",
    ),
    difference(
        "control",
        "CTL_ECHO, NULL, 4",
        "= SCARD_E_INVALID_PARAMETER",
        "stock passes NULL to the kernel, and loses its connection",
    ),
    difference(
        "control",
        "NULL, 300, &length) = SCARD_F_COMM_ERROR",
        "NULL, 300, &length) = SCARD_E_INSUFFICIENT_BUFFER",
        "stock passes NULL to the kernel, and loses its connection",
    ),
    difference(
        "control",
        "response, 100, &length)",
        "response, 100, &length) = SCARD_S_SUCCESS length=0x4",
        "ours still has its connection after the two above",
    ),
    difference(
        "fork",
        "= SCARD_S_SUCCESS",
        "= SCARD_E_INVALID_HANDLE",
        "a forked child is refused; with stock it shares its parent's connection and corrupts it",
    ),
    difference(
        "fork",
        "00\\05",
        "00\\04",
        "the child's APDU did not reach the card",
    ),
    difference(
        "fork",
        "= SCARD_W_SECURITY_VIOLATION",
        "= SCARD_S_SUCCESS",
        "the child's release did not end the parent's context",
    ),
    difference(
        "fork",
        "SCardReleaseContext(context) = SCARD_E_NO_SERVICE",
        "SCardReleaseContext(context) = SCARD_S_SUCCESS",
        "the child's release did not end the parent's context",
    ),
    difference(
        "lists",
        "SCardListReaderGroups(context, name, NULL) killed by Segmentation fault",
        "= SCARD_E_INVALID_PARAMETER",
        "stock does not check this pointer",
    ),
    difference(
        "no_daemon",
        "NULL, NULL, NULL) = SCARD_E_NO_SERVICE",
        "NULL, NULL, NULL) = SCARD_E_INVALID_PARAMETER",
        "ours looks at the pointer before it looks for the daemon",
    ),
    difference(
        "release",
        "SCardReleaseContext(context) killed by its alarm",
        "SCardReleaseContext(context) = SCARD_S_SUCCESS",
        "a release ends a wait in progress; stock waits for it for ever",
    ),
    difference(
        "release",
        "(nothing)",
        "SCardGetStatusChange = SCARD_E_CANCELLED",
        "as above, from the other thread",
    ),
    difference(
        "restart",
        "SCardIsValidContext(dead",
        "= SCARD_E_INVALID_HANDLE",
        "stock calls a context valid for ever after its daemon has gone",
    ),
];

fn is_deliberate(part: &str, stock: &str, ours: &str) -> Option<usize> {
    DIFFERENCES.iter().position(|difference| {
        difference.part == part && stock.contains(difference.stock) && ours.contains(difference.ours)
    })
}

fn compare(part: &str, environment: &[(&str, &str)]) {
    let stock = lines(part, Library::Stock, environment);
    let ours = lines(part, Library::Ours, environment);
    let mut wrong = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for at in 0..stock.len().max(ours.len()) {
        let (stock, ours) = (
            stock.get(at).map_or("(nothing)", |s| s),
            ours.get(at).map_or("(nothing)", |s| s),
        );
        if stock == ours {
            continue;
        }
        match is_deliberate(part, stock, ours) {
            Some(number) => drop(seen.insert(number)),
            None => wrong.push(format!("line {}:\n  stock {stock}\n  ours  {ours}", at + 1)),
        }
    }
    println!("{part}: {} lines compared", stock.len());
    assert!(stock.len() > 1, "{stock:?}");
    let count = wrong.len();
    wrong.truncate(40);
    assert!(
        wrong.is_empty(),
        "{count} lines of {part} differ:\n{}",
        wrong.join("\n")
    );
    for (number, difference) in DIFFERENCES.iter().enumerate() {
        assert!(
            difference.part != part || seen.contains(&number),
            "the difference {:?} of {part} no longer occurs",
            difference.stock
        );
    }
}

macro_rules! parts {
    ($($part:ident)+) => { $(
        #[test]
        fn $part() {
            compare(stringify!($part), &[]);
        }
    )+ };
}

parts! {
    globals uninitialized contexts handles lists no_readers connect reconnect status transmit control attributes change
    cancel release sharing transactions cards fork restart threads
}

#[test]
fn sharing_without_blocking() {
    compare("sharing", &[("PCSCLITE_NO_BLOCKING", "1")]);
}

#[test]
fn no_daemon() {
    compare("no_daemon", &[("PCSCLITE_CSOCK_NAME", "/nonexistent/pcscd.comm")]);
}
