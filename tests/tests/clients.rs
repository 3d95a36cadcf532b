//! Programs that nobody here wrote, unmodified, on our library against a real pcscd: what they print is what they
//! print on Debian's library, and each is seen to have loaded our file.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use pcsc_tests::{artifacts, atr, run, Pcscd};

const LIMIT: Duration = Duration::from_secs(60);
const SELECT: &str = "00 A4 04 00 0A A0 00 00 00 62 03 01 0C 06 01";

/// A command on our library.
fn on_ours(mut command: Command, pcscd: &Pcscd) -> Command {
    command
        .env("LD_LIBRARY_PATH", artifacts::library_folder())
        .env("PCSCLITE_CSOCK_NAME", pcscd.socket());
    command
}

/// A command on Debian's library.
fn on_stock(mut command: Command, pcscd: &Pcscd) -> Command {
    command
        .env_remove("LD_LIBRARY_PATH")
        .env("PCSCLITE_CSOCK_NAME", pcscd.socket());
    command
}

/// The libpcsclite that a process has mapped; the only one.
fn loaded(pid: u32) -> Option<PathBuf> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut files: Vec<&str> = maps
        .lines()
        .filter(|line| line.contains("libpcsclite"))
        .filter_map(|line| line.find('/').map(|at| &line[at..]))
        .collect();
    files.dedup();
    assert!(files.len() <= 1, "{files:?}");
    files.first().map(PathBuf::from)
}

/// Our library under the name that programs look for.
fn our_name() -> PathBuf {
    artifacts::library_folder().join("libpcsclite.so.1")
}

fn our_file() -> PathBuf {
    artifacts::library().canonicalize().unwrap()
}

/// Runs a program that lives long enough to be looked at until it has loaded a library; gives which.
fn loads(command: &mut Command) -> PathBuf {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + LIMIT;
    let file = loop {
        if let Some(file) = loaded(child.id()) {
            break file;
        }
        assert!(
            child.try_wait().unwrap().is_none(),
            "{command:?} ended without a libpcsclite"
        );
        assert!(Instant::now() < deadline, "{command:?} loads no libpcsclite");
        std::thread::yield_now();
    };
    child.kill().unwrap();
    child.wait().unwrap();
    file
}

fn is_there(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(program).exists());
    assert!(found, "{program} is not installed: run scripts/setup");
    found
}

/// Runs a program on both libraries; demands the same, and gives it.
fn same(pcscd: &Pcscd, command: impl Fn() -> Command) -> String {
    let texts = [on_stock(command(), pcscd), on_ours(command(), pcscd)].map(|mut command| {
        let output = run(&mut command, LIMIT);
        assert!(!output.timed_out, "{command:?}");
        let text = [output.stdout, output.stderr].concat();
        format!("{:?}\n{}", output.status.code(), String::from_utf8_lossy(&text))
    });
    assert_eq!(texts[0], texts[1], "stock and ours differ");
    texts.into_iter().next_back().unwrap()
}

#[test]
fn opensc_tool() {
    is_there("opensc-tool");
    let pcscd = Pcscd::start(2);
    let tool = |arguments: &'static [&'static str]| {
        move || {
            let mut command = Command::new("opensc-tool");
            command.args(arguments);
            command
        }
    };
    assert!(same(&pcscd, tool(&["--list-readers"])).contains("pcsc-tests 00 00"));
    pcscd.reader(0).insert(atr::T1);
    assert!(same(&pcscd, tool(&["--list-readers"])).contains("Yes"));
    same(&pcscd, tool(&["--reader", "0", "--atr"]));
    let sent = same(
        &pcscd,
        tool(&[
            "--reader",
            "0",
            "-s",
            "00A404000AA00000006203010C0601",
            "-s",
            "00000000",
        ]),
    );
    assert!(sent.contains("Hello world!"), "{sent}");
    same(&pcscd, tool(&["--reader", "1", "--atr"]));
    same(&pcscd, tool(&["--reader", "9", "--atr"]));
    pcscd.reader(0).mute(true);
    pcscd.reader(0).remove();
    pcscd.reader(0).insert(atr::T1);
    same(&pcscd, tool(&["--reader", "0", "--atr"]));

    let mut waiting = on_ours(Command::new("opensc-tool"), &pcscd);
    waiting.args(["--wait", "--reader", "1", "--atr"]);
    assert_eq!(loads(&mut waiting), our_file());
}

