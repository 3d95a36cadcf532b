//! The program on a big-endian machine, under QEMU, with our library there, and with the little-endian pcscd
//! here, as behind a forwarded socket. Debian's library does not get through to it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use pcsc_tests::target::Target;
use pcsc_tests::{atr, run, Pcscd};

use super::{compare_lines, lines, Library, DIFFERENCES, LIMIT, SOURCE};

const TARGET: Target = Target::S390X;

struct Built {
    folder: tempfile::TempDir,
    hello: PathBuf,
}

/// The library and the programs for that machine. `None` if they cannot be built or run here, which is
/// reported.
fn built() -> Option<&'static Built> {
    static BUILT: OnceLock<Option<Built>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        if let Some(obstacle) = TARGET.obstacle() {
            eprintln!("big-endian: SKIPPED: {obstacle}");
            return None;
        }
        let output = TARGET.cargo(&[
            "build",
            "-p",
            "pcsc-sys-shim",
            "-p",
            "pcsc-examples",
            "--lib",
            "--bin",
            "hello",
        ]);
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libpcsclite.so.1");
        std::os::unix::fs::symlink(output.join("libpcsclite.so"), &library).unwrap();
        let mut compile = TARGET.cc();
        compile.args(["-std=gnu11", "-O1", "-I/usr/include/PCSC", SOURCE, "-o"]);
        compile.arg(folder.path().join("differential")).arg(library);
        run(compile.arg("-lpthread"), LIMIT).stdout();
        Some(Built {
            folder,
            hello: output.join("hello"),
        })
    });
    if built.is_none() {
        println!("SKIPPED");
    }
    built.as_ref()
}

/// The program on that machine.
pub fn program() -> Command {
    let folder = built().expect("only where it can be built").folder.path();
    let mut command = TARGET.command(&folder.join("differential"));
    command.env("LD_LIBRARY_PATH", folder);
    command
}

macro_rules! parts {
    ($($part:ident)+) => { $(
        #[test]
        fn $part() {
            if built().is_some() {
                let part = stringify!($part);
                let stock = lines(part, Library::Stock, &[]);
                let ours = lines(part, Library::OursBigEndian, &[]);
                compare_lines(part, &stock, &ours, DIFFERENCES, &[]);
            }
        }
    )+ };
}

parts! {
    contexts lists connect status transmit control attributes change cards
}

#[test]
fn hello() {
    let Some(built) = built() else { return };
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let mut command = TARGET.command(&built.hello);
    command.env("PCSCLITE_CSOCK_NAME", pcscd.socket());
    let greeting = run(&mut command, LIMIT).stdout();
    assert!(greeting.contains("Hello world!"), "{greeting}");
}
