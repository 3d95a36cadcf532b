//! The record of all calls: what the library writes, and what `pcsc spy` makes of it.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pcsc_tests::{artifacts, c_program, client, run, Output};
use rustix::event::{poll, PollFd, PollFlags, Timespec};

mod disturbed;
mod forms;
mod pins;
mod replay;
mod transfers;

const LIMIT: Duration = Duration::from_secs(120);

/// The reader that our library simulates.
const READER: &str = "pcsc-rs Simulated Reader 00 00";

/// `pcsc spy` with these arguments, on simulated readers. `pcsc` and the library are next to each other.
fn spy(arguments: &[&str]) -> Command {
    artifacts::library();
    let mut command = client(artifacts::binary("pcsc-cli", "pcsc"));
    command
        .arg("spy")
        .args(arguments)
        .env("PCSCLITE_BACKEND", "simulated")
        .env_remove("LD_LIBRARY_PATH");
    command
}

/// The program that makes calls from lines of its input.
fn winscard() -> String {
    let program = artifacts::binary("pcsc-tests", "winscard");
    program.to_str().expect("UTF-8").to_owned()
}

/// The output of a command that gets these lines.
fn with_input(command: &mut Command, lines: &[String]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("script");
    std::fs::write(&script, lines.join("\n") + "\n").expect("a file");
    let script = std::fs::File::open(script).expect("a file");
    run(command.stdin(Stdio::from(script)), LIMIT)
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

/// The lines of a record, as JSON.
fn parsed(text: &str) -> Vec<serde_json::Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    text.lines().map(parse).collect()
}

fn program(folder: &Path, name: &str) -> (PathBuf, String) {
    let file = c_program(folder, name);
    let path = file.to_str().expect("UTF-8").to_owned();
    (file, path)
}

