//! Every system call that a client makes fails once. Each call of the client then returns a code, and the
//! process ends by itself.

use std::process::{Command, Stdio};
use std::time::Duration;

use pcsc_tests::scripted::{Script, Scripted};
use pcsc_tests::{artifacts, run, Output};

const SCRIPT: &str = "establish\n\
    list\n\
    watch 20 20 Scripted 00\n\
    connect 2 3 Scripted 00\n\
    begin\n\
    transmit 00A4040000\n\
    status\n\
    attribute 90303\n\
    end 0\n\
    disconnect 0\n\
    release\n";

/// How each of the system calls fails. Others are the program's own: it reads commands and writes answers.
const FAILURES: &[(&str, &[&str])] = &[
    ("socket", &["EMFILE", "EAFNOSUPPORT"]),
    ("setsockopt", &["EPERM"]),
    ("connect", &["ECONNREFUSED", "EINTR", "EACCES"]),
    ("socketpair", &["EMFILE"]),
    ("fstat", &["EOVERFLOW"]),
    ("sendto", &["EPIPE", "EINTR", "ENOBUFS"]),
    ("sendmsg", &["EPIPE"]),
    ("recvfrom", &["ECONNRESET", "EINTR", "ENOMEM"]),
    ("recvmsg", &["ECONNRESET", "EINTR"]),
    ("ppoll", &["ENOMEM", "EINTR"]),
    ("poll", &["ENOMEM", "EINTR"]),
    ("mmap", &["ENOMEM"]),
    ("madvise", &["EINVAL"]),
    ("brk", &["ENOMEM"]),
    ("shutdown", &["ENOTCONN"]),
    ("close", &["EIO"]),
];

struct Client {
    folder: tempfile::TempDir,
    daemon: Scripted,
}

impl Client {
    fn new() -> Client {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Scripted::start(Script::new(4));
        Client { folder, daemon }
    }

    /// Runs the script under strace. Returns its output and the names of its system calls from its first
    /// command on.
    fn run(&self, options: &[String]) -> (Output, Vec<String>) {
        let (script, trace) = (
            self.folder.path().join("script"),
            self.folder.path().join("trace"),
        );
        std::fs::write(&script, SCRIPT).unwrap();
        let mut command = Command::new("strace");
        command
            .args(options)
            .arg("-o")
            .arg(&trace)
            .arg(artifacts::binary("pcsc-tests", "winscard"))
            .arg(artifacts::library())
            .env("PCSCLITE_CSOCK_NAME", self.daemon.path())
            .stdin(Stdio::from(std::fs::File::open(&script).unwrap()));
        let output = run(&mut command, Duration::from_secs(120));
        let trace = std::fs::read_to_string(trace).unwrap();
        let names = trace
            .lines()
            .map(|line| line.split('(').next().unwrap_or_default().to_owned());
        (output, names.collect())
    }
}

#[test]
fn a_failed_system_call_ends_no_process() {
    let client = Client::new();
    let (output, calls) = client.run(&[]);
    let lines = SCRIPT.lines().count();
    assert_eq!(output.stdout().lines().count(), lines);
    // The program reads its first command after it has started.
    let trace = client.folder.path().join("trace");
    let text = std::fs::read_to_string(trace).unwrap();
    let started = text
        .lines()
        .position(|line| line.starts_with("read(0,"))
        .expect("a command is read");

    let mut tried = 0;
    for (name, errors) in FAILURES {
        let count = |calls: &[String]| calls.iter().filter(|call| call == name).count();
        let (before, all) = (count(&calls[..started]), count(&calls));
        for (number, error) in
            (before + 1..=all).flat_map(|number| errors.iter().map(move |error| (number, error)))
        {
            let inject = format!("inject={name}:error={error}:when={number}");
            let (output, _) = client.run(&["-e".into(), inject.clone()]);
            let text = String::from_utf8_lossy(&output.stdout);
            let is_code =
                |line: &str| line.len() >= 8 && line.as_bytes()[..8].iter().all(u8::is_ascii_hexdigit);
            let answered = text.lines().filter(|line| is_code(line)).count();
            assert!(
                output.status.success() && !output.timed_out && answered == lines,
                "{inject}: {}, {answered} of {lines} calls returned\n{text}",
                output.status
            );
            tried += 1;
        }
    }

    assert!(tried >= 40, "{tried} failures");
}
