//! pyscard's own test suite, from its source package, on Debian's library and on ours: each test ends alike.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pcsc_tests::{artifacts, atr, run, Pcscd};

const LIMIT: Duration = Duration::from_secs(240);
/// Debian's Python, which has Debian's pyscard.
const PYTHON: &str = "/usr/bin/python3";
/// The tests that need no more than readers and cards.
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
    let mut download = Command::new("python3");
    download.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        ":all:",
        "--dest",
    ]);
    run(download.arg(folder).arg(format!("pyscard=={version}")), LIMIT).stdout();
    let mut unpack = Command::new("tar");
    unpack
        .arg("-xzf")
        .arg(folder.join(format!("pyscard-{version}.tar.gz")))
        .arg("-C")
        .arg(folder);
    run(&mut unpack, LIMIT).stdout();
    folder.join(format!("pyscard-{version}"))
}

/// Each test of a suite and how it ended.
fn results(tests: &Path, modules: &[&str], ours: bool) -> Vec<String> {
    let pcscd = Pcscd::start(2);
    pcscd.reader(0).insert(atr::T1);
    pcscd.reader(1).insert(atr::T0_T1);
    let python = |arguments: &[&str]| {
        let mut command = Command::new(PYTHON);
        command
            .current_dir(tests)
            .args(arguments)
            .env("PCSCLITE_CSOCK_NAME", pcscd.socket());
        command
            .env_remove("LD_LIBRARY_PATH")
            .env_remove("PYTHONHOME")
            .env("PYTHONPATH", "..");
        if ours {
            command.env("LD_LIBRARY_PATH", artifacts::library_folder());
        }
        let output = run(&mut command, LIMIT);
        assert!(!output.timed_out, "{command:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    python(&["-c", "import configcheck; configcheck.checklocalconfig()"]);
    let mut lines = Vec::new();
    for module in modules {
        let text = python(&["-m", "unittest", "-v", module]);
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
    }
    lines
}

#[test]
fn every_test_ends_as_on_stock() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path());
    let mut passed = 0;
    for (suite, modules) in SUITES {
        let tests = source.join("smartcard/test").join(suite);
        let [stock, ours] = [false, true].map(|ours| results(&tests, modules, ours));
        assert_eq!(stock, ours);
        passed += ours.iter().filter(|line| line.ends_with(" ok")).count();
        println!("{}", ours.join("\n"));
    }
    println!("{passed} tests of pyscard's pass");
    assert!(passed >= 30, "only {passed} tests of pyscard's pass");
}
