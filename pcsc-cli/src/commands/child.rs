//! A command that runs while this process waits for it.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGTERM};
use signal_hook::{flag, low_level::pipe};

/// The signals that this process does not end by, since it has to clean up once the command has ended. The
/// terminal sends SIGINT and SIGQUIT to the command as well; the others are forwarded.
pub struct Signals {
    /// The last one that came, or 0.
    last: Arc<AtomicUsize>,
    /// Each signal writes a byte to the first, SIGCHLD too. [`Signals::wait`] sleeps on the second.
    sender: UnixStream,
    receiver: UnixStream,
}

impl Signals {
    /// Catches none but SIGCHLD.
    pub fn new() -> io::Result<Signals> {
        let (sender, receiver) = UnixStream::pair()?;
        pipe::register(SIGCHLD, sender.try_clone()?)?;
        Ok(Signals {
            last: Arc::default(),
            sender,
            receiver,
        })
    }

    /// Catches these signals. A command that is started before this ignores those that this process has
    /// ignored until now.
    pub fn catch(&self, signals: &[i32]) -> io::Result<()> {
        for signal in signals {
            // In this order: whoever reads the byte finds the signal.
            flag::register_usize(*signal, Arc::clone(&self.last), *signal as usize)?;
            pipe::register(*signal, self.sender.try_clone()?)?;
        }
        Ok(())
    }

    /// Waits until the command has ended, and forwards signals to it meanwhile.
    pub fn wait(&self, mut command: Child) -> io::Result<ExitStatus> {
        loop {
            // It has not been waited for, so its number is still its own.
            self.forward(Pid::from_child(&command));
            if let Some(status) = command.try_wait()? {
                return Ok(status);
            }
            match (&self.receiver).read(&mut [0; 64]) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => (),
            }
        }
    }

    fn forward(&self, command: Pid) {
        let signal = match self.last.swap(0, Ordering::Relaxed) as i32 {
            SIGTERM => Signal::TERM,
            SIGHUP => Signal::HUP,
            _ => return,
        };
        // It may be another user's by now.
        let _ = rustix::process::kill_process(command, signal);
    }
}

/// The exit code of env(1) and of the shells.
pub fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
