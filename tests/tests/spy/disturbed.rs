//! A program does what it does without a record, whatever happens to the record.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use pcsc_tests::{artifacts, c_program, run};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::fs::{mknodat, FileType, Mode, CWD};

use super::{lines, parsed, spy, winscard, with_input, LIMIT, READER};

fn calls() -> Vec<String> {
    let mut calls = lines(&["establish", "list", &format!("connect 2 3 {READER}")]);
    calls.extend((0..20).map(|_| "transmit 00000000".to_owned()));
    calls.extend(lines(&["status", "disconnect 0", "release"]));
    calls
}

/// What the program prints with a record in this file, or without.
fn printed(record: Option<&str>) -> String {
    let mut command = Command::new(winscard());
    command
        .arg(artifacts::library())
        .env("PCSCLITE_BACKEND", "simulated")
        .envs(record.map(|record| ("PCSCLITE_SPY", record)));
    let output = with_input(&mut command, &calls());
    output.stdout()
}

#[test]
fn a_full_disk_and_a_file_that_cannot_be_opened_change_nothing() {
    let expected = printed(None);
    assert!(
        expected.lines().all(|line| line.starts_with("00000000")),
        "{expected}"
    );
    for record in ["/dev/full", "/nonexistent/record", "/", ""] {
        assert_eq!(printed(Some(record)), expected, "{record}");
    }
}

#[test]
fn an_empty_name_asks_for_no_record() {
    for (record, is_reported) in [("", false), ("/nonexistent/record", true)] {
        let mut command = Command::new(winscard());
        command
            .arg(artifacts::library())
            .env("PCSCLITE_BACKEND", "simulated")
            .env("PCSCLITE_SPY", record);
        let output = with_input(&mut command, &lines(&["establish", "release"]));
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(log.contains("PCSCLITE_SPY"), is_reported, "{log}");
    }
}

#[test]
fn a_record_takes_no_number_of_a_standard_stream() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("calls.jsonl");
    let mut command = Command::new(c_program(folder.path(), "spy"));
    command
        .arg("closed")
        .env("LD_LIBRARY_PATH", artifacts::library_folder())
        .env("PCSCLITE_BACKEND", "simulated")
        .env("PCSCLITE_SPY", &record);
    assert_eq!(run(&mut command, LIMIT).stdout(), "");
    assert!(std::fs::metadata(&record).expect("a record").len() > 0);
}

/// A named pipe of one page, and its reader, which does not wait.
fn pipe(folder: &Path) -> (PathBuf, File) {
    let path = folder.join("pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let mut reader = OpenOptions::new();
    let reader = reader
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .expect("a pipe");
    rustix::pipe::fcntl_setpipe_size(&reader, 4096).expect("a smaller pipe");
    (path, reader)
}

/// A program that makes a call for each line, while the test goes on.
struct Running {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(record: &Path) -> Running {
        let mut child = Command::new(winscard())
            .arg(artifacts::library())
            .env("PCSCLITE_BACKEND", "simulated")
            .env("PCSCLITE_SPY", record)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("winscard can be started");
        Running {
            input: child.stdin.take().expect("a pipe"),
            output: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
        }
    }

    fn call(&mut self, line: &str) {
        let mut answer = String::new();
        self.input
            .write_all(format!("{line}\n").as_bytes())
            .expect("a pipe");
        self.output.read_line(&mut answer).expect("an answer");
        assert!(answer.starts_with("00000000"), "{line}: {answer}");
    }

    fn end(mut self) {
        drop(self.input);
        assert!(self.child.wait().expect("our child").success());
    }
}

#[test]
fn a_pipe_whose_reader_is_slow_or_gone_changes_nothing() {
    let expected = printed(None);
    let folder = tempfile::tempdir().expect("a folder");
    let (path, reader) = pipe(folder.path());
    let record = path.to_str().expect("UTF-8");
    assert_eq!(
        printed(Some(record)),
        expected,
        "with a reader that does not read"
    );
    drop(reader);
    assert_eq!(printed(Some(record)), expected, "without a reader");
}

#[test]
fn a_reader_of_a_pipe_may_go_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, mut reader) = pipe(folder.path());
    // Not a program in Rust, which would ignore SIGPIPE.
    let mut child = Command::new(c_program(folder.path(), "spy"))
        .arg("wait")
        .env("LD_LIBRARY_PATH", artifacts::library_folder())
        .env("PCSCLITE_BACKEND", "simulated")
        .env("PCSCLITE_SPY", &path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let mut events = [PollFd::new(&reader, PollFlags::IN)];
    poll(&mut events, None).expect("the first lines");
    assert!(reader.read(&mut [0; 4096]).expect("lines") > 0);
    drop(reader);
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(b"\n").expect("a pipe");
    let status = child.wait().expect("our child");
    assert!(status.success(), "{status}");
}

