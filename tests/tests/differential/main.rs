//! The same C program on Debian's library and on ours, against a daemon in the same state, and on ours
//! without a daemon, against the same readers, and Debian's library with our server in pcscd's place: the
//! output must be identical, line by line, except for the
//! lines in `differences`, each with its reason.

mod answers;
mod big_endian;
mod differences;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use differences::{
    Difference, DIFFERENCES, WITHOUT_DAEMON, WITH_DRIVER, WITH_SERVER, WITH_SERVER_AT_TIMES,
    WITH_SERVER_ON_DRIVER,
};
use pcsc_tests::{artifacts, atr, client, Pcscd, Reader, Share, Simulation};

/// For one part, with all that a busy machine adds.
const LIMIT: Duration = Duration::from_secs(600);

/// How often a part may be too late: see `used_in_time` in the program.
const TRIES: usize = 5;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/c/differential.c");

/// The program, built against Debian's headers and linked to libpcsclite.so.1 by name.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROGRAM.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("differential");
        let output = Command::new("cc")
            .args([
                "-std=gnu11",
                "-Wall",
                "-Wextra",
                "-O1",
                "-I/usr/include/PCSC",
                SOURCE,
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
    /// Ours, on a big-endian machine.
    OursBigEndian,
    /// Ours, which manages the readers itself.
    Standalone,
    /// Debian's, with our driver in pcscd.
    StockOnDriver,
    /// Debian's, with our server.
    StockOnServer,
    /// Debian's, with our server and our driver in it.
    StockOnServerAndDriver,
}

/// The simulated readers that our driver serves: of TPDU level, where the driver does the most.
const DRIVEN: &str = "gempc-express";

/// The owner of the readers.
enum Owner {
    Pcscd(Pcscd),
    Server(Share),
    Process(Simulation),
}

impl Owner {
    fn reader(&self, number: &str) -> Reader {
        let number = number.parse().expect("a reader's number");
        match self {
            Owner::Pcscd(pcscd) => pcscd.reader(number),
            Owner::Server(server) => server.reader(number),
            Owner::Process(simulation) => simulation.reader(number),
        }
    }

    fn kill(&mut self) {
        match self {
            Owner::Pcscd(pcscd) => pcscd.kill(),
            Owner::Server(server) => server.kill(),
            Owner::Process(_) => panic!("there is no daemon"),
        }
    }

    fn restart(&mut self) {
        match self {
            Owner::Pcscd(pcscd) => pcscd.restart(),
            Owner::Server(server) => server.restart(),
            Owner::Process(_) => panic!("there is no daemon"),
        }
    }
}

/// Runs one part of the program on a library. Returns its lines.
///
/// pcscd and our resource manager take the power from a card that nothing has used for five seconds, after
/// which a reconnection that leaves the card alone may fail. A part that was so late is run again.
fn lines(part: &str, library: Library, environment: &[(&str, &str)]) -> Vec<String> {
    for _ in 0..TRIES {
        if let Some(lines) = lines_in_time(part, library, environment) {
            return lines;
        }
        eprintln!("{part} on {library:?}: an unused card may have lost its power, and it is run again");
    }
    panic!("{part} on {library:?}: a card is not used in time in {TRIES} tries");
}

/// The lines, or `None` if a card was not used in time.
fn lines_in_time(part: &str, library: Library, environment: &[(&str, &str)]) -> Option<Vec<String>> {
    let readers = if part == "no_readers" { 0 } else { 2 };
    let mut command = match library {
        Library::OursBigEndian => big_endian::program(),
        _ => client(program()),
    };
    command.arg(part);
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
    } else if matches!(library, Library::StockOnServer | Library::StockOnServerAndDriver) {
        let server = match library {
            Library::StockOnServer => Share::start(readers),
            _ => Share::start_driven(readers, DRIVEN),
        };
        command.env("PCSCLITE_CSOCK_NAME", server.socket());
        Owner::Server(server)
    } else {
        let pcscd = match library {
            Library::StockOnDriver => Pcscd::start_driver(&vec![DRIVEN; readers]),
            _ => Pcscd::start(readers),
        };
        command.env("PCSCLITE_CSOCK_NAME", pcscd.socket());
        Owner::Pcscd(pcscd)
    };
    command.envs(environment.iter().copied());
    match library {
        Library::Ours | Library::Standalone => {
            command.env("LD_LIBRARY_PATH", artifacts::library_folder());
        }
        Library::OursBigEndian => (),
        _ => {
            command.env("DIFFERENTIAL_HANGS", "1");
        }
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
    let mut lines: Vec<String> = Vec::new();
    loop {
        // For each line: on a busy machine all of them may take minutes.
        match receiver.recv_timeout(LIMIT) {
            Ok(line) => match line.strip_prefix('@') {
                Some("late") => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return None;
                }
                Some(wish) => {
                    fulfil(&mut owner, wish);
                    let _ = input.write_all(b"done\n");
                }
                None => lines.push(line),
            },
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            // Two runs that hang at the same place would be equal, and the rest would not be compared.
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
    // A child that crashes or hangs with both libraries would be equal as well.
    let is_killed = |line: &&String| line.contains(" killed by ");
    if matches!(library, Library::Ours | Library::Standalone) {
        assert_eq!(lines.iter().find(is_killed), None, "{part} on {library:?}");
    }
    Some(lines)
}

/// Executes a request of the program.
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
        ["kill"] => owner.kill(),
        ["restart"] => owner.restart(),
        _ => panic!("unknown wish {wish:?}"),
    }
}

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

