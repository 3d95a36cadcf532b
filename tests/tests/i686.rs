//! The library where C's LONG has 32 bits: its unit tests, and C programs on it. Skipped, with the reason,
//! where the machine cannot build for i686 or run what it built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pcsc_tests::target::Target;
use pcsc_tests::{artifacts, atr, run, Pcscd};

const TARGET: Target = Target::I686;
const LIMIT: Duration = Duration::from_secs(1800);

fn tree(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

/// Builds a program of tests/c against `library`, for 32 bits or for the machine.
fn compile(name: &str, library: &Path, mut command: Command, folder: &Path) -> PathBuf {
    let program = folder.join(format!("{name}-{}", command.get_args().count()));
    // Constants of 64 bits are truncated, which some programs test.
    command
        .args(["-std=gnu11", "-Wall", "-Wno-overflow", "-O1"])
        .arg("-I")
        .arg(tree("include"))
        .arg(tree(&format!("tests/c/{name}.c")));
    command.arg("-o").arg(&program).arg(library);
    run(command.args(["-lpthread", "-ldl"]), LIMIT).stdout();
    program
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
    if let Some(obstacle) = TARGET.obstacle() {
        println!("SKIPPED: {obstacle}");
        eprintln!("i686: SKIPPED: {obstacle}");
        return;
    }
    TARGET.cargo(&["test", "-p", "pcsc-sys-shim", "-p", "pcsc-process", "--lib"]);
    let library = TARGET
        .cargo(&["build", "-p", "pcsc-sys-shim", "--lib"])
        .join("libpcsclite.so");
    let folder = tempfile::tempdir().unwrap();
    let libraries = folder.path().join("lib");
    std::fs::create_dir(&libraries).unwrap();
    std::os::unix::fs::symlink(&library, libraries.join("libpcsclite.so.1")).unwrap();
    let narrow = |name: &str| compile(name, &library, TARGET.cc(), folder.path());

    let wide = compile(
        "differential",
        &artifacts::library(),
        Command::new("cc"),
        folder.path(),
    );
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
