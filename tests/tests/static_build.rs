//! Programs without a C library of smart cards, and static ones: with pcscd, and on the simulated reader that
//! they carry.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pcsc_tests::{artifacts, atr, run, Pcscd};

const LIMIT: Duration = Duration::from_secs(1800);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Cargo's target folder, where other tests have built what these programs share with theirs.
fn target_folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

/// Builds something of the workspace for a target. Returns the folder of what was built.
fn build(target: &str, what: &[&str], environment: &[(&str, &str)]) -> PathBuf {
    let mut build = artifacts::cargo();
    build.envs(environment.iter().copied());
    build.args(["build", "--locked", "--target", target, "--target-dir"]);
    run(build.arg(target_folder()).args(what), LIMIT).stdout();
    target_folder().join(target).join("debug")
}

fn greets(program: &Path) {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let mut command = Command::new(program);
    command
        .env("PCSCLITE_CSOCK_NAME", pcscd.socket())
        .env_remove("LD_LIBRARY_PATH");
    assert!(run(&mut command, LIMIT).stdout().contains("Hello world!"));

    let mut command = Command::new(program);
    command
        .env("PCSCLITE_BACKEND", "simulated")
        .env("PCSCLITE_CSOCK_NAME", "/nonexistent")
        .env_remove("LD_LIBRARY_PATH");
    assert!(run(&mut command, LIMIT).stdout().contains("Hello world!"));
}

fn needs(program: &Path) -> String {
    run(Command::new("readelf").arg("-dl").arg(program), LIMIT).stdout()
}

#[test]
fn a_rust_program_needs_no_c_library_but_the_systems() {
    let program = artifacts::binary("pcsc-examples", "hello");
    let needed = needs(&program);
    assert!(needed.contains("libc.so") && !needed.contains("pcsc"), "{needed}");
    greets(&program);
}

#[test]
fn a_static_rust_program_runs() {
    let target = "x86_64-unknown-linux-gnu";
    let host = run(Command::new("rustc").arg("-vV"), LIMIT).stdout();
    if !host.contains(target) {
        println!("SKIPPED: the static program is built on {target} only, this is another host");
        return;
    }
    let flags = [("RUSTFLAGS", "-C target-feature=+crt-static")];
    let program = build(target, &["-p", "pcsc-examples", "--bin", "hello"], &flags).join("hello");
    let needed = needs(&program);
    assert!(
        !needed.contains("NEEDED") && !needed.contains("INTERP"),
        "{needed}"
    );
    greets(&program);
}

#[test]
fn a_c_program_links_the_static_library() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("hello");
    let mut compile = Command::new("cc");
    compile
        .arg("-I")
        .arg(root().join("include"))
        .arg(root().join("examples/c/hello.c"));
    compile
        .arg(artifacts::library().with_file_name("libpcsclite.a"))
        .args(["-lpthread", "-ldl", "-lm", "-o"]);
    run(compile.arg(&program), LIMIT).stdout();
    assert!(!needs(&program).contains("pcsclite"));
    greets(&program);
}

fn is_installed(target: &str) -> bool {
    let mut query = Command::new("rustc");
    query.args(["--print", "target-libdir", "--target", target]);
    let libraries = run(&mut query, LIMIT).stdout();
    Path::new(libraries.trim()).exists()
}

const MUSL: &str = "x86_64-unknown-linux-musl";

/// Builds a program for musl; `None` where the target is not installed.
fn musl(package: &str, program: &str) -> Option<PathBuf> {
    if !is_installed(MUSL) {
        println!("SKIPPED: no musl program is built: rustup target add {MUSL}");
        return None;
    }
    let program = build(MUSL, &["-p", package, "--bin", program], &[]).join(program);
    assert!(!needs(&program).contains("NEEDED"));
    Some(program)
}

#[test]
fn a_musl_program_runs() {
    if let Some(program) = musl("pcsc-examples", "hello") {
        greets(&program);
    }
}

/// A program that musl's own loader starts, with the library as a distribution with musl has it.
#[test]
fn a_musl_program_loads_the_shared_library() {
    if !is_installed(MUSL) {
        println!("SKIPPED: no library for musl is built: rustup target add {MUSL}");
        return;
    }
    if Command::new("musl-gcc").arg("--version").output().is_err() {
        println!("SKIPPED: no library for musl is built: there is no musl-gcc (package musl-tools)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Of a distribution for another C library, libgcc_s needs that one: Rust's own unwinder takes its place.
    let mut query = Command::new("rustc");
    query.args(["--print", "target-libdir", "--target", MUSL]);
    let libraries = run(&mut query, LIMIT).stdout();
    let unwinder = Path::new(libraries.trim()).join("self-contained/libunwind.a");
    // Its path is one of the compiler's options: if it changed, all would be built anew.
    let links = Path::new(env!("CARGO_TARGET_TMPDIR")).join("musl");
    std::fs::create_dir_all(&links).unwrap();
    let link = links.join("libgcc_s.a");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(unwinder, link).unwrap();
    let flags = format!("-C target-feature=-crt-static -L native={}", links.display());
    let environment = [
        ("CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER", "musl-gcc"),
        ("RUSTFLAGS", &flags),
    ];
    let library = build(MUSL, &["-p", "pcsc-sys-shim"], &environment).join("libpcsclite.so");
    let needed = needs(&library);
    assert!(
        needed.contains("[libc.so]") && !needed.contains("libgcc_s"),
        "{needed}"
    );
    assert!(needed.contains("Library soname: [libpcsclite.so.1]"), "{needed}");
    std::fs::copy(library, folder.path().join("libpcsclite.so.1")).unwrap();
    let program = folder.path().join("hello");
    let mut compile = Command::new("musl-gcc");
    compile.arg("-I").arg(root().join("include"));
    compile.arg(root().join("examples/c/hello.c"));
    compile.arg(folder.path().join("libpcsclite.so.1"));
    compile.arg(format!("-Wl,-rpath,{}", folder.path().display()));
    run(compile.arg("-o").arg(&program), LIMIT).stdout();
    let needed = needs(&program);
    assert!(
        needed.contains("ld-musl") && needed.contains("libpcsclite.so.1"),
        "{needed}"
    );
    greets(&program);
}

#[test]
fn the_command_pcsc_is_one_static_file() {
    let Some(program) = musl("pcsc-cli", "pcsc") else {
        return;
    };
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    for backend in ["daemon", "simulated"] {
        let mut command = Command::new(&program);
        command
            .args([
                "apdu",
                "--backend",
                backend,
                "a40400:a00000006203010c0601=",
                "00=",
            ])
            .env("PCSCLITE_CSOCK_NAME", pcscd.socket());
        let text = run(&mut command, LIMIT).stdout();
        assert!(text.contains("Hello world!"), "{text}");
    }
}
