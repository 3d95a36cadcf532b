//! `SO_PEERCRED` and `SO_PEERGROUPS`.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use std::io;

use super::Peer;

#[cfg(not(target_os = "android"))]
use libc::SO_PEERGROUPS;
/// Crate libc does not declare it for Android.
#[cfg(target_os = "android")]
const SO_PEERGROUPS: libc::c_int = 59;

pub fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let credentials = rustix::net::sockopt::socket_peercred(socket)?;
    let mut groups = vec![credentials.gid.as_raw()];
    groups.extend(supplementary_groups(socket)?);
    Ok(Peer {
        user: credentials.uid.as_raw(),
        groups,
        process: u32::try_from(credentials.pid.as_raw_nonzero().get()).ok(),
    })
}

/// `SO_PEERGROUPS`, which rustix does not have. None on kernels before 4.13.
fn supplementary_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let fd = socket.as_fd().as_raw_fd();
    let mut groups: Vec<libc::gid_t> = Vec::new();
    loop {
        let mut size = std::mem::size_of_val(&groups[..]) as libc::socklen_t;
        // SAFETY: the socket is open, and the buffer has the size that is passed; the kernel stores no more.
        let result = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                SO_PEERGROUPS,
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
