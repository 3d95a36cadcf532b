//! `getpeerucred` of illumos and Solaris.

use rustix::fd::{AsRawFd, BorrowedFd};
use std::{io, ptr, slice};

use super::Peer;

pub fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let mut credentials = ptr::null_mut();
    // SAFETY: the socket is open. The result, null at first, is allocated by the call.
    if unsafe { libc::getpeerucred(socket.as_raw_fd(), &mut credentials) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the credentials are valid until they are freed below.
    let (user, group, process) = unsafe {
        (
            libc::ucred_geteuid(credentials),
            libc::ucred_getegid(credentials),
            libc::ucred_getpid(credentials),
        )
    };
    let mut groups = vec![group];
    let mut others = ptr::null();
    // SAFETY: as above. The groups are a part of the credentials.
    unsafe {
        let count = libc::ucred_getgroups(credentials, &mut others);
        if let (Ok(count), false) = (usize::try_from(count), others.is_null()) {
            groups.extend(slice::from_raw_parts(others, count));
        }
        libc::ucred_free(credentials);
    }
    // The functions return -1 for what the system does not know.
    if user == libc::uid_t::MAX || group == libc::gid_t::MAX {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(Peer {
        user,
        groups,
        process: u32::try_from(process).ok(),
    })
}
