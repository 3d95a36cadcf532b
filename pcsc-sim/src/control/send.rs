//! Writes to sockets.

use std::io;
use std::os::unix::net::UnixStream;

use pcsc_process::socket::SEND_FLAGS;
use rustix::io::Errno;
use rustix::net::send;

/// Sends all bytes. A connection that the other end has closed is an error, and never the signal SIGPIPE: the
/// program that the library is in may not ignore it.
///
/// # Errors
/// Those of `send`.
pub fn send_all(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match send(stream, bytes, SEND_FLAGS) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
