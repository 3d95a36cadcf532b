//! The examples of the published `pcsc` crate, compiled against ours by a changed dependency line, and run
//! with pcscd, without it, and with
//! Debian's library or ours in the part of the system's library.

use std::process::{Command, Stdio};
use std::time::Duration;

use pcsc_tests::{artifacts, atr, published, run, stock, Live, Pcscd, Reader, Simulation};

const LIMIT: Duration = Duration::from_secs(1800);

#[test]
fn they_compile_and_run_without_a_c_library() {
    let folder = tempfile::tempdir().unwrap();
    let crate_folder = published::examples(folder.path());
    let target = crate_folder.join("target");
    let mut build = artifacts::cargo();
    build.current_dir(&crate_folder);
    build.args(["build", "--bins", "--target-dir"]).arg(&target);
    run(&mut build, LIMIT).stdout();

    let programs = target.join("debug");
    let needed = run(Command::new("ldd").arg(programs.join("connect")), LIMIT).stdout();
    assert!(!needed.contains("pcsclite"), "{needed}");

    let pcscd = Pcscd::start(1);
    let with_pcscd = |name: &str| {
        let mut command = Command::new(programs.join(name));
        command.env("PCSCLITE_CSOCK_NAME", pcscd.socket());
        (command, (), pcscd.reader(0))
    };
    pcscd.reader(0).insert(atr::T1);
    they_run(with_pcscd);
    for library in [stock::library(), artifacts::library()] {
        pcscd.reader(0).insert(atr::T1);
        they_run(|name| {
            let (mut command, (), reader) = with_pcscd(name);
            // Our library, too, reads that the system's library is wanted. It does not load itself.
            command
                .env("PCSCLITE_BACKEND", "system")
                .env("PCSCLITE_SYSTEM_LIBRARY", &library);
            (command, (), reader)
        });
    }
    // Created for each process, since only one process can use a reader.
    they_run(|name| {
        let simulation = Simulation::start(1);
        simulation.reader(0).insert(atr::T1);
        let mut command = Command::new(programs.join(name));
        command.envs(simulation.environment());
        let reader = simulation.reader(0);
        (command, simulation, reader)
    });
}

/// Runs them all. `program` returns the command, values to keep while it runs, and the reader.
fn they_run<Kept>(program: impl Fn(&str) -> (Command, Kept, Reader)) {
    for (name, expected) in [
        ("list-readers", "pcsc-tests 00 00"),
        ("list-readers-owned", "pcsc-tests 00 00"),
        ("connect", "pcsc-tests 00 00"),
        ("connect-owned", "pcsc-tests 00 00"),
        ("readme", "APDU response"),
    ] {
        let (mut command, _kept, _) = program(name);
        let text = run(&mut command, LIMIT).stdout();
        assert!(text.contains(expected), "{name}:\n{text}");
    }

    // Ends its wait at a line of input.
    let (mut command, _kept, _) = program("cancel");
    command.stdin(Stdio::piped());
    let mut cancel = Live::start(command);
    cancel.until("press Enter");
    cancel.tell("\n");
    cancel.until("Blocking call canceled");
    assert!(cancel.end().success());

    // Runs until it is ended.
    let (command, _kept, reader) = program("monitor");
    let mut monitor = Live::start(command);
    monitor.until("PRESENT");
    reader.remove();
    monitor.until("EMPTY");
}
