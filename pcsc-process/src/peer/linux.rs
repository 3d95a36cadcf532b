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
    let credentials = credentials(socket)?;
    let mut groups = vec![credentials.gid];
    groups.extend(supplementary_groups(socket)?);
    Ok(Peer {
        user: credentials.uid,
        groups,
        process: process(credentials.pid),
    })
}

/// 0 stands for a process of a namespace that this one does not see.
fn process(number: libc::pid_t) -> Option<u32> {
    u32::try_from(number).ok().filter(|number| *number != 0)
}

/// `SO_PEERCRED`. That of rustix has undefined behaviour for process 0.
fn credentials(socket: BorrowedFd<'_>) -> io::Result<libc::ucred> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: libc::uid_t::MAX,
        gid: libc::gid_t::MAX,
    };
    let mut size = std::mem::size_of_val(&credentials) as libc::socklen_t;
    // SAFETY: the socket is open, and the buffer has the size that is passed; the kernel stores no more. Any
    // bytes are valid credentials.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &mut size,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(credentials)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_another_namespace_has_no_number() {
        assert_eq!([process(0), process(-1), process(7)], [None, None, Some(7)]);
    }
}
