//! The library where C's LONG has 32 bits: its unit tests, and C programs on it. Skipped, with the reason,
//! where the machine cannot build for i686 or run what it built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pcsc_tests::{artifacts, atr, run, Pcscd};

const TARGET: &str = "i686-unknown-linux-gnu";
const LIMIT: Duration = Duration::from_secs(1800);

fn tree(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

/// Builds a program of tests/c against `library`, for 32 bits or for the machine.
fn compile(name: &str, library: &Path, bits: &[&str], folder: &Path) -> PathBuf {
    let program = folder.join(format!("{name}{}", bits.concat()));
    let mut command = Command::new("cc");
    // Constants of 64 bits are truncated, which some programs test.
    command
        .args(["-std=gnu11", "-Wall", "-Wno-overflow", "-O1"])
        .args(bits)
        .arg("-I")
        .arg(tree("include"))
        .arg(tree(&format!("tests/c/{name}.c")));
    command.arg("-o").arg(&program).arg(library);
    run(command.args(["-lpthread", "-ldl"]), LIMIT).stdout();
    program
}

/// Why programs for i686 cannot be built and run here; `None` if they can.
fn obstacle() -> Option<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    let folder = run(
        command.args(["--print", "target-libdir", "--target", TARGET]),
        LIMIT,
    );
    let folder = PathBuf::from(String::from_utf8_lossy(&folder.stdout).trim());
    if !folder.is_dir() {
        return Some(format!(
            "there is no standard library: rustup target add {TARGET}"
        ));
    }
    let scratch = tempfile::tempdir().unwrap();
    let (source, program) = (scratch.path().join("empty.c"), scratch.path().join("empty"));
    std::fs::write(
        &source,
        "#include <stdio.h>\nint main(void) { return puts(\"\") < 0; }\n",
    )
    .unwrap();
    let mut command = Command::new("cc");
    let compiled = run(command.arg("-m32").arg(source).arg("-o").arg(&program), LIMIT);
    if !compiled.status.success() {
        return Some("cc -m32 does not work: install gcc-multilib".into());
    }
    let started = Command::new(&program).output();
    if !started.is_ok_and(|output| output.status.success()) {
        return Some("the system does not run 32-bit programs".into());
    }
    None
}

/// Runs cargo for i686, in the folder of this test's builds.
fn cargo(arguments: &[&str]) -> PathBuf {
    let target = artifacts::library();
    let target = target.ancestors().nth(2).expect("a target folder");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(tree(""))
        .args(arguments)
        .args(["--locked", "--target", TARGET, "--target-dir"])
        .arg(target);
    run(&mut command, LIMIT).stdout();
    target.join(TARGET).join("debug")
}

/// The lines for the codes that a specification may define.
fn texts(program: &Path, library_folder: &Path) -> Vec<String> {
    let mut command = Command::new(program);
    command.arg("globals").env("LD_LIBRARY_PATH", library_folder);
    let text = run(&mut command, LIMIT).stdout();
    let is_code = |line: &&str| line.starts_with("pcsc_stringify_error(0x");
    text.lines().filter(is_code).map(str::to_owned).collect()
}

#[test]
fn the_library_works_where_long_has_32_bits() {
    if let Some(obstacle) = obstacle() {
        println!("SKIPPED: {obstacle}");
        eprintln!("i686: SKIPPED: {obstacle}");
        return;
    }
    cargo(&["test", "-p", "pcsc-sys-shim", "-p", "pcsc-process", "--lib"]);
    let library = cargo(&["build", "-p", "pcsc-sys-shim", "--lib"]).join("libpcsclite.so");
    let folder = tempfile::tempdir().unwrap();
    let libraries = folder.path().join("lib");
    std::fs::create_dir(&libraries).unwrap();
    std::os::unix::fs::symlink(&library, libraries.join("libpcsclite.so.1")).unwrap();
    let narrow = |name: &str| compile(name, &library, &["-m32"], folder.path());

    let wide = compile("differential", &artifacts::library(), &[], folder.path());
    let expected = texts(&wide, &artifacts::library_folder());
    assert_eq!(expected.len(), 256);
    assert_eq!(texts(&narrow("differential"), &libraries), expected);

    // A 64-bit daemon, and the readers of the process.
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let (interrupt, soak, unload) = (narrow("interrupt"), narrow("soak"), narrow("unload"));
    let library = library.to_str().unwrap();
    for with_daemon in [true, false] {
        for (program, arguments) in [
            (&soak, &["100"][..]),
            (&unload, &[library, "3", "3"]),
            (&interrupt, &["storm", "2000"]),
            (&interrupt, &["cancel"]),
        ] {
            let mut command = Command::new(program);
            command.args(arguments).env("LD_LIBRARY_PATH", &libraries);
            command.env_remove("PCSCLITE_SIMULATED");
            match with_daemon {
                true => command.env("PCSCLITE_CSOCK_NAME", pcscd.socket()),
                false => command.env("PCSCLITE_BACKEND", "simulated"),
            };
            run(&mut command, LIMIT).stdout();
        }
    }
}
