//! A forked child makes calls of its own, even if threads of its parent held locks at the fork.

use std::process::Command;
use std::time::Duration;

use pcsc_tests::scripted::{Script, Scripted};
use pcsc_tests::{artifacts, c_program, run};

const PROCESSES: u32 = 50;
const CHILDREN: u32 = 20;

/// Has each of [`PROCESSES`] processes fork [`CHILDREN`] children while two of its threads make their first
/// calls.
fn no_child_hangs(environment: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let program = c_program(folder.path(), "fork");
    let mut command = Command::new(program);
    command
        .args([PROCESSES, CHILDREN].map(|number| number.to_string()))
        .env("LD_LIBRARY_PATH", artifacts::library_folder())
        .envs(environment.iter().copied());
    let text = run(&mut command, Duration::from_secs(600)).stdout();
    assert_eq!(
        text,
        format!("{} ended, 0 failed, 0 hung\n", PROCESSES * CHILDREN)
    );
}

#[test]
fn a_childs_handles_are_not_its_parents() {
    let daemon = Scripted::start(Script::new(4));
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in [
        ("PCSCLITE_CSOCK_NAME", daemon.path().to_str().unwrap()),
        ("PCSCLITE_BACKEND", "simulated"),
    ] {
        let mut command = Command::new(c_program(folder.path(), "fork"));
        command.env("LD_LIBRARY_PATH", artifacts::library_folder());
        let text = run(command.env(name, value), Duration::from_secs(120)).stdout();
        assert_eq!(
            text,
            "establish 00000000\nestablish 00000000\nanother handle\nthe parent's is valid 80100003\n\
             cancel the parent's 80100003\nrelease the parent's 80100003\nthe own one is valid 00000000\n\
             it is valid 00000000\nrelease 00000000\n",
            "{name}"
        );
    }
}

fn with_daemon(debug: &[(&str, &str)]) {
    let daemon = Scripted::start(Script::new(4));
    let path = daemon.path().to_str().unwrap();
    no_child_hangs(&[&[("PCSCLITE_CSOCK_NAME", path)], debug].concat());
}

#[test]
fn children_have_a_daemon_of_their_own() {
    with_daemon(&[]);
}

#[test]
fn children_log_while_their_parent_logs() {
    with_daemon(&[("PCSCLITE_DEBUG", "0")]);
}

#[test]
fn children_drive_readers_of_their_own() {
    no_child_hangs(&[("PCSCLITE_BACKEND", "simulated")]);
}

#[test]
fn children_are_recorded_while_their_parent_is() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    with_daemon(&[("PCSCLITE_SPY", record.to_str().unwrap())]);
    let text = std::fs::read_to_string(&record).unwrap();
    let mut ended = 0;
    for line in text.lines() {
        // No line is cut, and none is in another one.
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(line["lost"].is_null(), "{line}");
        ended += u32::from(line["event"] == "return" && line["function"] == "SCardReleaseContext");
    }
    assert!(ended >= PROCESSES * CHILDREN, "{ended}");
}
