//! Close-on-exec is a flag of the socket's creation, and no SIGPIPE a flag of each send.

use rustix::fd::OwnedFd;
use rustix::io::Result;
use rustix::net::{SendFlags, SocketFlags};

/// The flags with which a send raises no SIGPIPE.
pub const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;

pub(super) const FLAGS: SocketFlags = SocketFlags::CLOEXEC;

pub(super) fn prepare(socket: OwnedFd) -> Result<OwnedFd> {
    Ok(socket)
}
