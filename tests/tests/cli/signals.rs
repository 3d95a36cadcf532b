//! Ctrl-C and SIGTERM, for each command that can wait or run long.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::ExitStatus;
use std::time::Instant;

use pcsc_tests::scripted::{Script, Scripted};
use pcsc_tests::{c_library, Live};
use rustix::process::{kill_process, kill_process_group, test_kill_process_group, Pid, Signal};

use super::*;

/// What is waited for before the signal is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// The daemon has a client that waits for an event.
    Waits,
    /// It has read more from its standard input than a pipe holds.
    Reads,
    /// It has printed this.
    Prints(&'static str),
    /// Its socket in XDG_RUNTIME_DIR answers.
    Serves,
    /// Another process of it connects to this socket in TMPDIR, which takes for ever.
    Connects(&'static str),
}

/// What a signal makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It ends by the signal, or as shells show that: 130, 143.
    Signal,
    /// It ends with this code.
    Code(i32),
}

/// A program of another that prints a line and runs on. The signal ends it.
const SLEEPER: [&str; 3] = ["sh", "-c", "echo ready; exec sleep 1000"];

fn cases() -> Vec<(Vec<&'static str>, Until, End)> {
    let sleeper = |command: &[&'static str]| [command, &SLEEPER].concat();
    vec![
        (vec!["list", "--wait", "-r", "nobody"], Until::Waits, End::Signal),
        (vec!["watch"], Until::Waits, End::Signal),
        (vec!["apdu", "-"], Until::Reads, End::Signal),
        (vec!["apdu", "--file", "-"], Until::Reads, End::Signal),
        (vec!["spy", "--read", "-"], Until::Reads, End::Signal),
        (vec!["bench"], Until::Connects("theirs"), End::Signal),
        (vec!["doctor"], Until::Connects("pcscd.comm"), End::Signal),
        (vec!["share", "sim:"], Until::Serves, End::Code(0)),
        (vec!["sim", "run"], Until::Prints("export "), End::Code(0)),
        (
            sleeper(&["sim", "run", "--"]),
            Until::Prints("ready"),
            End::Signal,
        ),
        (
            sleeper(&["sim", "record", "/dev/null"]),
            Until::Prints("ready"),
            End::Signal,
        ),
        (
            sleeper(&["sim", "replay", "CALLS"]),
            Until::Prints("ready"),
            End::Signal,
        ),
        (sleeper(&["spy"]), Until::Prints("ready"), End::Signal),
        (sleeper(&["with"]), Until::Prints("ready"), End::Signal),
    ]
}

/// `pcsc` with the signals as an interactive shell leaves them: a job in the background of a script has
/// SIGINT ignored. It is a process group, as a shell makes one for a job.
fn job(socket: &Path, arguments: &[&str]) -> Command {
    let pcsc = pcsc_at(socket, arguments);
    let mut command = client("env");
    command
        .args(["--default-signal=INT,TERM"])
        .arg(pcsc.get_program())
        .args(pcsc.get_args())
        .env_remove("LD_LIBRARY_PATH")
        .process_group(0);
    for (name, value) in pcsc.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
}

/// The terminal sends SIGINT to the whole job. `kill PID` and systemd send SIGTERM to the one process.
fn send(signal: Signal, pid: Pid) {
    match signal {
        Signal::INT => kill_process_group(pid, signal),
        _ => kill_process(pid, signal),
    }
    .expect("our child");
}

/// Looks until something is so.
#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

/// Starts a command, sends it a signal once it waits, and returns how it ended. Nothing of it is left.
fn ended_by(pcscd: &Pcscd, signal: Signal, arguments: &[&str], until: Until) -> ExitStatus {
    let folder = tempfile::tempdir().expect("a folder");
    let [temporary, runtime] = ["tmp", "run"].map(|name| folder.path().join(name));
    fs::create_dir(&temporary).expect("a folder");
    let daemon = Scripted::start(Script::new(4));
    let mut command = match until {
        Until::Connects(_) => job(&pcscd.socket(), arguments),
        _ => job(daemon.path(), arguments),
    };
    command
        .env("TMPDIR", &temporary)
        .env("XDG_RUNTIME_DIR", &runtime)
        .stdin(Stdio::piped());
    let socket = runtime.join("pcsc/pcscd.comm");
    if until == Until::Serves {
        command.env("PCSCLITE_CSOCK_NAME", &socket);
        fs::create_dir_all(runtime.join("pcsc")).expect("a folder");
    }
    let hanging = folder.path().join("hanging");
    if let Until::Connects(name) = until {
        command
            .env("LD_PRELOAD", c_library(folder.path(), "connect_hangs"))
            .envs([
                ("HANGING_SOCKET", name.as_ref()),
                ("HANGING_FILE", hanging.as_os_str()),
            ]);
    }
    let mut input = None;
    let mut live = if until == Until::Reads {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        input = Some(fs::File::from(writer));
        Live::start({
            command.stdin(reader);
            command
        })
    } else {
        Live::start(command)
    };
    let pid = Pid::from_raw(live.id() as i32).expect("our child");
    match until {
        Until::Waits => wait_for("nobody waits for an event", || daemon.has_waiter()),
        Until::Prints(text) => drop(live.until(text).to_owned()),
        Until::Serves => wait_for("nobody serves", || UnixStream::connect(&socket).is_ok()),
        Until::Connects(_) => wait_for("nobody connects", || hanging.exists()),
        Until::Reads => {
            // Comments, and lines of no record.
            let text = "# nothing\n".repeat(20_000);
            let mut input = input.as_ref().expect("its input");
            input.write_all(text.as_bytes()).expect("a program that reads");
        }
    }
    // A client of the server, in a transaction.
    let busy = (until == Until::Serves).then(|| {
        let context = pcsc_client::Context::builder().socket_path(&socket).establish();
        context.expect("a context with the server")
    });
    let mut card = busy.as_ref().map(|context| {
        let name = context.list_readers_owned().expect("a list").remove(0);
        let shared = pcsc_client::ShareMode::Shared;
        context
            .connect(&name, shared, pcsc_client::Protocols::ANY)
            .expect("a card")
    });
    let transaction = card
        .as_mut()
        .map(|card| card.transaction().expect("a transaction"));
    send(signal, pid);
    let status = live.end();
    drop(transaction);

    let left = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        // The server's lock, which another server may be about to take.
        names.filter(|name| name != "pcscd.comm.lock").collect()
    };
    let left = [left(&temporary), left(&runtime.join("pcsc"))].concat();
    assert!(left.is_empty(), "{arguments:?} leaves {left:?}");
    wait_for("a process is left", || test_kill_process_group(pid).is_err());
    status
}

