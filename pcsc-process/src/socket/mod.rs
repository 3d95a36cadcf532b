//! Unix stream sockets that are closed on exec and raise no SIGPIPE.

#[cfg(target_vendor = "apple")]
mod by_options;
#[cfg(target_vendor = "apple")]
use by_options as platform;

#[cfg(not(target_vendor = "apple"))]
mod by_flags;
#[cfg(not(target_vendor = "apple"))]
use by_flags as platform;

use rustix::fd::OwnedFd;
use rustix::io::Result;
use rustix::net::{self, AddressFamily, SocketType};

use crate::descriptor::off_standard_streams;

pub use platform::SEND_FLAGS;

/// A socket that is not connected.
///
/// # Errors
/// Those of `socket`.
pub fn stream() -> Result<OwnedFd> {
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, platform::FLAGS, None)?;
    // Before it is connected.
    platform::prepare(off_standard_streams(socket))
}

/// Two connected sockets.
///
/// # Errors
/// Those of `socketpair`.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let (one, other) = net::socketpair(AddressFamily::UNIX, SocketType::STREAM, platform::FLAGS, None)?;
    Ok((platform::prepare(one)?, platform::prepare(other)?))
}
