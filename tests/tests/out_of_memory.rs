//! Without memory a call returns `SCARD_E_NO_MEMORY` or succeeds. It never ends the process, and the next
//! call with memory works.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pcsc_tests::scripted::{Script, Scripted};
use pcsc_tests::{artifacts, atr, c_library, c_program, run, Pcscd};

/// What the C program prints.
fn printed(arguments: &[&str], socket: &Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(c_program(folder.path(), "out_of_memory"));
    command
        .args(arguments)
        .env("LD_PRELOAD", c_library(folder.path(), "no_memory"))
        .env("LD_LIBRARY_PATH", artifacts::library_folder())
        .env("PCSCLITE_CSOCK_NAME", socket);
    run(&mut command, Duration::from_secs(600)).stdout()
}

/// Makes every request for memory fail once. Returns the number of requests, and how often a call was
/// refused.
fn every_request_fails_once(socket: &Path) -> (u32, u32) {
    let text = printed(&[], socket);
    let counts = text
        .strip_suffix(" refusals\n")
        .and_then(|counts| counts.split_once(" requests, "));
    match counts.map(|(requests, refusals)| (requests.parse(), refusals.parse())) {
        Some((Ok(requests), Ok(refusals))) => (requests, refusals),
        _ => panic!("{text}"),
    }
}

#[test]
fn with_a_daemon() {
    for minor in [4, 6] {
        let daemon = Scripted::start(Script::new(minor));
        let (requests, refusals) = every_request_fails_once(daemon.path());
        assert!(
            requests > 5 && refusals > 5,
            "{requests} requests, {refusals} refusals"
        );
    }
}

#[test]
fn a_connection_that_gets_no_handle_is_ended_and_calls_are_refused_until_there_is_memory() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    // The list of readers would fit the reserve, but is not begun.
    assert_eq!(
        printed(&["connections"], &pcscd.socket()),
        "80100006, 80100006 80100006, then 00000000 00000000\n"
    );
}
