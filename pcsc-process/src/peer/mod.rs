//! Who is at the other end of a Unix socket.

#[cfg(any(target_os = "illumos", target_os = "solaris"))]
mod by_credentials;
#[cfg(any(target_os = "illumos", target_os = "solaris"))]
use by_credentials as platform;

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "illumos",
    target_os = "solaris"
)))]
mod by_number;
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "illumos",
    target_os = "solaris"
)))]
use by_number as platform;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(any(target_os = "linux", target_os = "android"))]
use linux as platform;

use rustix::fd::AsFd;
use std::io;

/// The process that has made a connection, as it was at that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The number of its user.
    pub user: u32,
    /// The numbers of its groups: its effective one first, and the others where the system provides them.
    pub groups: Vec<u32>,
    /// Its number; `None` where the system does not provide it.
    pub process: Option<u32>,
}

impl Peer {
    /// The peer of a connected Unix socket.
    ///
    /// # Errors
    /// The system's, for another file than such a socket.
    pub fn of(socket: impl AsFd) -> io::Result<Peer> {
        platform::peer(socket.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_of_a_pair_is_this_process() {
        if cfg!(miri) {
            return;
        }
        let (one, _other) = crate::socket::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.user, rustix::process::geteuid().as_raw());
        assert!(peer.groups.contains(&rustix::process::getegid().as_raw()));
        for group in rustix::process::getgroups().unwrap() {
            assert!(peer.groups.contains(&group.as_raw()), "{group:?}");
        }
        assert_eq!(peer.process, Some(std::process::id()));
        let file = std::fs::File::open(".").unwrap();
        assert!(Peer::of(&file).is_err());
    }
}
