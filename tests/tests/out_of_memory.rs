//! Without memory a call returns `SCARD_E_NO_MEMORY` or succeeds. It never ends the process, and the next
//! call with memory works.

use std::process::Command;
use std::time::Duration;

use pcsc_tests::scripted::{Script, Scripted};
use pcsc_tests::{artifacts, c_library, c_program, run};

/// Makes every request for memory fail once. Returns the number of requests, and how often a call was
/// refused.
fn every_request_fails_once(environment: &[(&str, &str)]) -> (u32, u32) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(c_program(folder.path(), "out_of_memory"));
    command
        .env("LD_PRELOAD", c_library(folder.path(), "no_memory"))
        .env("LD_LIBRARY_PATH", artifacts::library_folder())
        .envs(environment.iter().copied());
    let text = run(&mut command, Duration::from_secs(600)).stdout();
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
        let (requests, refusals) =
            every_request_fails_once(&[("PCSCLITE_CSOCK_NAME", daemon.path().to_str().unwrap())]);
        assert!(
            requests > 5 && refusals > 5,
            "{requests} requests, {refusals} refusals"
        );
    }
}
