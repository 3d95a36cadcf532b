//! Which protocol a library speaks with a daemon, found out by having another process load it.

use std::io::{self, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{channel, Sender};
use std::thread;
use std::time::Duration;

use pcsc_wire::{Body, Endian, Header, Version, VersionBody};

use crate::problem::Exit;
use crate::scratch::Scratch;

/// How long a library may take to connect, and a daemon to serve it.
const LIMIT: Duration = Duration::from_secs(10);

/// The version that a library asks a daemon for. `None` where it cannot be loaded, as by a static program.
pub fn offered(library: &Path) -> Option<Version> {
    let scratch = Scratch::new().ok()?;
    let socket = scratch.path("pcscd.comm");
    let listener = UnixListener::bind(&socket).ok()?;
    let (asked, version) = channel();
    let ended = asked.clone();
    // Where the process ends without a connection, this thread is left to wait: the command ends soon.
    thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else {
            return;
        };
        // Before the stream is closed, which ends the process.
        let _ = asked.send(requested(&mut stream).ok());
    });
    load(&scratch, library, &socket, ended, None).ok()?;
    version.recv_timeout(LIMIT).ok()?
}

/// Whether the daemon at this socket refuses the library.
pub fn is_refused(library: &Path, socket: &Path) -> bool {
    let Ok(scratch) = Scratch::new() else { return false };
    let (sender, ended) = channel();
    if load(&scratch, library, socket, sender, ()).is_err() || ended.recv_timeout(LIMIT).is_err() {
        return false;
    }
    let status = scratch.wait();
    status.is_ok_and(|status| status.code() == Some(Exit::NoService as i32))
}

/// The version that a client asks for.
fn requested(stream: &mut UnixStream) -> io::Result<Version> {
    stream.set_read_timeout(Some(LIMIT))?;
    let mut request = [0; Header::SIZE + VersionBody::SIZE];
    stream.read_exact(&mut request)?;
    let body = VersionBody::parse(&request[Header::SIZE..], Endian::NATIVE);
    Ok(body.ok_or(io::ErrorKind::InvalidData)?.version())
}

/// This program on another library, which finds a daemon at `socket`. A process of its own loads the library:
/// it may crash, and keeps its settings for as long as a process lives.
pub fn command_on(library: &Path, socket: &Path) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--backend", "system"])
        .env("PCSCLITE_SYSTEM_LIBRARY", library)
        .env("PCSCLITE_CSOCK_NAME", socket)
        // From pcsc-lite 2.3 on it may name this project's library, in the place of the one that is meant.
        .env_remove("LIBPCSCLITE_DELEGATE");
    Ok(command)
}

/// Starts a process that lists readers on the library. Dropping `process` ends it. Sends `message` to `ended`
/// when it has ended.
fn load<T: Send + 'static>(
    process: &Scratch,
    library: &Path,
    socket: &Path,
    ended: Sender<T>,
    message: T,
) -> io::Result<()> {
    let mut command = command_on(library, socket)?;
    command
        .arg("list")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let output = process.start(&mut command, |child| child.stdout.take())?;
    let mut output = output.ok_or(io::ErrorKind::BrokenPipe)?;
    thread::spawn(move || {
        // The output ends with the process.
        let _ = io::copy(&mut output, &mut io::sink());
        let _ = ended.send(message);
    });
    Ok(())
}
