//! pyscard's own test suite, from its source package, on Debian's library and on ours with pcscd, on ours
//! without it, and on Debian's with our server in pcscd's place: each test has the same result.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pcsc_tests::{artifacts, assert_same, atr, client, run, tail, Output, Pcscd, Reader, Share, Simulation};

const LIMIT: Duration = Duration::from_secs(240);
/// Debian's Python, which has Debian's pyscard.
const PYTHON: &str = "/usr/bin/python3";
/// The tests that need only readers and cards.
const SUITES: [(&str, &[&str]); 2] = [
    (
        "scard",
        &[
            "testcase_getatr",
            "testcase_getattrib",
            "testcase_geterrormessage",
            "testcase_listcards",
            "testcase_locatecards",
            "testcase_readergroups",
            "testcase_returncodes",
            "testcase_transaction",
        ],
    ),
    (
        "framework",
        &[
            "testcase_ATR",
            "testcase_CAtr",
            "testcase_Card",
            "testcase_CardConnection",
            "testcase_CardMonitor",
            "testcase_CardRequest",
            "testcase_CardService",
            "testcase_CardType",
            "testcase_ErrorChecking",
            "testcase_ExclusiveCardConnection",
            "testcase_readergroups",
            "testcase_readermonitor",
            "testcase_readers",
            "testcase_ulist",
            "testcase_utils",
        ],
    ),
];

/// The source package of the version that Debian has, unpacked.
fn source(folder: &Path) -> std::path::PathBuf {
    let script = "import importlib.metadata; print(importlib.metadata.version('pyscard'))";
    let version = run(Command::new(PYTHON).args(["-c", script]), LIMIT).stdout();
    let version = version.trim();
    // Kept for the next run.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let package = cache.join(format!("pyscard-{version}.tar.gz"));
    let mut tries = 3;
    while !package.exists() {
        let mut download = Command::new("python3");
        download
            .args("-m pip download --quiet --no-deps --no-binary :all: --dest".split(' '))
            .arg(cache)
            .arg(format!("pyscard=={version}"));
        let output = run(&mut download, LIMIT);
        tries -= 1;
        // The registry may be temporarily unavailable.
        assert!(package.exists() || tries > 0, "{output:?}");
    }
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(package).arg("-C").arg(folder);
    run(&mut unpack, LIMIT).stdout();
    folder.join(format!("pyscard-{version}"))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ground {
    Stock,
    Daemon,
    Alone,
    Server,
}

/// The owner of the readers while a suite runs.
enum Owner {
    Pcscd(Pcscd),
    Server(Share),
    /// Each process.
    Process,
}

fn insert_cards(reader: impl Fn(usize) -> Reader) {
    reader(0).insert(atr::T1);
    reader(1).insert(atr::T0_T1);
}

/// Each test of a suite and how it ended. `source` is the package.
fn results(source: &Path, suite: &str, modules: &[&str], ground: Ground) -> Vec<String> {
    // The suite writes a list of the readers and cards.
    let folder = tempfile::tempdir().unwrap();
    run(
        Command::new("cp")
            .arg("-r")
            .arg(source)
            .arg(folder.path().join("source")),
        LIMIT,
    )
    .stdout();
    let tests = folder.path().join("source/smartcard/test").join(suite);

    let owner = match ground {
        Ground::Stock | Ground::Daemon => Owner::Pcscd(Pcscd::start(2)),
        Ground::Server => Owner::Server(Share::start(2)),
        Ground::Alone => Owner::Process,
    };
    match &owner {
        Owner::Pcscd(pcscd) => insert_cards(|number| pcscd.reader(number)),
        Owner::Server(share) => insert_cards(|number| share.reader(number)),
        Owner::Process => (),
    }
    let python = |arguments: &[&str]| {
        let mut command = client(PYTHON);
        command
            .current_dir(&tests)
            .args(arguments)
            .env("PYTHONPATH", "..");
        if matches!(ground, Ground::Daemon | Ground::Alone) {
            command.env("LD_LIBRARY_PATH", artifacts::library_folder());
        }
        let mut own = None;
        match &owner {
            Owner::Pcscd(pcscd) => command.env("PCSCLITE_CSOCK_NAME", pcscd.socket()),
            Owner::Server(share) => command.env("PCSCLITE_CSOCK_NAME", share.socket()),
            // Created for each process, since only one process can use a reader.
            Owner::Process => {
                let simulation = own.insert(Simulation::start(2));
                insert_cards(|number| simulation.reader(number));
                command.envs(simulation.environment())
            }
        };
        let output = run(&mut command, LIMIT);
        assert!(!output.timed_out, "{command:?}");
        output
    };
    python(&["-c", "import configcheck; configcheck.checklocalconfig()"]).stdout();
    let mut lines = Vec::new();
    for module in modules {
        let output = python(&["-m", "unittest", "-v", module]);
        let text = String::from_utf8_lossy(&output.stderr);
        let mut name = "";
        for line in text.lines() {
            if line.starts_with("test") && line.contains(" (") {
                name = line.split(' ').next().unwrap();
            }
            for end in ["ok", "FAIL", "ERROR"] {
                if line == end || line.ends_with(&format!("... {end}")) || line.ends_with(&format!(" {end}"))
                {
                    lines.push(format!("{module} {name} {end}"));
                    break;
                }
            }
        }
        lines.push(format!("{module} {}", end(&output, &text)));
    }
    lines
}

/// How many tests unittest ran, and how the interpreter ended: 0, or 1 if a test failed.
///
/// # Panics
/// If the interpreter ended otherwise, as by a signal in a library's destructors after the last test.
fn end(output: &Output, text: &str) -> String {
    let status = output.status.code();
    assert!(
        matches!(status, Some(0 | 1)),
        "the interpreter ended with {}:\n{}",
        output.status,
        tail(text, 20)
    );
    let ran = text.lines().find_map(|line| line.strip_prefix("Ran "));
    let ran = ran.and_then(|line| line.split(' ').next()).unwrap_or("no");
    format!("ran {ran} tests and ended with {status:?}")
}

#[test]
fn every_test_ends_as_on_stock() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path());
    let mut passed = 0;
    for (suite, modules) in SUITES {
        // They wait for cards most of the time.
        let [stock, ours, alone, served] = std::thread::scope(|scope| {
            let source = &source;
            [Ground::Stock, Ground::Daemon, Ground::Alone, Ground::Server]
                .map(|ground| scope.spawn(move || results(source, suite, modules, ground)))
                .map(|thread| thread.join().unwrap())
        });
        let [stock, with_pcscd, without, served] = [stock, ours, alone, served].map(|lines| lines.join("\n"));
        assert_same(suite, ("stock", &stock), ("ours, with pcscd", &with_pcscd));
        assert_same(suite, ("stock", &stock), ("ours, without pcscd", &without));
        assert_same(suite, ("stock", &stock), ("stock, on our server", &served));
        passed += with_pcscd.lines().filter(|line| line.ends_with(" ok")).count();
        println!("{with_pcscd}");
    }
    println!("{passed} tests of pyscard's pass");
    assert!(passed >= 30, "only {passed} tests of pyscard's pass");
}