/// A record in one line for each call, thread after thread: its thread, the function, arguments, result,
/// results. Equal lines that follow each other are one.
fn transcript(text: &str) -> Vec<String> {
    let (mut threads, mut begun) = (Vec::new(), std::collections::HashMap::new());
    let mut transcript = Vec::new();
    for line in parsed(text) {
        let key = (line["process"].to_string(), line["call"].to_string());
        let thread = (line["process"].to_string(), line["thread"].to_string());
        if !threads.contains(&thread) {
            threads.push(thread.clone());
        }
        let label = threads.iter().position(|known| *known == thread).expect("known");
        assert!(line["microseconds"].is_u64() && line["lost"].is_null(), "{line}");
        match line["event"].as_str() {
            Some("process") => {
                let program = line["program"].as_str().expect("a path");
                let name = Path::new(program).file_name().expect("a name").to_string_lossy();
                transcript.push((
                    label,
                    format!("{label} {name} {} {}", line["format"], line["pins"]),
                ));
            }
            Some("call") => {
                begun.insert(key, line["arguments"].to_string());
            }
            Some("return") => {
                let arguments = begun.remove(&key).expect("a call");
                let function = line["function"].as_str().expect("a name");
                let text = format!(
                    "{label} {function} {arguments} {} {}",
                    line["result"], line["results"]
                );
                transcript.push((label, text.replace('"', "").replace(READER, "READER")));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(begun.is_empty(), "calls without an end: {begun:?}");
    transcript.sort_by_key(|(thread, _)| *thread);
    let mut transcript: Vec<String> = transcript.into_iter().map(|(_, line)| line).collect();
    transcript.dedup();
    transcript
}

#[test]
fn every_call_is_recorded_with_its_arguments_and_results() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, program) = program(folder.path(), "spy");
    let file = folder.path().join("calls.jsonl");
    let path = file.to_str().expect("UTF-8");
    run(&mut spy(&["--json", "-o", path, &program]), LIMIT).stdout();
    let text = std::fs::read_to_string(&file).expect("a record");
    let expected = include_str!("calls.txt");
    let found = transcript(&text).join("\n") + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write("tests/spy/calls.txt", &found).expect("a file");
    }
    for (expected, found) in expected.lines().zip(found.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.lines().count(), expected.lines().count());
    // What the command writes is the user's alone, and nothing else is left.
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().expect("a file"));
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn calls_are_shown_as_they_happen() {
    use std::io::{BufRead, BufReader, Write};

    let mut child = spy(&[&winscard(), "libpcsclite.so.1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("pcsc can be started");
    let mut input = child.stdin.take().expect("a pipe");
    let mut record = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    // The program ends only after the record of its call has been read.
    input.write_all(b"establish\n").expect("a pipe");
    let shown: Vec<String> = record
        .by_ref()
        .take(3)
        .map(|line| line.expect("a line"))
        .collect();
    drop(input);
    assert!(
        shown[1].ends_with(" 1.1 SCardEstablishContext scope=system"),
        "{shown:?}"
    );
    assert!(
        shown[2].contains("SCardEstablishContext = SCARD_S_SUCCESS, "),
        "{shown:?}"
    );
    assert!(child.wait().expect("our child").success());
}

#[test]
fn the_exit_code_is_the_commands() {
    for (script, code) in [("exit 7", 7), ("kill -TERM $$", 128 + 15), ("exit 0", 0)] {
        let output = run(&mut spy(&["sh", "-c", script]), LIMIT);
        assert_eq!(output.status.code(), Some(code), "{script}: {output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            text.starts_with("pcsc: Nothing was recorded: "),
            "{script}: {text}"
        );
    }
    let output = run(&mut spy(&["/nonexistent"]), LIMIT);
    assert_eq!(output.status.code(), Some(127), "{output:?}");
}

#[test]
fn a_signal_to_end_goes_to_the_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = spy(&[
        "sh",
        "-c",
        "trap 'echo ended; exit 3' TERM; kill -TERM $PPID; read -r never",
    ]);
    let (reader, _writer) = rustix::pipe::pipe().expect("a pipe");
    command.stdin(Stdio::from(reader)).env("TMPDIR", folder.path());
    let output = run(&mut command, LIMIT);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(output.stdout, b"ended\n");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn ctrl_c_ends_the_command_and_the_record_is_complete() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("calls.txt");
    // The interrupt of a terminal goes to all processes of the group: the shell, its child, and pcsc.
    let script = format!(
        "printf 'establish\\n' | {} libpcsclite.so.1; kill -INT 0; sleep 100",
        winscard()
    );
    let record_path = record.to_str().expect("UTF-8");
    // A shell without job control starts commands in the background with SIGINT ignored.
    let shell = ["env", "--default-signal=INT", "sh", "-c", &script];
    let output = run(&mut spy(&[&["-o", record_path], &shell[..]].concat()), LIMIT);
    assert_eq!(output.status.code(), Some(128 + 2), "{output:?}");
    let text = std::fs::read_to_string(&record).expect("a record");
    assert!(text.contains("SCardEstablishContext = SCARD_S_SUCCESS"), "{text}");
}

/// Whether something comes out of a pipe.
fn has_more(pipe: &impl AsFd) -> bool {
    let limit = Timespec::try_from(LIMIT).expect("a time");
    poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&limit)).expect("a pipe") > 0
}

