//! Programs for Windows, on a winscard.dll with a simulated reader (`tests/winscard`), under Wine: ours, the
//! published examples of crate `pcsc`, and one in C.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pcsc_tests::{artifacts, published, run, Live};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(1800);
const TARGET: &str = "x86_64-pc-windows-gnu";
const GCC: &str = "x86_64-w64-mingw32-gcc";
const READER: &str = "pcsc-rs Simulated Reader 00 00";

/// A folder that is Wine's Windows to the programs of one test.
struct Windows {
    folder: TempDir,
    wine: PathBuf,
}

impl Windows {
    /// Wine's own configuration, and the test's libraries in the system's folder.
    fn new(wine: PathBuf, winscard: &Path) -> Windows {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let windows = Windows { folder, wine };
        run(windows.command("wineboot").arg("--init"), LIMIT).stdout();
        let system = windows.folder.path().join("prefix/drive_c/windows/system32");
        fs::remove_file(system.join("winscard.dll")).unwrap();
        fs::copy(winscard, system.join("winscard.dll")).unwrap();
        // For Rust's standard library; Wine has it since 8.4.
        if !system.join("bcryptprimitives.dll").exists() {
            let source = c_source("bcryptprimitives.c");
            compile(
                &["-shared"],
                &source,
                "advapi32",
                &system.join("bcryptprimitives.dll"),
            );
        }
        windows
    }

    /// A program, with a command line of its own.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(&self.wine);
        command
            .arg(program)
            .env("WINEPREFIX", self.folder.path().join("prefix"))
            .env("HOME", self.folder.path())
            .env("WINEDEBUG", "-all")
            // The test's winscard.dll instead of Wine's; neither .NET nor a browser, which Wine would fetch.
            .env("WINEDLLOVERRIDES", "winscard=n;mscoree,mshtml=")
            .env_remove("DISPLAY")
            .env_remove("PCSCLITE_BACKEND")
            .env_remove("PCSCLITE_CSOCK_NAME")
            .env_remove("PCSCLITE_SIMULATED")
            .env_remove("PCSCLITE_SYSTEM_LIBRARY");
        command
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        // Ends the processes of this prefix alone. Without a server there are none.
        let server = self.wine.with_file_name("wineserver64");
        let _ = Command::new(server)
            .arg("-k")
            .env("WINEPREFIX", self.folder.path().join("prefix"))
            .status();
    }
}

fn c_source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("c").join(name)
}

fn compile(options: &[&str], source: &Path, library: &str, to: &Path) {
    let mut gcc = Command::new(GCC);
    gcc.args(["-Wall", "-Wextra", "-Werror"]).args(options);
    gcc.arg(source).arg(format!("-l{library}")).arg("-o").arg(to);
    run(&mut gcc, LIMIT).stdout();
}

fn cargo(folder: &Path, arguments: &[&str], target: &Path) {
    let mut command = artifacts::cargo();
    command.current_dir(folder).arg("build").args(arguments);
    command.args(["--target", TARGET, "--target-dir"]).arg(target);
    run(&mut command, LIMIT).stdout();
}

/// Wine, if this machine can build programs for Windows and run them.
fn wine() -> Result<PathBuf, String> {
    let wine = ["/usr/lib/wine/wine64", "/usr/lib/wine-stable/wine64"].map(PathBuf::from);
    let wine = wine.into_iter().find(|path| path.exists());
    let wine = wine.ok_or("there is no wine64 (apt-get install wine64)")?;
    if Command::new(GCC).arg("--version").output().is_err() {
        return Err(format!(
            "there is no {GCC} (apt-get install {}-win32)",
            "gcc-mingw-w64-x86-64"
        ));
    }
    let mut query = Command::new("rustc");
    query.args(["--print", "target-libdir", "--target", TARGET]);
    if !Path::new(run(&mut query, LIMIT).stdout().trim()).exists() {
        return Err(format!(
            "Rust's standard library is not there (rustup target add {TARGET})"
        ));
    }
    Ok(wine)
}

