//! Which protocol a library speaks with a daemon, found out by having another process load it.

use std::io::{self, Read};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pcsc_wire::{Body, Endian, Header, Version, VersionExchange};

use crate::problem::Exit;
use crate::relay;

/// How long a library may take to connect, and a daemon to serve it.
const LIMIT: Duration = Duration::from_secs(10);

/// The pause between two looks at the other process.
const PAUSE: Duration = Duration::from_millis(5);

/// The version that a library asks a daemon for. `None` where it cannot be loaded, as by a static program.
pub fn offered(library: &Path) -> Option<Version> {
    let folder = relay::folder().ok()?;
    let version = asked(library, &folder.join("pcscd.comm"));
    // Of this process, and nothing else is in it.
    let _ = std::fs::remove_dir_all(folder);
    version.ok()
}

/// Whether the daemon at this socket refuses the library.
pub fn is_refused(library: &Path, socket: &Path) -> bool {
    let Ok(mut child) = Loader::start(library, socket) else {
        return false;
    };
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        match child.0.try_wait() {
            Ok(None) => thread::sleep(PAUSE),
            Ok(Some(status)) => return status.code() == Some(Exit::NoService as i32),
            Err(_) => break,
        }
    }
    false
}

/// What the library asks for at this socket, where nobody else listens.
fn asked(library: &Path, socket: &Path) -> io::Result<Version> {
    let listener = UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    let mut child = Loader::start(library, socket)?;
    let end = Instant::now() + LIMIT;
    loop {
        let has_ended = child.0.try_wait()?.is_some();
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(LIMIT))?;
                let mut request = [0; Header::SIZE + VersionExchange::SIZE];
                stream.read_exact(&mut request)?;
                let body = VersionExchange::parse(&request[Header::SIZE..], Endian::NATIVE);
                return body
                    .map(|body| body.version())
                    .ok_or(io::ErrorKind::InvalidData.into());
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) if has_ended || Instant::now() > end => return Err(io::ErrorKind::NotConnected.into()),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// A process that loads a library and lists readers. It is killed when dropped.
struct Loader(Child);

impl Loader {
    fn start(library: &Path, socket: &Path) -> io::Result<Loader> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["list", "--backend", "system"])
            .env("PCSCLITE_SYSTEM_LIBRARY", library)
            .env("PCSCLITE_CSOCK_NAME", socket)
            // This project's library in the place of the one that is asked about.
            .env_remove("LIBPCSCLITE_DELEGATE");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Loader(command.spawn()?))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
