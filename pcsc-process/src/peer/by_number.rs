//! `getpeereid` of the BSDs and macOS: the effective user and group alone.

use rustix::fd::{AsRawFd, BorrowedFd};
use std::io;

use super::Peer;

pub fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let (mut user, mut group) = (0, 0);
    // SAFETY: the socket is open, and both results are writable.
    if unsafe { libc::getpeereid(socket.as_raw_fd(), &mut user, &mut group) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Peer {
        user,
        groups: vec![group],
        process: None,
    })
}