#[test]
fn each_command_ends_by_ctrl_c_and_sigterm() {
    let folder = tempfile::tempdir().expect("a folder");
    let calls = folder.path().join("calls.jsonl");
    let record = include_str!("../../../pcsc-cli/tests/golden/calls.jsonl");
    // Its last line is cut, which a replay refuses.
    let (whole, _) = record.trim_end().rsplit_once('\n').expect("lines");
    fs::write(&calls, format!("{whole}\n")).expect("a record");
    let calls = calls.to_str().expect("UTF-8");
    // For the commands that run a program.
    artifacts::library();
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let mut failures = String::new();
    for (arguments, until, end) in cases() {
        let arguments: Vec<&str> = arguments
            .into_iter()
            .map(|argument| if argument == "CALLS" { calls } else { argument })
            .collect();
        for signal in [Signal::INT, Signal::TERM] {
            let status = ended_by(&pcscd, signal, &arguments, until);
            let number = signal.as_raw();
            let is_right = match end {
                End::Code(code) => status.code() == Some(code),
                End::Signal => status.signal() == Some(number) || status.code() == Some(128 + number),
            };
            if !is_right {
                failures += &format!("{arguments:?} after {signal:?}: {status}, not {end:?}\n");
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn a_command_that_waits_for_a_transaction_ends_by_signals_and_leaves_the_card() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let mut holder = pcscd.connect(0);
    let transaction = holder.transaction().expect("a transaction");
    let resets = pcscd.reader(0).counts();
    let commands = [
        &["apdu", SELECT][..],
        &["atr"],
        &["features"],
        &["bench"],
        &["doctor"],
    ];
    std::thread::scope(|threads| {
        for signal in [Signal::INT, Signal::TERM] {
            for command in commands {
                let mut command = job(&pcscd.socket(), command);
                threads.spawn(move || {
                    let mut child = command
                        .stdout(Stdio::null())
                        .stderr(Stdio::piped())
                        .spawn()
                        .expect("pcsc can be started");
                    let text = BufReader::new(child.stderr.take().expect("a pipe"));
                    let mut lines = text.lines().map_while(Result::ok);
                    assert!(lines.any(|line| line.contains("Waiting for ")), "{command:?}");
                    send(signal, Pid::from_child(&child));
                    assert_eq!(lines.next(), None, "{command:?}");
                    let status = child.wait().expect("our child");
                    assert_eq!(status.signal(), Some(signal.as_raw()), "{command:?}: {status}");
                });
            }
        }
    });
    transaction
        .end(pcsc_client::Disposition::LeaveCard)
        .map_err(|(_, error)| error)
        .expect("the transaction goes on");
    holder.status2_owned().expect("the card was not reset");
    assert_eq!(pcscd.reader(0).counts().resets, resets.resets);
    holder
        .disconnect(pcsc_client::Disposition::LeaveCard)
        .map_err(|(_, error)| error)
        .expect("a disconnect");
    // No connection is left.
    let output = run(&mut pcsc(&pcscd, &["apdu", "--exclusive", SELECT]), LIMIT);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn ctrl_c_in_a_terminal_leaves_it_as_it_was() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    artifacts::library();
    let pcsc = pcsc(&pcscd, &[]);
    let program = pcsc.get_program().to_string_lossy().into_owned();
    for (command, until) in [
        ("watch", "card inserted"),
        ("spy sh -c 'echo ready; exec sleep 1000'", "ready"),
    ] {
        let script = format!("trap : INT; stty -g; {program} {command}; echo \"code $?\"; stty -g; echo end");
        let mut terminal = client("env");
        terminal
            .args(["--default-signal=INT", "script", "-qec", &script, "/dev/null"])
            .env("TERM", "xterm")
            .env("PCSCLITE_CSOCK_NAME", pcscd.socket())
            .env_remove("NO_COLOR")
            .env_remove("LD_LIBRARY_PATH");
        let (reader, keyboard) = rustix::pipe::pipe().expect("a pipe");
        let mut keyboard = fs::File::from(keyboard);
        terminal.stdin(reader);
        let mut live = Live::start(terminal);
        live.until(until);
        keyboard.write_all(b"\x03").expect("the terminal");
        live.until("end");
        let lines: Vec<String> = live.seen.iter().map(|line| line.trim_end().to_owned()).collect();
        let [settings, .., code, after, _end] = &lines[..] else {
            panic!("{lines:?}");
        };
        assert!(code.ends_with("code 130"), "{lines:?}");
        assert_eq!(settings, after, "{lines:?}");
        // No colour is left switched on.
        let text = lines.join("\n");
        let last = text.rsplit_once("\x1B[").map_or("0m", |(_, last)| last);
        assert!(last.starts_with("0m"), "{text:?}");
    }
}

#[test]
fn a_job_in_the_background_of_a_script_goes_on_ignoring_ctrl_c() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let folder = tempfile::tempdir().expect("a folder");
    let hanging = folder.path().join("hanging");
    let mut command = job(&pcscd.socket(), &["bench"]);
    command
        .env("LD_PRELOAD", c_library(folder.path(), "connect_hangs"))
        .envs([
            ("HANGING_SOCKET", "theirs".as_ref()),
            ("HANGING_FILE", hanging.as_os_str()),
        ]);
    let mut ignoring = Command::new("env");
    ignoring
        .arg("--ignore-signal=INT")
        .args(command.get_args().skip(1))
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .process_group(0);
    let live = Live::start(ignoring);
    wait_for("nobody connects", || hanging.exists());
    let status = fs::read_to_string(format!("/proc/{}/status", live.id())).expect("our child");
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = 1 << (Signal::INT.as_raw() - 1);
    assert_eq!(mask.map(|mask| mask & bit), Some(bit), "{status}");
    let pid = Pid::from_raw(live.id() as i32).expect("our child");
    send(Signal::TERM, pid);
    assert_eq!(live.end().signal(), Some(Signal::TERM.as_raw()));
}
