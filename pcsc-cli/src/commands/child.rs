//! A command that runs while this process waits for it.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::pipe;

use crate::problem::{Exit, Problem};
use crate::signal;

/// The signals that this process does not end by, since it has to clean up once the command has ended. The
/// terminal sends SIGINT and SIGQUIT to the command as well; the others are forwarded. Those that this
/// process ignores, the command ignores as well. SIGPIPE is not among them: Rust's runtime ignores it here
/// before `main`, so that what the caller had is lost, and resets it to its default in the command.
pub struct Signals {
    /// The last one that came, or 0.
    last: Arc<AtomicUsize>,
    /// Has a byte for each signal, SIGCHLD too. [`Signals::wait`] sleeps on it.
    receiver: UnixStream,
}

impl Signals {
    /// Catches them from now on.
    pub fn catch() -> Result<Signals, Problem> {
        let caught = signal::catch().and_then(|(last, sender, receiver)| {
            pipe::register(SIGCHLD, sender)?;
            Ok(Signals { last, receiver })
        });
        caught.map_err(Problem::uncaught_signal)
    }

    /// Waits until the command has ended, and forwards signals to it meanwhile.
    pub fn wait(&self, command: Child) -> Result<ExitStatus, Problem> {
        let waited = self.try_wait(command);
        waited.map_err(|error| Problem::because(Exit::Failed, "The command cannot be waited for", error))
    }

    fn try_wait(&self, mut command: Child) -> io::Result<ExitStatus> {
        // What came before the command was started has not reached it.
        let mut forwarded = &[SIGTERM, SIGHUP, SIGINT, SIGQUIT][..];
        loop {
            // It has not been waited for, so its number is still its own.
            self.forward(Pid::from_child(&command), forwarded);
            forwarded = &[SIGTERM, SIGHUP];
            if let Some(status) = command.try_wait()? {
                return Ok(status);
            }
            match (&self.receiver).read(&mut [0; 64]) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => (),
            }
        }
    }

    fn forward(&self, command: Pid, forwarded: &[i32]) {
        let signal = self.last.swap(0, Ordering::Relaxed) as i32;
        if let Some(signal) = Signal::from_named_raw(signal).filter(|_| forwarded.contains(&signal)) {
            // It may be another user's by now.
            let _ = rustix::process::kill_process(command, signal);
        }
    }
}

/// The exit code of env(1) and of the shells.
pub fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_shells() {
        for (status, expected) in [
            (0, 0),
            (3 << 8, 3),
            (SIGTERM, 143),
            (SIGINT, 130),
            (255 << 8, 255),
        ] {
            assert_eq!(code(ExitStatus::from_raw(status)), expected, "{status:#x}");
        }
    }
}
