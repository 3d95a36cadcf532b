//! Interrupted calls: by a signal whose handler calls SCardCancel, and by pthread_cancel. On each backend.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use pcsc_tests::{artifacts, atr, c_program, run, Pcscd, Simulation};

/// Generous: a deadlock would last forever.
const LIMIT: Duration = Duration::from_secs(300);

/// The program of tests/c, built once.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROGRAM.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = c_program(folder.path(), "interrupt");
        (folder, path)
    });
    path
}

/// Runs a mode of the program on our library, on each backend, with this variable. The program prints errors.
/// Returns how many signals were handled.
fn on_each_backend(mode: &[&str], variable: Option<(&str, &str)>) -> usize {
    let mut handled = 0;
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let with_daemon = vec![(
        "PCSCLITE_CSOCK_NAME",
        pcscd.socket().to_string_lossy().into_owned(),
    )];
    let simulation = Simulation::start(1);
    simulation.reader(0).insert(atr::T1);
    let bundled = vec![("PCSCLITE_BACKEND", "simulated".to_owned())];

    for (backend, environment) in [
        ("daemon", with_daemon),
        ("standalone", simulation.environment().to_vec()),
        ("simulated", bundled),
    ] {
        let mut command = Command::new(program());
        command.args(mode).env_remove("PCSCLITE_SIMULATED");
        command.env("LD_LIBRARY_PATH", artifacts::library_folder());
        let output = run(command.envs(environment).envs(variable), LIMIT);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && !output.timed_out,
            "{mode:?} on the {backend} backend: {}, {}\n{text}{}",
            output.status,
            if output.timed_out { "hung" } else { "ended" },
            String::from_utf8_lossy(&output.stderr)
        );
        print!("{backend}: {text}");
        let signals = text
            .split_once(" of ")
            .filter(|(_, rest)| rest.contains("signals handled"));
        handled += signals.map_or(0, |(count, _)| count.parse::<usize>().unwrap());
    }
    handled
}

#[test]
fn a_signal_handler_may_cancel_during_any_call() {
    on_each_backend(&["storm", "10000"], None);
}

#[test]
fn calls_are_recorded_that_signals_and_pthread_cancel_interrupt() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    let variable = Some(("PCSCLITE_SPY", record.to_str().unwrap()));
    // Signals that come at the same time are one.
    let handled = on_each_backend(&["storm", "2000"], variable);
    assert!(handled > 0);
    on_each_backend(&["cancel"], variable);
    let text = std::fs::read_to_string(&record).unwrap();
    let is_cancel = |line: &&str| line.contains(r#""function":"SCardCancel","arguments""#);
    let cancels = text.lines().filter(is_cancel).count();
    assert!(cancels >= handled, "{cancels} cancels of {handled} are recorded");
    for line in text.lines() {
        assert!(line.starts_with("{\"event\"") && line.ends_with("}"), "{line}");
    }
}

#[test]
fn a_cancelled_thread_ends_in_a_wait_only_and_leaves_its_context_usable() {
    on_each_backend(&["cancel"], None);
}
