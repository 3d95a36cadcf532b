//! Nothing leaks, nothing is accessed wrongly: 10,000 rounds natively and under valgrind, and unloading.

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

#[test]
fn loading_and_unloading_leave_nothing() {
    let pcscd = Pcscd::start(0);
    std::env::set_var("PCSCLITE_CSOCK_NAME", pcscd.socket());
    let library = artifacts::library();
    let size = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() * 4
    };
    let maps = || {
        std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .count()
    };
    let mut early = (0, 0);
    for round in 0..400 {
        // SAFETY: our library has no constructors; the functions have these signatures.
        unsafe {
            let library = libloading::Library::new(&library).unwrap();
            let mut context: std::ffi::c_long = 0;
            type Establish =
                unsafe extern "C" fn(u64, usize, usize, *mut std::ffi::c_long) -> std::ffi::c_long;
            let establish: libloading::Symbol<'_, Establish> =
                library.get(b"SCardEstablishContext\0").unwrap();
            assert_eq!(establish(2, 0, 0, &mut context), 0);
            type Release = unsafe extern "C" fn(std::ffi::c_long) -> std::ffi::c_long;
            let release: libloading::Symbol<'_, Release> = library.get(b"SCardReleaseContext\0").unwrap();
            assert_eq!(release(context), 0);
        }
        if round == 40 {
            early = (size(), maps());
        }
    }
    assert!(
        size() - early.0 < 4096,
        "grew from {} kB to {} kB",
        early.0,
        size()
    );
    assert!(maps() < early.1 + 40, "{} mappings, then {}", early.1, maps());
}