/// The lines without what the call has written to `receive_pci`: the test's handler sets its protocol number
/// there, as our server does with any reader, unlike libccid and our driver in pcscd.
fn lines_without_pci(part: &str, library: Library, environment: &[(&str, &str)]) -> Vec<String> {
    let without_pci = |line: &String| match line.split_once(" receive_pci.") {
        Some((call, rest)) => format!("{call}{}", rest.find(" for ").map_or("", |at| &rest[at..])),
        None => line.clone(),
    };
    lines(part, library, environment)
        .iter()
        .map(without_pci)
        .collect()
}

/// Debian's library, and pcscd with the test's handler and with our driver, and our server with our driver.
fn compare_driver(part: &str, environment: &[(&str, &str)]) {
    let [handler, driver, server] = [
        Library::Stock,
        Library::StockOnDriver,
        Library::StockOnServerAndDriver,
    ]
    .map(|library| lines_without_pci(part, library, environment));
    compare_lines(part, &handler, &driver, WITH_DRIVER, &[]);
    compare_lines(part, &driver, &server, WITH_SERVER_ON_DRIVER, &[]);
}

/// Checks the differences: those in `expected` must occur, those in `may` can occur.
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

/// A test of each of these parts.
macro_rules! parts {
    ($compare:path: $($part:ident)+) => { $(
        #[test]
        fn $part() {
            $compare(stringify!($part), &[]);
        }
    )+ };
}

parts! {
    compare: globals uninitialized contexts handles lists no_readers connect reconnect status transmit control
    attributes change cancel release sharing transactions cards fork restart threads
}

#[test]
fn transactions_without_blocking() {
    compare("transactions", &[("PCSCLITE_NO_BLOCKING", "1")]);
}

#[test]
fn no_daemon() {
    compare("no_daemon", &[("PCSCLITE_CSOCK_NAME", "/nonexistent/pcscd.comm")]);
}

/// The parts that do not end and start the daemon.
mod standalone {
    use super::compare_standalone;

    parts! {
        compare_standalone: uninitialized contexts handles lists no_readers connect reconnect status transmit
        control attributes change cancel release sharing transactions cards fork threads
    }

    #[test]
    fn transactions_without_blocking() {
        compare_standalone("transactions", &[("PCSCLITE_NO_BLOCKING", "1")]);
    }
}

/// Our server in pcscd's place, with Debian's library.
mod with_the_server {
    use super::{compare_lines, lines, Library, WITH_SERVER, WITH_SERVER_AT_TIMES};

    fn compare(part: &str, environment: &[(&str, &str)]) {
        let pcscd = lines(part, Library::Stock, environment);
        let server = lines(part, Library::StockOnServer, environment);
        compare_lines(part, &pcscd, &server, WITH_SERVER, WITH_SERVER_AT_TIMES);
    }

    parts! {
        compare: contexts handles lists no_readers connect reconnect status transmit control attributes change
        cancel release sharing transactions cards fork restart threads
    }

    #[test]
    fn transactions_without_blocking() {
        compare("transactions", &[("PCSCLITE_NO_BLOCKING", "1")]);
    }
}

/// Our driver in libccid's place, compared with the test's handler, and with our driver in our server on the
/// same simulated readers.
///
/// Not compared are `control` and `attributes`, which differ between handlers, `cards`, in which a reader is
/// removed, which pcscd with a driver detects on the USB, and `transactions` and others that do not depend on
/// the handler.
mod with_the_driver {
    parts! {
        super::compare_driver: handles lists connect reconnect status transmit change sharing restart threads
    }
}

/// Any sequence of calls, by a number that it depends on, without what differs on purpose.
mod random {
    use super::{compare_lines, lines, Library};

    fn compare(stock: Library, ours: Library) {
        for seed in ["1", "2", "3", "4", "5", "6", "7", "8"] {
            println!("the sequence {seed}");
            let environment = [("DIFFERENTIAL_SEED", seed), ("PCSCLITE_NO_BLOCKING", "1")];
            let [stock, ours] = [stock, ours].map(|library| lines("random", library, &environment));
            compare_lines("random", &stock, &ours, &[], &[]);
        }
    }

    #[test]
    fn with_the_daemon() {
        compare(Library::Stock, Library::Ours);
    }

    #[test]
    fn without_a_daemon() {
        compare(Library::Stock, Library::Standalone);
    }

    #[test]
    fn with_the_server() {
        compare(Library::Stock, Library::StockOnServer);
    }
}
