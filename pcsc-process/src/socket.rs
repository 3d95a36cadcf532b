//! Unix stream sockets that are closed on exec and raise no SIGPIPE.

use rustix::fd::OwnedFd;
use rustix::io::Result;
use rustix::net::{self, AddressFamily, SendFlags, SocketFlags, SocketType};

/// The flags with which a send raises no SIGPIPE. Apple's systems have an option of the socket instead.
#[cfg(not(target_vendor = "apple"))]
pub const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;
/// The flags with which a send raises no SIGPIPE.
#[cfg(target_vendor = "apple")]
pub const SEND_FLAGS: SendFlags = SendFlags::empty();

#[cfg(not(target_vendor = "apple"))]
const FLAGS: SocketFlags = SocketFlags::CLOEXEC;
#[cfg(target_vendor = "apple")]
const FLAGS: SocketFlags = SocketFlags::empty();

/// A socket that is not connected.
///
/// # Errors
/// Those of `socket`.
pub fn stream() -> Result<OwnedFd> {
    prepare(net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        FLAGS,
        None,
    )?)
}

/// Two connected sockets.
///
/// # Errors
/// Those of `socketpair`.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let (one, other) = net::socketpair(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    Ok((prepare(one)?, prepare(other)?))
}

#[cfg(not(target_vendor = "apple"))]
fn prepare(socket: OwnedFd) -> Result<OwnedFd> {
    Ok(socket)
}

#[cfg(target_vendor = "apple")]
fn prepare(socket: OwnedFd) -> Result<OwnedFd> {
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    net::sockopt::set_socket_nosigpipe(&socket, true)?;
    Ok(socket)
}
