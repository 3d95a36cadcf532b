//! Commands with a deadline.

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{kill_process_group, pidfd_open, Pid, PidfdFlags, Signal};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The result of a command.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// It was killed at the deadline.
    pub timed_out: bool,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// The standard output of a command that succeeded.
    ///
    /// # Panics
    /// If it failed or was killed; the message has all of its output.
    #[track_caller]
    pub fn stdout(&self) -> String {
        let [stdout, stderr] = [&self.stdout, &self.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        let end = if self.timed_out {
            "killed at the deadline".into()
        } else {
            self.status.to_string()
        };
        assert!(
            self.status.success(),
            "{end}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        );
        stdout.into_owned()
    }
}

/// Copies a program to a file or into a folder, by another process: a program cannot be executed while a
/// process has it open for writing, such as a child that another thread of the test has just forked.
#[track_caller]
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let mut copy = Command::new("cp");
    copy.args([from.as_ref(), to.as_ref()]);
    run(&mut copy, Duration::from_secs(300)).stdout();
}

/// Runs `command` in a process group of its own, with both outputs caught and an empty input unless one has
/// been set.
///
/// At the deadline the group is killed, and so are processes of the group that still run when the command
/// ends.
///
/// # Panics
/// If it cannot be started.
#[track_caller]
pub fn run(command: &mut Command, deadline: Duration) -> Output {
    let end = Instant::now() + deadline;
    command
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let pid = Pid::from_child(&child);
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());

    let ended = wait_until(pid, end);
    // The leader has not been waited for, so the group's number is still its own.
    let killed = kill_process_group(pid, Signal::KILL);
    let status = child.wait().expect("our child");
    killed.expect("a group of our children");
    Output {
        status,
        timed_out: !ended,
        stdout: stdout.join().expect("no panic"),
        stderr: stderr.join().expect("no panic"),
    }
}

/// True if the process ended before `end`.
pub(crate) fn wait_until(pid: Pid, end: Instant) -> bool {
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("a descriptor for our child");
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("a deadline that fits");
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // The output so far is returned, which is more useful than the error.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}