/// A child whose output is read line by line; killed when dropped.
struct Live {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Live {
    fn start(mut command: Command) -> Live {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .all(|line| sender.send(line).is_ok())
        });
        Live { child, lines }
    }

    /// The first line that has `text`.
    fn until(&self, text: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        let mut seen = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("no {text:?} in:\n{seen}"));
            if line.contains(text) {
                return line;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn pcsc_scan_sees_cards_come_and_go() {
    is_there("pcsc_scan");
    let pcscd = Pcscd::start(2);
    let mut command = on_ours(Command::new("stdbuf"), &pcscd);
    command.args(["-oL", "pcsc_scan", "-n"]);
    let scan = Live::start(command);
    scan.until("Reader 1: pcsc-tests 01 00");
    assert_eq!(loaded(scan.child.id()).unwrap(), our_file());
    for _ in 0..3 {
        pcscd.reader(1).insert(atr::T1);
        scan.until("Reader 1: pcsc-tests 01 00");
        scan.until("Card inserted");
        scan.until("ATR:");
        pcscd.reader(1).remove();
        scan.until("Card removed");
    }
}

#[test]
fn scriptor_in_perl() {
    is_there("scriptor");
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, format!("reset\n{SELECT}\n00 00 00 00\n80 E0 00 10\n")).unwrap();
    let text = same(&pcscd, || {
        let mut command = Command::new("scriptor");
        command.args(["-r", "pcsc-tests 00 00"]).arg(&script);
        command
    });
    assert!(text.contains("48 65 6C 6C 6F"), "{text}");
    let mut waiting = on_ours(Command::new("scriptor"), &pcscd);
    waiting.args(["-r", "pcsc-tests 00 00"]);
    assert_eq!(loads(&mut waiting), our_file());
}

/// Debian's Python, which has Debian's pyscard.
const PYTHON: &str = "/usr/bin/python3";

fn python(script: &Path) -> Command {
    let mut command = Command::new(PYTHON);
    command
        .arg(script)
        .env_remove("PYTHONPATH")
        .env_remove("PYTHONHOME");
    command
}

#[test]
fn pyscard() {
    assert!(
        Path::new(PYTHON).exists(),
        "python3 is not installed: run scripts/setup"
    );
    let pcscd = Pcscd::start(2);
    pcscd.reader(0).insert(atr::T1);
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/python/client.py"));
    let text = same(&pcscd, || python(script));
    assert!(
        text.starts_with("Some(0)") && text.contains("Hello world!"),
        "{text}"
    );

    // It says which library it has, and sees a card inserted while it waits.
    let mut command = on_ours(python(script), &pcscd);
    command.arg("monitor").env("PYTHONUNBUFFERED", "1");
    let live = Live::start(command);
    live.until("ready");
    assert_eq!(loaded(live.child.id()).unwrap(), our_file());
    live.until("added 3B");
    pcscd.reader(0).remove();
    live.until("removed 3B");
    pcscd.reader(1).insert(atr::T0);
    live.until("added 3B");
}

#[test]
fn java_smartcardio() {
    is_there("java");
    is_there("javac");
    let pcscd = Pcscd::start(2);
    pcscd.reader(0).insert(atr::T1);
    let classes = tempfile::tempdir().unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/java/Client.java");
    let mut compile = Command::new("javac");
    compile.arg("-d").arg(classes.path()).arg(source);
    run(&mut compile, LIMIT).stdout();
    let java = |library: &Path| {
        let mut command = Command::new("java");
        command.arg(format!(
            "-Dsun.security.smartcardio.library={}",
            library.display()
        ));
        command
            .arg("-cp")
            .arg(classes.path())
            .arg("Client")
            .env("PCSCLITE_CSOCK_NAME", pcscd.socket());
        // Debian's Java is linked against the library as well.
        command.env("LD_LIBRARY_PATH", library.parent().unwrap());
        command
    };
    let stock = run(&mut java(&pcsc_tests::stock::library()), LIMIT).stdout();
    let ours = run(&mut java(&our_name()), LIMIT).stdout();
    assert_eq!(stock, ours);
    assert!(ours.contains("Hello world!"), "{ours}");

    let mut command = java(&our_name());
    command.arg("monitor");
    let live = Live::start(command);
    live.until("ready");
    assert_eq!(loaded(live.child.id()).unwrap(), our_file());
    pcscd.reader(1).insert(atr::T0);
    live.until("present pcsc-tests 01 00");
    pcscd.reader(1).remove();
    live.until("absent pcsc-tests 01 00");
}
