//! Descriptors: contexts whose descriptors the program closes, and the number that a wait needs.

use std::process::Command;
use std::time::Duration;

use pcsc_tests::scripted::{Script, Scripted};
use pcsc_tests::{artifacts, c_program, in_namespace, run, USB};

/// Runs `closed` with files or sockets in the place of the library's descriptors. Returns the codes of its
/// calls.
fn codes_after_closing(what: &str, environment: &[(&str, String)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, [7; 4096]).unwrap();
    // The machine may have no USB, or readers.
    let mut command = in_namespace(folder.path(), USB, c_program(folder.path(), "closed"));
    command
        .arg(what)
        .arg(&file)
        .env("LD_LIBRARY_PATH", artifacts::library_folder())
        .envs(environment.iter().cloned());
    let text = run(&mut command, Duration::from_secs(120)).stdout();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let files = lines.pop();
    assert_eq!(
        files.as_deref(),
        Some("61 of 61 open, 0 moved, sockets got 0"),
        "{what}: {text}"
    );
    assert!(
        std::fs::read(&file).unwrap() == [7; 4096],
        "the file was written to"
    );
    lines
}

#[test]
fn a_daemons_client_touches_no_file_of_the_program() {
    let daemon = Scripted::start(Script::new(4));
    let environment = [("PCSCLITE_CSOCK_NAME", daemon.path().to_str().unwrap().to_owned())];
    assert_eq!(
        codes_after_closing("files", &environment),
        [
            "wait 8010000A",
            "cancel 00000000",
            "cancel 00000000",
            "connect 80100013",
            "wait 8010001D",
            "release 8010001D",
            "release 8010001D",
        ]
    );
    assert_eq!(
        codes_after_closing("sockets", &environment),
        [
            "wait 8010000A",
            "cancel 00000000",
            "cancel 00000000",
            "release 8010001D",
            "release 8010001D"
        ]
    );
}

#[test]
fn a_process_without_a_daemon_touches_no_file_of_the_program() {
    for backend in ["simulated", "standalone"] {
        let environment = [("PCSCLITE_BACKEND", backend.to_owned())];
        for what in ["files", "sockets"] {
            let codes = codes_after_closing(what, &environment);
            assert!(
                codes
                    .iter()
                    .filter(|line| line.starts_with("release"))
                    .all(|line| line == "release 00000000"),
                "{backend}, {what}: {codes:?}"
            );
        }
    }
}

#[test]
fn a_wait_needs_no_descriptor_but_the_contexts() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Scripted::start(Script::new(5));
    let mut command = Command::new(c_program(folder.path(), "scarce"));
    command
        .env("LD_LIBRARY_PATH", artifacts::library_folder())
        .env("PCSCLITE_CSOCK_NAME", daemon.path());
    let text = run(&mut command, Duration::from_secs(120)).stdout();
    assert_eq!(text, "8010000A 80100002\n");
}

#[test]
fn no_file_of_the_library_takes_the_number_of_a_standard_stream() {
    let daemon = Scripted::start(Script::new(5));
    let socket = daemon.path().to_str().unwrap();
    for (name, value) in [
        ("PCSCLITE_CSOCK_NAME", socket),
        ("PCSCLITE_BACKEND", "simulated"),
        ("PCSCLITE_BACKEND", "standalone"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = in_namespace(folder.path(), USB, c_program(folder.path(), "standard"));
        command
            .env("LD_LIBRARY_PATH", artifacts::library_folder())
            // Where nothing is left to write to.
            .env("PCSCLITE_DEBUG", "0")
            .env(name, value);
        let text = run(&mut command, Duration::from_secs(120)).stdout();
        assert_eq!(text, "00000000 8010000A 00000000, 0 taken\n", "{value}");
    }
}
