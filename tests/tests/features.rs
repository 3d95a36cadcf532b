//! Builds without some of the features.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pcsc_tests::{artifacts, run};

const LIMIT: Duration = Duration::from_secs(1800);

fn cargo(arguments: &[&str]) -> String {
    run(artifacts::cargo().args(arguments), LIMIT).stdout()
}

/// The names of the crates that a crate is built from.
fn tree(arguments: &[&str]) -> Vec<String> {
    let common = [
        "tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}",
    ];
    let text = cargo(&[&common[..], arguments].concat());
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

#[track_caller]
fn check_tree(arguments: &[&str], present: &[&str], absent: &[&str]) {
    let crates = tree(arguments);
    let is_there = |name: &&&str| crates.iter().any(|found| found == **name);
    let missing: Vec<_> = present.iter().filter(|name| !is_there(name)).collect();
    let unwanted: Vec<_> = absent.iter().filter(is_there).collect();
    assert!(
        missing.is_empty() && unwanted.is_empty(),
        "no {missing:?}, but {unwanted:?}"
    );
}

#[test]
fn each_backend_depends_only_on_its_own_crates() {
    const DRIVER: [&str; 4] = ["pcsc-ccid", "pcsc-manager", "nusb", "pcsc-sim"];
    let client = |features| {
        [
            "-p",
            "pcsc-client",
            "--no-default-features",
            "--features",
            features,
        ]
    };
    check_tree(&client("daemon"), &["pcsc-wire"], &DRIVER);
    check_tree(&client("daemon"), &["pcsc-wire"], &["libloading"]);
    check_tree(
        &client("standalone"),
        &["pcsc-ccid", "pcsc-manager"],
        &["pcsc-sim"],
    );
    check_tree(&client("sim"), &DRIVER[..2], &[]);
    check_tree(&client("system"), &["libloading"], &DRIVER);
    check_tree(
        &["-p", "pcsc-client"],
        &["pcsc-wire", "pcsc-manager", "pcsc-sim"],
        &[],
    );
    let library = ["-p", "pcsc-sys-shim", "--no-default-features"];
    check_tree(&library, &["pcsc-client", "pcsc-wire"], &DRIVER);
    check_tree(&["-p", "pcsc-ifd-handler"], &["pcsc-ccid"], &["pcsc-sim"]);
}

#[test]
fn each_backend_builds_alone() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("features");
    for features in ["daemon", "standalone", "system", "sim"] {
        let common = ["check", "--locked", "-p", "pcsc-client", "--no-default-features"];
        let own = ["--features", features, "--target-dir", target.to_str().unwrap()];
        cargo(&[&common[..], &own].concat());
    }
}

/// Builds a crate's library for a release, apart from those that other tests build. Returns its path.
fn built(arguments: &[&str], file: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("features");
    let common = ["build", "--release", "--locked", "--lib", "--target-dir"];
    cargo(&[&common[..], &[target.to_str().unwrap()], arguments].concat());
    target.join("release").join(file)
}

/// Whether a library has a symbol of the simulator.
fn has_simulator(file: &Path) -> bool {
    let symbols = run(Command::new("nm").arg(file), LIMIT).stdout();
    assert!(symbols.contains("pcsc_ccid"), "{} has no symbols", file.display());
    symbols.contains("pcsc_sim")
}

/// The size of a library without its symbols, in bytes.
fn stripped_size(file: &Path) -> u64 {
    let stripped = file.with_extension("stripped");
    run(Command::new("strip").arg("-o").args([&stripped, file]), LIMIT).stdout();
    std::fs::metadata(stripped).unwrap().len()
}

/// What the C library may take, in bytes, on x86-64.
const MAX_SIZE: u64 = 1 << 20;
/// The same without the simulator.
const MAX_SIZE_WITHOUT_SIM: u64 = 700 << 10;

#[test]
fn the_library_is_small_and_smaller_without_the_simulator() {
    let check = |features: &[&str], has_sim: bool, limit: u64| {
        let library = built(&[&["-p", "pcsc-sys-shim"], features].concat(), "libpcsclite.so");
        assert_eq!(has_simulator(&library), has_sim, "{features:?}");
        let size = stripped_size(&library);
        println!("{size} bytes of {limit}");
        assert!(
            size < limit || cfg!(not(target_arch = "x86_64")),
            "{size} bytes: {features:?}"
        );
    };
    check(&[], true, MAX_SIZE);
    check(
        &["--no-default-features", "--features", "standalone"],
        false,
        MAX_SIZE_WITHOUT_SIM,
    );
}

#[test]
fn a_driver_without_sim_has_no_simulator() {
    let handler = built(&["-p", "pcsc-ifd-handler"], "libpcsc_ifd_handler.so");
    assert!(!has_simulator(&handler));
}
