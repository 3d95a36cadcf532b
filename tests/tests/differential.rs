//! The same C program on Debian's library and on ours, against a daemon in the same state, and on ours without a daemon, against
//! the same readers: what it prints must be identical, line by line, but for the differences listed here, each with its reason.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pcsc_tests::{artifacts, atr, Pcscd, Reader, Simulation};

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
    /// Ours, which manages the readers itself.
    Standalone,
    /// Debian's, with our driver in pcscd.
    StockOnDriver,
}

/// The simulated readers that our driver serves: TPDU level, so that it does all there is to do.
const DRIVEN: [&str; 2] = ["gempc-express"; 2];

/// What has the readers.
enum Owner {
    Pcscd(Pcscd),
    Process(Simulation),
}

impl Owner {
    fn reader(&self, number: &str) -> Reader {
        let number = number.parse().expect("a reader's number");
        match self {
            Owner::Pcscd(pcscd) => pcscd.reader(number),
            Owner::Process(simulation) => simulation.reader(number),
        }
    }

    fn pcscd(&mut self) -> &mut Pcscd {
        match self {
            Owner::Pcscd(pcscd) => pcscd,
            Owner::Process(_) => panic!("there is no daemon"),
        }
    }
}

/// Runs one part of the program on a library; gives its lines.
fn lines(part: &str, library: Library, environment: &[(&str, &str)]) -> Vec<String> {
    let readers = if part == "no_readers" { 0 } else { 2 };
    let mut command = Command::new(program());
    command.arg(part).env_remove("LD_LIBRARY_PATH");
    let mut owner = if library == Library::Standalone {
        // Most parts fork for calls that may kill a process, and the parent has the readers open.
        let simulation = match part {
            "fork" => Simulation::start(readers),
            _ => Simulation::start_shared(readers),
        };
        command
            .envs(simulation.environment())
            .env("DIFFERENTIAL_KEEPS_READERS", "1");
        Owner::Process(simulation)
    } else {
        let pcscd = match library {
            Library::StockOnDriver => Pcscd::start_driver(&DRIVEN[..readers]),
            _ => Pcscd::start(readers),
        };
        command.env("PCSCLITE_CSOCK_NAME", pcscd.socket());
        Owner::Pcscd(pcscd)
    };
    command.envs(environment.iter().copied());
    if !matches!(library, Library::Stock | Library::StockOnDriver) {
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
                    fulfil(&mut owner, wish);
                    let _ = input.write_all(b"done\n");
                }
                None => lines.push(line),
            },
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            // Two that hang at the same place would be alike, and nothing after it compared.
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{part} hangs on {library:?}:\n{}", lines.join("\n"));
            }
        }
    }
    let status = child.wait().unwrap();
    drop(reader);
    assert!(
        status.success(),
        "{part} on {library:?}: {status}\n{}",
        lines.join("\n")
    );
    // A child that crashes or hangs with both would be alike as well.
    let is_killed = |line: &&String| line.contains(" killed by ");
    if matches!(library, Library::Ours | Library::Standalone) {
        assert_eq!(lines.iter().find(is_killed), None, "{part} on {library:?}");
    }
    lines
}

