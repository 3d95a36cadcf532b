//! A program that drives a reader in its own process, and has done with it: no thread and no descriptor is left, and neither
//! mappings nor memory grow, whether it ends its contexts or unloads the library.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use pcsc_tests::{artifacts, atr, run, Simulation};

const LIMIT: Duration = Duration::from_secs(1800);

/// The program of tests/c, built into a folder. It is not linked to a libpcsclite.
fn built(folder: &tempfile::TempDir) -> PathBuf {
    let program = folder.path().join("unload");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/c/unload.c");
    let mut compile = Command::new("cc");
    compile.args([
        "-std=gnu11",
        "-Wall",
        "-Wextra",
        "-g",
        "-I/usr/include/PCSC",
        source,
        "-o",
    ]);
    run(compile.arg(&program).arg("-ldl"), LIMIT).stdout();
    program
}

fn simulated(mut command: Command, loads: u32, rounds: u32) -> Command {
    command
        .arg(artifacts::library())
        .args([loads, rounds].map(|number| number.to_string()))
        .env("PCSCLITE_BACKEND", "simulated")
        .env_remove("PCSCLITE_SIMULATED")
        .env_remove("LD_LIBRARY_PATH");
    command
}

/// Threads, descriptors, mappings and kB, early and at the end.
fn left(mut command: Command) -> [[i64; 4]; 2] {
    let text = run(&mut command, LIMIT).stdout();
    let line = |line: &str| -> [i64; 4] {
        let numbers: Vec<i64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    };
    let lines: Vec<[i64; 4]> = text.lines().map(line).collect();
    lines
        .try_into()
        .unwrap_or_else(|lines| panic!("two lines, not {lines:?}"))
}

fn nothing_is_left([early, end]: [[i64; 4]; 2]) {
    let [threads, descriptors, mappings, size] = end;
    assert_eq!((early[0], threads), (1, 1), "threads");
    assert_eq!(early[1], descriptors, "descriptors");
    assert!(mappings <= early[2] + 4, "{} mappings, then {mappings}", early[2]);
    assert!(size - early[3] < 512, "grew from {} kB to {size} kB", early[3]);
}

#[test]
fn ten_thousand_contexts_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let program = built(&folder);
    nothing_is_left(left(simulated(Command::new(&program), 1, 10_000)));
}

#[test]
fn unloading_the_library_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let program = built(&folder);
    nothing_is_left(left(simulated(Command::new(&program), 400, 2)));

    // Its program may not have seen yet that one context has ended when the next one begins.
    let simulation = Simulation::start_shared(2);
    simulation.reader(0).insert(atr::T1);
    let mut behind_a_socket = simulated(Command::new(&program), 400, 1);
    behind_a_socket.envs(simulation.environment());
    nothing_is_left(left(behind_a_socket));
}

#[test]
fn valgrind_finds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let program = built(&folder);
    let mut checked = Command::new("valgrind");
    checked.args([
        "--error-exitcode=9",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite,indirect,possible",
        "--keep-debuginfo=yes",
    ]);
    checked.arg(&program);
    let output = run(&mut simulated(checked, 20, 2), LIMIT);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("ERROR SUMMARY: 0 errors"),
        "{}{text}",
        String::from_utf8_lossy(&output.stdout)
    );
}
