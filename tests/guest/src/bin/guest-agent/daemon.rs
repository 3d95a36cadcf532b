//! Debian's pcscd with its libccid, and our server.

use crate::{Result, LIMIT};
use pcsc_client::{Choice, Context};
use rustix::process::{kill_process, Pid, Signal};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A running pcscd. It ends when dropped.
pub struct Pcscd(Child);

impl Pcscd {
    /// Starts it, with all that it and libccid can log in the file `NAME.pcscd` for the host, and waits until
    /// it answers.
    pub fn start(name: &str) -> Result<(Self, Context)> {
        Self::start_by(Command::new("pcscd"), name)
    }

    /// The same, as this user and in this group alone.
    pub fn start_as(user: u32, group: u32, name: &str) -> Result<(Self, Context)> {
        let mut command = Command::new("setpriv");
        command
            .args([format!("--reuid={user}"), format!("--regid={group}")])
            .args(["--clear-groups", "pcscd"]);
        Self::start_by(command, name)
    }

    /// Starts our server in its place, with the readers on the USB: `program` is the command `pcsc`. It logs
    /// to the file `NAME.share`.
    pub fn start_share(program: &str, socket: &Path, name: &str) -> Result<(Self, Context)> {
        let mut command = Command::new(program);
        command.args(["-v", "share", "--socket"]).arg(socket).arg("usb");
        let log = File::create(format!("/run/lab/{name}.share"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self::run(command, || {
            Ok(Context::builder().socket_path(socket).establish()?)
        })
    }

    fn start_by(mut command: Command, name: &str) -> Result<(Self, Context)> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(format!("/run/lab/{name}.pcscd"))?;
        command
            .args(["--foreground", "--debug", "--apdu"])
            .env("LIBCCID_ifdLogLevel", "15");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Self::run(command, context)
    }

    /// Starts it as a system does, with nothing logged, and waits until it answers.
    pub fn start_quietly() -> Result<(Self, Context)> {
        let mut command = Command::new("pcscd");
        command.arg("--foreground");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self::run(command, context)
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    fn run(mut command: Command, context: impl Fn() -> Result<Context>) -> Result<(Self, Context)> {
        let mut pcscd = Self(command.spawn()?);
        let end = Instant::now() + LIMIT;
        loop {
            // A daemon says nothing to others when it is ready.
            match context() {
                Ok(context) => return Ok((pcscd, context)),
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
            if let Some(status) = pcscd.0.try_wait()? {
                return Err(format!("pcscd ended with {status}").into());
            }
        }
    }
}

/// A context of the daemon's.
pub fn context() -> Result<Context> {
    Ok(Context::builder().choose_backend(Choice::Daemon).establish()?)
}

impl Drop for Pcscd {
    fn drop(&mut self) {
        let end = Instant::now() + LIMIT;
        // It fails for a process that has been waited for, and so has ended.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        while let Ok(None) = self.0.try_wait() {
            if Instant::now() > end {
                let _ = self.0.kill();
                let _ = self.0.wait();
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}
