//! A command may hold a PIN, and the value of an attribute a key. When its call has returned, no copy of it
//! is left in the memory of the process.

use std::process::Command;
use std::time::Duration;

use pcsc_tests::scripted::{Script, Scripted};
use pcsc_tests::{artifacts, c_program, run};

/// The copies that `secrets` finds.
fn copies(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(c_program(folder.path(), "secrets"));
    command
        .args(arguments)
        .env("LD_LIBRARY_PATH", artifacts::library_folder())
        .envs(environment.iter().copied());
    run(&mut command, Duration::from_secs(120)).stdout()
}

#[test]
fn no_copy_of_a_command_to_a_daemon_is_left() {
    let daemon = Scripted::start(Script::new(4));
    let environment = [("PCSCLITE_CSOCK_NAME", daemon.path().to_str().unwrap())];
    assert_eq!(copies(&["long"], &environment), "0 found\n");
    // Checks that the search finds copies.
    let found = copies(&["long", "a copy"], &environment);
    assert!(
        found.starts_with("a copy in [heap]") && found.ends_with("\n1 found\n"),
        "{found}"
    );
}

#[test]
fn no_copy_of_a_command_to_a_reader_is_left() {
    // Readers at TPDU level with T=1, at the levels of short and extended APDUs, at character level with T=0,
    // and on the control pipe.
    for (model, length) in [
        ("gempc-express", "long"),
        ("omnikey-5321", "short"),
        ("omnikey-3x21", "long"),
        ("au9540", "long"),
        ("oz776", "long"),
        ("ibank2key", "long"),
        ("starsign", "short"),
    ] {
        let environment = [("PCSCLITE_BACKEND", "simulated"), ("PCSCLITE_SIMULATED", model)];
        assert_eq!(copies(&[length], &environment), "0 found\n", "{model}");
    }
}
