//! Which protocol a library speaks with a daemon, found out by having another process load it.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use pcsc_wire::{Body, Endian, Header, Version, VersionBody};
use rustix::event::{poll, PollFd, PollFlags, Timespec};

use crate::problem::Exit;
use crate::scratch::Scratch;

/// How long a library may take to connect, and a daemon to serve it.
const LIMIT: Duration = Duration::from_secs(10);

/// The version that a library asks a daemon for. `None` where it cannot be loaded, as by a static program.
pub fn offered(library: &Path) -> Option<Version> {
    let scratch = Scratch::new().ok()?;
    asked(library, scratch).ok()
}

/// Whether the daemon at this socket refuses the library.
pub fn is_refused(library: &Path, socket: &Path) -> bool {
    let end = Instant::now() + LIMIT;
    let Ok(scratch) = Scratch::new() else { return false };
    let status = Loader::start(library, socket, scratch).and_then(|mut loader| loader.wait(end));
    status.is_ok_and(|status| status.code() == Some(Exit::NoService as i32))
}

/// What the library asks for at a socket in this folder, where no other process listens.
fn asked(library: &Path, scratch: Scratch) -> io::Result<Version> {
    let socket = scratch.path("pcscd.comm");
    let listener = UnixListener::bind(&socket)?;
    let mut loader = Loader::start(library, &socket, scratch)?;
    let end = Instant::now() + LIMIT;
    while !is_ready(&[listener.as_fd(), loader.output.as_fd()], end)?[0] {
        if !loader.is_running()? {
            return Err(io::ErrorKind::NotConnected.into());
        }
    }
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut request = [0; Header::SIZE + VersionBody::SIZE];
    stream.read_exact(&mut request)?;
    let body = VersionBody::parse(&request[Header::SIZE..], Endian::NATIVE);
    body.map(|body| body.version())
        .ok_or(io::ErrorKind::InvalidData.into())
}

/// Waits until one of these can be read, and returns which can.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`].
fn is_ready(files: &[BorrowedFd<'_>], end: Instant) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = files
        .iter()
        .map(|file| PollFd::new(file, PollFlags::IN))
        .collect();
    let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).unwrap_or_default();
    match rustix::io::retry_on_intr(|| poll(&mut polled, Some(&left)))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect()),
    }
}

/// A process that loads a library and lists readers. It ends with its folder.
struct Loader {
    process: Scratch,
    /// Ends with the process.
    output: ChildStdout,
}

impl Loader {
    fn start(library: &Path, socket: &Path, process: Scratch) -> io::Result<Loader> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["list", "--backend", "system"])
            .env("PCSCLITE_SYSTEM_LIBRARY", library)
            .env("PCSCLITE_CSOCK_NAME", socket)
            // This project's library in the place of the one that is asked about.
            .env_remove("LIBPCSCLITE_DELEGATE");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let output = process.start(&mut command, |child| child.stdout.take())?;
        let output = output.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Loader { process, output })
    }

    /// Reads what there is of the output. False at its end.
    fn is_running(&mut self) -> io::Result<bool> {
        Ok(self.output.read(&mut [0; 4096])? > 0)
    }

    /// Waits until the process has ended.
    fn wait(&mut self, end: Instant) -> io::Result<ExitStatus> {
        loop {
            is_ready(&[self.output.as_fd()], end)?;
            if !self.is_running()? {
                return self.process.wait();
            }
        }
    }
}
