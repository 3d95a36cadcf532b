//! No leaks and no invalid accesses: 10,000 rounds natively and under valgrind.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use pcsc_tests::{artifacts, atr, run, Pcscd};

const LIMIT: Duration = Duration::from_secs(1800);

/// A C program of tests/c, built into a folder.
fn built(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    let program = folder.path().join(name);
    let source = format!("{}/c/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let mut compile = Command::new("cc");
    compile
        .args(["-std=gnu11", "-Wall", "-g", "-I/usr/include/PCSC", &source, "-o"])
        .arg(&program)
        .arg("-lpcsclite");
    run(&mut compile, LIMIT).stdout();
    program
}

#[test]
fn ten_thousand_rounds_leave_nothing() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let folder = tempfile::tempdir().unwrap();
    let soak = built(&folder, "soak");
    let on_ours = |mut command: Command| {
        command
            .env("LD_LIBRARY_PATH", artifacts::library_folder())
            .env("PCSCLITE_CSOCK_NAME", pcscd.socket());
        run(&mut command, LIMIT)
    };

    let mut native = Command::new(&soak);
    native.arg("10000");
    let text = on_ours(native).stdout();
    let numbers: Vec<i64> = text
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    let [early_descriptors, early_size, descriptors, size] = numbers[..] else {
        panic!("{text}")
    };
    assert_eq!(early_descriptors, descriptors);
    assert!(size - early_size < 256, "grew from {early_size} kB to {size} kB");

    let mut checked = Command::new("valgrind");
    checked.args([
        "--error-exitcode=9",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite,indirect",
    ]);
    checked.arg(&soak).arg("10000");
    let output = on_ours(checked);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && text.contains("ERROR SUMMARY: 0 errors"),
        "{text}"
    );
}
