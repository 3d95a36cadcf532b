//! A program that loads the library at run time, uses a reader, and unloads the library: no thread and no
//! descriptor is left, and neither mappings nor memory grow. The library itself stays mapped (`-z nodelete`,
//! see its build.rs), once.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use pcsc_tests::{artifacts, atr, client, run, Pcscd, Simulation};

const LIMIT: Duration = Duration::from_secs(1800);

/// How many lines of /proc/self/maps the heap and the stacks may add.
const MAPPINGS: i64 = 4;

/// The most segments that a library has.
const MAPPINGS_OF_LIBRARY: i64 = 6;

/// How many kB the process may grow.
const SIZE: i64 = 512;

/// The program of tests/c, built into a folder. It is not linked to a libpcsclite.
fn built(folder: &tempfile::TempDir) -> PathBuf {
    let program = folder.path().join("unload");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/c/unload.c");
    let mut compile = Command::new("cc");
    compile.args(["-std=gnu11", "-Wall", "-Wextra", "-g", "-I/usr/include/PCSC"]);
    compile.args([source, "-pthread", "-o"]);
    run(compile.arg(&program).arg("-ldl"), LIMIT).stdout();
    program
}

/// Adds the program's arguments: it uses `rounds` contexts in each of `loads` loads, in the main thread or in
/// one that ends.
fn with_arguments(mut command: Command, loads: u32, rounds: u32, is_in_thread: bool) -> Command {
    command.arg(artifacts::library());
    command.args([loads, rounds].map(|number| number.to_string()));
    command.args(is_in_thread.then_some("thread"));
    command
}

fn simulated(mut command: Command) -> Command {
    command.env("PCSCLITE_BACKEND", "simulated");
    command
}

/// The resources of a process.
#[derive(Debug)]
struct Usage {
    threads: i64,
    descriptors: i64,
    mappings: i64,
    kilobytes: i64,
    /// Mappings of the library itself.
    library: i64,
}

/// Runs the program. Returns its resources early and at the end.
fn usage(mut command: Command) -> [Usage; 2] {
    let text = run(&mut command, LIMIT).stdout();
    let line = |line: &str| {
        let numbers: Vec<i64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let [threads, descriptors, mappings, kilobytes, library] = numbers[..] else {
            panic!("five numbers, not {line:?}");
        };
        Usage {
            threads,
            descriptors,
            mappings,
            kilobytes,
            library,
        }
    };
    let lines: Vec<Usage> = text.lines().map(line).collect();
    lines.try_into().expect("two lines")
}

/// Checks that nothing is left. Returns the number of mappings of the library at the end.
#[track_caller]
fn nothing_is_left([early, end]: [Usage; 2]) -> i64 {
    let both = format!("early {early:?}, at the end {end:?}");
    assert_eq!((early.threads, end.threads), (1, 1), "{both}");
    assert_eq!(early.descriptors, end.descriptors, "{both}");
    assert!(end.mappings <= early.mappings + MAPPINGS, "{both}");
    assert!(end.kilobytes - early.kilobytes < SIZE, "{both}");
    end.library
}

#[test]
fn ten_thousand_contexts_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let program = simulated(client(built(&folder)));
    nothing_is_left(usage(with_arguments(program, 1, 10_000, false)));
}

/// More than the pthread keys of a process (PTHREAD_KEYS_MAX).
const LOADS: u32 = 1100;

#[test]
fn a_library_that_is_loaded_again_and_again_is_mapped_once() {
    let folder = tempfile::tempdir().unwrap();
    let program = built(&folder);
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let with_daemon = || {
        let mut command = client(&program);
        command.env("PCSCLITE_CSOCK_NAME", pcscd.socket());
        command
    };
    for is_in_thread in [false, true] {
        let in_this_process = simulated(client(&program));
        for command in [in_this_process, with_daemon()] {
            let mapped = nothing_is_left(usage(with_arguments(command, LOADS, 1, is_in_thread)));
            assert!((1..=MAPPINGS_OF_LIBRARY).contains(&mapped), "{mapped}");
        }
    }
}

#[test]
fn readers_in_another_process_are_left_by_each_load() {
    let folder = tempfile::tempdir().unwrap();
    // The process of these readers may notice the end of one context only after the next one has begun.
    let simulation = Simulation::start_shared(2);
    simulation.reader(0).insert(atr::T1);
    let mut behind_a_socket = client(built(&folder));
    behind_a_socket.envs(simulation.environment());
    nothing_is_left(usage(with_arguments(behind_a_socket, 400, 1, true)));
}

#[test]
fn valgrind_finds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let program = built(&folder);
    for is_in_thread in [false, true] {
        let mut checked = client("valgrind");
        checked.args([
            "--error-exitcode=9",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite,indirect,possible",
            "--keep-debuginfo=yes",
        ]);
        checked.arg(&program);
        let output = run(
            &mut with_arguments(simulated(checked), 20, 2, is_in_thread),
            LIMIT,
        );
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && text.contains("ERROR SUMMARY: 0 errors"),
            "{}{text}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}