/// Does what the program asks for.
fn fulfil(owner: &mut Owner, wish: &str) {
    let words: Vec<&str> = wish.split_whitespace().collect();
    let reader = |number: &str| owner.reader(number);
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
        ["kill"] => owner.pcscd().kill(),
        ["restart"] => owner.pcscd().restart(),
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
        "SCardIsValidContext(context) = SCARD_S_SUCCESS",
        "= SCARD_E_INVALID_HANDLE",
        "a forked child is refused; with stock it shares its parent's connection and corrupts it",
    ),
    difference(
        "fork",
        "SCardListReaders(context, NULL, NULL, &length) = SCARD_S_SUCCESS",
        "= SCARD_E_INVALID_HANDLE",
        "as above",
    ),
    difference("fork", "00\\03\\90", "= SCARD_E_INVALID_HANDLE", "as above"),
    difference(
        "fork",
        "SCardStatus(card, name, &length, &state, &protocol, atr, &atr_length) = SCARD_S_SUCCESS",
        "= SCARD_E_INVALID_HANDLE",
        "as above",
    ),
    difference(
        "fork",
        "SCardCancel(context) = SCARD_S_SUCCESS",
        "= SCARD_E_INVALID_HANDLE",
        "as above",
    ),
    difference(
        "fork",
        "SCardReleaseContext(context) = SCARD_S_SUCCESS",
        "= SCARD_E_INVALID_HANDLE",
        "as above",
    ),
    difference(
        "fork",
        "00\\05",
        "00\\04",
        "the child's APDU did not reach the card",
    ),
    difference(
        "fork",
        // SCARD_W_SECURITY_VIOLATION, or SCARD_E_NO_SERVICE where the daemon is quicker.
        "response untouched",
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

/// Differences between pcscd and this library that manages the readers itself.
const WITHOUT_DAEMON: &[Difference] = &[
    difference(
        "no_readers",
        "SCARD_E_TIMEOUT [ current=0x0 event=0x0",
        "SCARD_E_TIMEOUT [ current=0x0 event=0x10000",
        "1.9.9 does not tell how many readers came and went; 2.5 and ours do",
    ),
    difference(
        "change",
        "[ current=0x0 event=0x0 ",
        "[ current=0x0 event=0x30000 ",
        "as above",
    ),
    difference(
        "change",
        "SCARD_E_TIMEOUT [ current=0x70000 event=0x0 ",
        "SCARD_S_SUCCESS [ current=0x70000 event=0x30002 ",
        "as above, so that a caller learns what it has missed",
    ),
    difference(
        "cancel",
        "[ current=0x0 event=0x0 ",
        "[ current=0x0 event=0x30000 ",
        "as above",
    ),
    difference(
        "sharing",
        "SCardEndTransaction(card, SCARD_LEAVE_CARD) = SCARD_S_SUCCESS",
        "SCardEndTransaction(card, SCARD_LEAVE_CARD) = SCARD_E_NOT_TRANSACTED",
        "pcscd goes on holding the card for a connection that is exclusive no more",
    ),
    difference(
        "sharing",
        "SCARD_E_SHARING_VIOLATION other_card 0 protocol=0x2",
        "SCARD_E_SHARING_VIOLATION other_card 0 protocol=0x0",
        "a connection that is refused has no protocol",
    ),
    difference(
        "transmit",
        "00\\16",
        "00\\14",
        "a child powers the card up for itself",
    ),
    difference("transmit", "00W\\90", "00U\\90", "as above"),
    difference(
        "release",
        "event=0x10022",
        "event=0x22",
        "a child has its own view of the readers, and begins to count anew",
    ),
    difference(
        "fork",
        "= SCARD_S_SUCCESS other_card set",
        "= SCARD_E_SHARING_VIOLATION other_card 0",
        "the parent has the readers",
    ),
    difference(
        "fork",
        "SCardTransmit(other_card, (&g_rgSCardT1Pci), command, apdu(\"00000000\"), &receive_pci, response, &length) = SCARD_S_SUCCESS",
        "= SCARD_E_INVALID_HANDLE",
        "as above",
    ),
    difference("fork", "00\\05", "00\\02", "no APDU of a child reached the card"),
    difference(
        "fork",
        "80C00000",
        "00\\03",
        "the child\'s release did not end the parent\'s context",
    ),
];

/// Differences between the test's handler and our driver with its simulated readers and cards.
const WITH_DRIVER: &[Difference] = &[
    difference(
        "sharing",
        "SCARD_S_SUCCESS length=0x2 response[2]=\\01\\02",
        "SCARD_E_NOT_TRANSACTED length=0x0",
        "the test's handler echoes a control request that is an Escape, and not allowed",
    ),
    difference(
        "transmit",
        "response[6]=\\00\\00\\00\\16\\90\\00",
        "response[6]=\\00\\00\\00\\12\\90\\00",
        "the card's count: bytes that are no APDU do not come to its application",
    ),
    difference(
        "transmit",
        "response[6]=\\00\\00\\00W\\90\\00",
        "response[6]=\\00\\00\\00J\\90\\00",
        "nor do those of a protocol that the driver refuses",
    ),
    difference(
        "transmit",
        // The number of SCARD_PROTOCOL_RAW among those that the loop tries.
        "world!\\90\\00 for room 0x12C for 4 ",
        "SCARD_E_NOT_TRANSACTED length=0x0",
        "at TPDU level the driver must know the protocol, and raw is none",
    ),
    difference(
        "transmit",
        "(&g_rgSCardRawPci), command, apdu(\"00000000\"), &receive_pci, response, &length) = SCARD_S_SUCCESS length=0xE",
        "SCARD_E_NOT_TRANSACTED length=0x0",
        "as above",
    ),
    difference(
        "transmit",
        "(&g_rgSCardRawPci), command, apdu(\"00000000\"), &receive_pci, response, &length) = SCARD_E_NO_SMARTCARD",
        "SCARD_E_NOT_TRANSACTED",
        "as above",
    ),
    difference(
        "transmit",
        "command, 65548",
        "response[2]=g\\00",
        "this is no APDU to a card that looks at its length",
    ),
    difference(
        "transmit",
        "(&g_rgSCardT0Pci)",
        "(&g_rgSCardT0Pci), command, apdu(\"00000000\"), &receive_pci, response, &length) = SCARD_S_SUCCESS length=0x2 response[2]=l\\0C",
        "a card with T=0 wants to know how much to send",
    ),
];

fn compare(part: &str, environment: &[(&str, &str)]) {
    let stock = lines(part, Library::Stock, environment);
    let ours = lines(part, Library::Ours, environment);
    compare_lines(part, &stock, &ours, DIFFERENCES, &[]);
}

/// Debian's library with pcscd, and ours without.
fn compare_standalone(part: &str, environment: &[(&str, &str)]) {
    let stock = lines(part, Library::Stock, environment);
    let ours = lines(part, Library::Standalone, environment);
    compare_lines(part, &stock, &ours, WITHOUT_DAEMON, DIFFERENCES);
}

/// Debian's library, and pcscd with the test's handler and with our driver.
fn compare_driver(part: &str) {
    let [handler, driver] = [Library::Stock, Library::StockOnDriver].map(|library| {
        let lines = lines(part, library, &[]);
        // The test's handler tells its protocol number there, which libccid and our driver leave to the caller.
        lines
            .iter()
            .map(|line| match line.split_once(" receive_pci.") {
                Some((call, told)) => format!("{call}{}", told.find(" for ").map_or("", |at| &told[at..])),
                None => line.clone(),
            })
            .collect::<Vec<_>>()
    });
    compare_lines(part, &handler, &driver, WITH_DRIVER, &[]);
}

/// The `expected` differences must be there, those that `may` be there may.
fn compare_lines(part: &str, stock: &[String], ours: &[String], expected: &[Difference], may: &[Difference]) {
    let differences: Vec<&Difference> = expected.iter().chain(may).collect();
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
        let deliberate = differences.iter().position(|difference| {
            difference.part == part && stock.contains(difference.stock) && ours.contains(difference.ours)
        });
        match deliberate {
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
    for (number, difference) in expected.iter().enumerate() {
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
fn transactions_without_blocking() {
    compare("transactions", &[("PCSCLITE_NO_BLOCKING", "1")]);
}

#[test]
fn no_daemon() {
    compare("no_daemon", &[("PCSCLITE_CSOCK_NAME", "/nonexistent/pcscd.comm")]);
}

/// Those that need no daemon to be ended and started.
mod standalone {
    use super::compare_standalone;

    macro_rules! parts {
        ($($part:ident)+) => { $(
            #[test]
            fn $part() {
                compare_standalone(stringify!($part), &[]);
            }
        )+ };
    }

    parts! {
        uninitialized contexts handles lists no_readers connect reconnect status transmit control attributes change
        cancel release sharing transactions cards fork threads
    }

    #[test]
    fn transactions_without_blocking() {
        compare_standalone("transactions", &[("PCSCLITE_NO_BLOCKING", "1")]);
    }
}

/// The driver in libccid's place: the test's handler is a model of what pcscd's clients see of any.
///
/// Left out are `control` and `attributes`, of which each handler has its own, `cards`, in which a reader goes that pcscd with a
/// driver learns of from the USB, and `transactions` and others that say nothing about a handler.
mod with_the_driver {
    macro_rules! parts {
        ($($part:ident)+) => { $(
            #[test]
            fn $part() {
                super::compare_driver(stringify!($part));
            }
        )+ };
    }

    parts! {
        handles lists connect reconnect status transmit change sharing restart threads
    }
}
