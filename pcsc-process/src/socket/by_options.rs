//! Apple's systems have neither flag, and options of the socket instead. A program that another thread
//! executes between the socket's creation and the option inherits the socket.

use rustix::fd::OwnedFd;
use rustix::io::Result;
use rustix::net::{sockopt, SendFlags, SocketFlags};

/// The flags with which a send raises no SIGPIPE.
pub const SEND_FLAGS: SendFlags = SendFlags::empty();

pub(super) const FLAGS: SocketFlags = SocketFlags::empty();

pub(super) fn prepare(socket: OwnedFd) -> Result<OwnedFd> {
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    sockopt::set_socket_nosigpipe(&socket, true)?;
    Ok(socket)
}