#[test]
fn a_record_that_cannot_be_opened_ends_no_program_whose_stderr_has_no_reader() {
    let folder = tempfile::tempdir().expect("a folder");
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    drop(reader);
    let status = Command::new(c_program(folder.path(), "spy"))
        .env("LD_LIBRARY_PATH", artifacts::library_folder())
        .env("PCSCLITE_BACKEND", "simulated")
        .env("PCSCLITE_SPY", "/nonexistent/record")
        .stderr(writer)
        .status()
        .expect("the program can be started");
    assert!(status.success(), "{status}");
}

#[test]
fn a_limit_of_a_files_length_ends_no_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("record");
    let script = format!(
        "ulimit -f 2; PCSCLITE_SPY={} exec {} {}",
        record.display(),
        winscard(),
        artifacts::library().display()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]).env("PCSCLITE_BACKEND", "simulated");
    let output = with_input(&mut command, &calls());
    assert_eq!(output.stdout(), printed(None));
    assert_eq!(record.metadata().expect("a record").len(), 2 * 1024);
}

#[test]
fn lines_that_were_left_out_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, mut reader) = pipe(folder.path());
    let mut program = Running::start(&path);
    program.call("establish");
    for _ in 0..40 {
        program.call("list");
    }
    let mut record = vec![0; 4096];
    let length = reader.read(&mut record).expect("a full pipe");
    let mut lines = parsed(&String::from_utf8_lossy(&record[..length]));
    assert!(lines.len() < 2 * 41);
    program.call("list");
    let length = reader.read(&mut record).expect("the next lines");
    lines.extend(parsed(&String::from_utf8_lossy(&record[..length])));
    program.end();
    let lost: u64 = lines.iter().filter_map(|line| line["lost"].as_u64()).sum();
    // One for the process, and two for each call.
    assert_eq!(lines.len() as u64 + lost, 1 + 2 * 42);
}

#[test]
fn a_daemon_that_closes_all_files_is_recorded_and_its_files_are_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, record) = (folder.path().join("file"), folder.path().join("record"));
    std::fs::write(&file, [7; 4096]).expect("a file");
    let mut command = Command::new(c_program(folder.path(), "closed"));
    command
        .arg("files")
        .arg(&file)
        .env("PCSCLITE_BACKEND", "simulated")
        // The program goes to another directory.
        .current_dir(folder.path())
        .env("PCSCLITE_SPY", "record")
        .env("LD_LIBRARY_PATH", artifacts::library_folder());
    let text = run(&mut command, LIMIT).stdout();
    assert!(
        text.ends_with("61 of 61 open, 0 moved, sockets got 0\n"),
        "{text}"
    );
    assert!(
        std::fs::read(&file).expect("a file") == [7; 4096],
        "the file was written to"
    );
    let lines = parsed(&std::fs::read_to_string(&record).expect("a record"));
    let last = lines.last().expect("lines");
    assert_eq!(
        (&last["event"], &last["function"]),
        (&"return".into(), &"SCardReleaseContext".into())
    );
}

#[test]
fn nothing_more_is_recorded_once_the_file_is_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("record");
    let mut program = Running::start(&record);
    program.call("establish");
    let mut file = File::open(&record).expect("a record");
    std::fs::remove_file(&record).expect("our file");
    program.call("list");
    program.end();
    let mut text = String::new();
    file.read_to_string(&mut text).expect("a record");
    assert_eq!(parsed(&text).len(), 3, "{text}");
    assert!(!record.exists());
}

/// The room on the disk, in bytes, and the length of the only file in the only folder in `folder`.
fn room_and_length(folder: &Path) -> (u64, u64) {
    let first = |folder: &Path| {
        let mut entries = std::fs::read_dir(folder).expect("a folder");
        entries.next().expect("an entry").expect("an entry").path()
    };
    let file = first(&first(folder)).metadata().expect("a file");
    (file.blocks() * 512, file.len())
}

#[test]
fn what_was_shown_takes_no_room_on_the_disk() {
    use rustix::fs::{fallocate, FallocateFlags};

    const LENGTH: u64 = 3 << 20;
    let folder = tempfile::tempdir().expect("a folder");
    let probe = tempfile::tempfile_in(folder.path()).expect("a file");
    (&probe).write_all(b"text").expect("a file");
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if let Err(error) = fallocate(&probe, how, 0, 4) {
        println!("SKIPPED: the file system of temporary files cannot free a part of a file: {error}");
        return;
    }
    let mut child = spy(&["--json", &winscard(), "libpcsclite.so.1"])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("pcsc can be started");
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut call = |line: &str| {
        writeln!(input, "{line}").expect("a pipe");
        output.read_line(&mut String::new()).expect("an answer");
    };
    call("establish");
    call(&format!("connect 2 3 {READER}"));
    // Not a command that hides its data.
    let transmit = format!("transmit 00CA000000{:04X}{}", 20_000, "00".repeat(20_000));
    let deadline = Instant::now() + LIMIT;
    loop {
        let (room, length) = room_and_length(folder.path());
        if length > LENGTH && room < LENGTH / 2 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{room} of {length} bytes are on the disk"
        );
        if length <= LENGTH {
            call(&transmit);
        }
    }
    drop(input);
    assert!(child.wait().expect("our child").success());
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}