#[test]
fn a_signal_to_end_goes_to_the_command_while_nobody_reads_the_record() {
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::process::CommandExt;

    use rustix::process::{kill_process, kill_process_group, Pid, Signal};

    let folder = tempfile::tempdir().expect("a folder");
    let calls = folder.path().join("calls");
    std::fs::write(&calls, "establish\n".to_owned() + &"list\n".repeat(100)).expect("a file");
    // SIGKILL: a shell that has not yet become `sleep` may lose SIGTERM, and would hold the record's pipe.
    let script = format!(
        "trap 'kill -KILL $!; echo ended >&2; exit 3' TERM; {} libpcsclite.so.1 < {} > {}; sleep 1000 & wait",
        winscard(),
        calls.display(),
        folder.path().join("output").display()
    );
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).expect("a smaller pipe");
    let full = writer.try_clone().expect("a pipe");
    let mut command = spy(&["--json", "-o", "-", "sh", "-c", &script]);
    let mut child = command
        .stdout(writer)
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("pcsc can be started");
    drop(command);
    let pid = Pid::from_child(&child);
    // Until the pipe takes no more. A write that does not fit into the rest of its only page leaves that
    // empty.
    let has_room = || {
        poll(
            &mut [PollFd::new(&full, PollFlags::OUT)],
            Some(&Timespec::default()),
        )
    };
    while has_room().expect("a pipe") > 0 {
        assert!(child.try_wait().expect("our child").is_none());
        std::thread::yield_now();
    }
    drop(full);
    kill_process(pid, Signal::TERM).expect("our child");
    let stderr = child.stderr.take().expect("a pipe");
    if !has_more(&stderr) {
        kill_process_group(pid, Signal::KILL).expect("our children");
        panic!("the command got no signal");
    }
    let said = BufReader::new(stderr).lines().map(|line| line.expect("a line"));
    assert!(said.take_while(|line| line != "ended").count() < 10);
    let mut record = String::new();
    std::fs::File::from(reader)
        .read_to_string(&mut record)
        .expect("a record");
    assert_eq!(child.wait().expect("our child").code(), Some(3));
    // The process, and two lines for each call.
    assert!(parsed(&record).len() > 2 * 101, "{record}");
}

#[test]
fn a_record_is_shown_while_it_is_read() {
    use std::io::{BufRead, BufReader, Write};

    let mut child = spy(&["--json", "--read", "-"])
        .env_remove("PCSCLITE_BACKEND")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("pcsc can be started");
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let text: String = (0..3)
        .map(|number| {
            format!(
                "{{\"event\":\"call\",\"process\":1,\"thread\":1,\"microseconds\":2,\"call\":{number},\
                 \"function\":\"SCardIsValidContext\",\"arguments\":{{\"context\":0}}}}\n"
            )
        })
        .collect();
    // Ends in the middle of a line.
    let (first, rest) = text.split_at(text.len() / 2);
    let mut shown = String::new();
    input.write_all(first.as_bytes()).expect("a pipe");
    if !has_more(output.get_ref()) {
        child.kill().expect("our child");
        panic!("nothing is shown");
    }
    for _ in first.matches('\n') {
        output.read_line(&mut shown).expect("a line");
    }
    assert!(!shown.is_empty() && first.starts_with(&shown));
    input.write_all(rest.as_bytes()).expect("a pipe");
    drop(input);
    for line in output.lines() {
        shown += &(line.expect("a line") + "\n");
    }
    assert_eq!(shown, text);
    assert!(child.wait().expect("our child").success());
}

#[test]
fn a_signal_ends_played_readers_with_their_command() {
    for signal in ["TERM", "HUP"] {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("socket");
        let script = format!("trap 'echo ended; exit 3' {signal}; kill -{signal} $PPID; read -r never");
        // A shell cannot trap a signal that was ignored when it was started, as HUP is under nohup.
        let mut command = client("env");
        let (reader, _writer) = rustix::pipe::pipe().expect("a pipe");
        command
            .arg("--default-signal")
            .arg(artifacts::binary("pcsc-cli", "pcsc"))
            .args(["sim", "--socket"])
            .arg(&socket)
            .args(["run", "--", "sh", "-c", &script])
            .env_remove("LD_LIBRARY_PATH")
            .stdin(Stdio::from(reader));
        let output = run(&mut command, LIMIT);
        assert_eq!(output.status.code(), Some(3), "{signal}: {output:?}");
        assert_eq!(output.stdout, b"ended\n", "{signal}");
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            0,
            "{signal}"
        );
    }
}
