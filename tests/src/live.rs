//! Programs whose output is read while they run.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::run::wait_until;
use crate::spawn::kill;

/// How long a program may take for a line, and for its end.
const LIMIT: Duration = Duration::from_secs(180);

/// A program whose output is read line by line. It is killed when this is dropped, so also by a panic.
#[derive(Debug)]
pub struct Live {
    child: Child,
    lines: mpsc::Receiver<String>,
    limit: Duration,
    /// The lines so far.
    pub seen: Vec<String>,
}

impl Live {
    /// Starts a program. Its input is the command's.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(mut command: Command) -> Live {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .all(|line| sender.send(line).is_ok())
        });
        Live {
            child,
            lines,
            limit: LIMIT,
            seen: Vec::new(),
        }
    }

    /// Its process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads up to the first line that has `text`, and returns that line.
    ///
    /// # Panics
    /// If the program ends or takes three minutes; the message has its output.
    #[track_caller]
    pub fn until(&mut self, text: &str) -> &str {
        let deadline = Instant::now() + self.limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no {text:?} in:\n{}", self.seen.join("\n"));
            };
            let is_there = line.contains(text);
            self.seen.push(line);
            if is_there {
                return &self.seen[self.seen.len() - 1];
            }
        }
    }

    /// Waits until it has ended, and returns all of its output.
    ///
    /// # Panics
    /// If that takes three minutes, or it fails; the message has its output.
    #[track_caller]
    pub fn whole(mut self) -> String {
        let deadline = Instant::now() + self.limit;
        // The end of the output, or the limit, which `end` then exceeds.
        while let Ok(line) = self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.seen.push(line);
        }
        let text = self.seen.join("\n");
        let status = self.end();
        assert!(status.success(), "{status}:\n{text}");
        text
    }

    /// Writes to its input, which the command must have as a pipe, and closes that.
    ///
    /// # Panics
    /// If there is no pipe, or no process reads it.
    #[track_caller]
    pub fn tell(&mut self, text: &str) {
        let mut input = self.child.stdin.take().expect("a pipe");
        input.write_all(text.as_bytes()).expect("a program that reads");
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// If that takes three minutes; the message has its output.
    #[track_caller]
    pub fn end(mut self) -> ExitStatus {
        let ended = wait_until(Pid::from_child(&self.child), Instant::now() + self.limit);
        assert!(ended, "does not end after:\n{}", self.seen.join("\n"));
        self.child.wait().expect("our child")
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{catch_unwind, AssertUnwindSafe};

    /// A program that prints a line and then hangs, which is not waited for long.
    fn hangs() -> Live {
        let mut command = Command::new("sh");
        command.args(["-c", "echo begun; exec sleep 1000"]);
        let mut live = Live::start(command);
        live.until("begun");
        live.limit = Duration::from_millis(10);
        live
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let mut live = hangs();
        let waited = catch_unwind(AssertUnwindSafe(|| _ = live.until("more")));
        assert!(waited.is_err());
        let folder = std::path::PathBuf::from(format!("/proc/{}", live.id()));
        assert!(folder.exists());
        drop(live);
        assert!(!folder.exists());

        let live = hangs();
        let folder = std::path::PathBuf::from(format!("/proc/{}", live.id()));
        assert!(catch_unwind(AssertUnwindSafe(|| live.end())).is_err());
        assert!(!folder.exists());
    }

    #[test]
    fn a_program_is_told_a_line_and_ends() {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped());
        let mut live = Live::start(command);
        live.tell("one\ntwo\nthree\n");
        assert_eq!(live.until("tw"), "two");
        assert_eq!(live.seen, ["one", "two"]);
        assert_eq!(live.whole(), "one\ntwo\nthree");
    }
}