#[test]
fn programs_for_windows_run() {
    let wine = match wine() {
        Ok(wine) => wine,
        Err(reason) => return println!("SKIPPED: no program for Windows is run: {reason}"),
    };
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let ours = [
        "--locked",
        "-p",
        "pcsc-test-winscard",
        "-p",
        "pcsc-examples",
        "--bin",
        "hello",
        "--lib",
    ];
    cargo(root, &ours, target);
    let folder = tempfile::tempdir().unwrap();
    cargo(&published::examples(folder.path()), &["--bins"], target);

    let programs = target.join(TARGET).join("debug");
    let windows = Windows::new(wine, &programs.join("winscard.dll"));
    let program = |name: &str| windows.command(programs.join(name).with_extension("exe"));
    our_example_greets(&programs, &mut || program("hello"));
    the_published_examples_run(&program);
    a_c_program_meets_windows_numbers(&windows);
}

fn our_example_greets(programs: &Path, hello: &mut dyn FnMut() -> Command) {
    let text = run(&mut hello(), LIMIT).stdout();
    assert!(text.contains("Using the PC/SC library winscard.dll."), "{text}");
    assert!(text.contains(&format!("{READER}: Hello world!")), "{text}");

    // A path that is relative to the current folder.
    let mut relative = hello();
    relative.current_dir(programs).env("PCSCLITE_BACKEND", "system");
    let text = run(relative.env("PCSCLITE_SYSTEM_LIBRARY", r".\winscard.dll"), LIMIT).stdout();
    assert!(
        text.contains(r"Using the PC/SC library .\winscard.dll."),
        "{text}"
    );

    // A library that is not there is named with what Windows says of it.
    let mut missing = hello();
    missing.env("PCSCLITE_BACKEND", "system");
    let missing = run(
        missing.env("PCSCLITE_SYSTEM_LIBRARY", r"C:\nowhere\winscard.dll"),
        LIMIT,
    );
    let text = String::from_utf8_lossy(&missing.stderr);
    assert_eq!(missing.status.code(), Some(1), "{text}");
    assert!(
        text.contains(r"C:\nowhere\winscard.dll cannot be used: LoadLibraryExW failed: "),
        "{text}"
    );

    // Without a library of the system there are the simulated readers.
    let mut simulated = hello();
    let text = run(simulated.env("PCSCLITE_BACKEND", "simulated"), LIMIT).stdout();
    assert!(
        text.contains("Using simulated readers") && text.contains("Hello world!"),
        "{text}"
    );
}

fn the_published_examples_run(program: &dyn Fn(&str) -> Command) {
    for (name, expected) in [
        ("list-readers", READER),
        ("list-readers-owned", READER),
        ("connect", READER),
        ("connect-owned", READER),
        ("readme", "APDU response"),
    ] {
        let text = run(&mut program(name), LIMIT).stdout();
        assert!(text.contains(expected), "{name}:\n{text}");
    }

    // Ends its wait at a line of input.
    let mut cancel = program("cancel");
    cancel.stdin(Stdio::piped());
    let mut cancel = Live::start(cancel);
    cancel.until("press Enter");
    cancel.tell("\n");
    cancel.until("Blocking call canceled");
    assert!(cancel.end().success());

    // Runs until it is ended.
    let mut monitor = Live::start(program("monitor"));
    let state = monitor.until("PRESENT");
    assert!(state.contains(READER), "{state}");
}

fn a_c_program_meets_windows_numbers(windows: &Windows) {
    let program = windows.folder.path().join("winscard.exe");
    compile(&[], &c_source("winscard.c"), "winscard", &program);
    let text = run(&mut windows.command(&program), LIMIT).stdout();
    let expected = "establish 00000000\n\
                    a handle of 64 bits: 1\n\
                    list 00000000\n\
                    state 00000000\n\
                    22, ATR of 18 bytes\n\
                    connect 00000000\n\
                    status 00000000\n\
                    state 5, the reader's name is the same: 1\n\
                    transmit 00000000\n\
                    2 bytes: 9000\n\
                    features 00000000\n\
                    another function 80100022\n\
                    disconnect 00000000\n\
                    disconnect again 80100003\n\
                    release 00000000\n";
    pcsc_tests::assert_same(
        "the C program",
        ("expected", expected),
        ("printed", &text.replace('\r', "")),
    );
}
