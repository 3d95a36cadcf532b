//! Who is at the other end of a Unix socket.

use rustix::fd::AsFd;
use std::io;

/// The process that has made a connection, as it was at that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The number of its user.
    pub user: u32,
    /// The numbers of its groups.
    pub groups: Vec<u32>,
    /// Its number; `None` where the system does not say.
    pub process: Option<u32>,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Peer {
    /// The peer of a connected Unix socket.
    ///
    /// # Errors
    /// The system's, for another file than such a socket.
    pub fn of(socket: impl AsFd) -> io::Result<Peer> {
        let credentials = rustix::net::sockopt::socket_peercred(&socket)?;
        let mut groups = vec![credentials.gid.as_raw()];
        groups.extend(supplementary_groups(&socket)?);
        Ok(Peer {
            user: credentials.uid.as_raw(),
            groups,
            process: u32::try_from(credentials.pid.as_raw_nonzero().get()).ok(),
        })
    }
}

/// `SO_PEERGROUPS`, which rustix does not have. None on kernels before 4.13.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn supplementary_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    use std::os::fd::AsRawFd;

    let fd = socket.as_fd().as_raw_fd();
    let mut groups: Vec<libc::gid_t> = Vec::new();
    loop {
        let mut size = std::mem::size_of_val(&groups[..]) as libc::socklen_t;
        // SAFETY: the socket is open, and the buffer has the size that is passed; the kernel stores no more.
        let result = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &mut size,
            )
        };
        let count = size as usize / std::mem::size_of::<libc::gid_t>();
        match (result, io::Error::last_os_error().raw_os_error()) {
            (0, _) => {
                groups.truncate(count);
                return Ok(groups);
            }
            // The kernel has stored the size that is needed.
            (_, Some(libc::ERANGE)) if count > groups.len() => groups.resize(count, 0),
            (_, Some(libc::ENOPROTOOPT)) => return Ok(Vec::new()),
            (_, errno) => return Err(io::Error::from_raw_os_error(errno.unwrap_or(libc::EIO))),
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Peer {
    /// The peer of a connected Unix socket.
    ///
    /// # Errors
    /// The system's, for another file than such a socket.
    pub fn of(socket: impl AsFd) -> io::Result<Peer> {
        use std::os::fd::AsRawFd;

        let (mut user, mut group) = (0, 0);
        // SAFETY: the socket is open, and both results are writable.
        if unsafe { libc::getpeereid(socket.as_fd().as_raw_fd(), &mut user, &mut group) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Peer {
            user,
            groups: vec![group],
            process: None,
        })
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
