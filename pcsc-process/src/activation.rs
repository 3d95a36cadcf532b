//! Sockets that systemd has opened before it started this process (sd_listen_fds(3)).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first of them.
const FIRST: RawFd = 3;

/// Takes the socket that systemd passes to this process. `None` if it passes none, and at each further call.
///
/// Only the first socket is taken; a unit for this program has one.
pub fn socket() -> Option<OwnedFd> {
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);

    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    // A child that inherits the variables is not meant.
    if number("LISTEN_PID") != Some(std::process::id()) || number("LISTEN_FDS")? == 0 {
        return None;
    }
    if IS_TAKEN.swap(true, Ordering::SeqCst) {
        return None;
    }
    // SAFETY: the variables say that this descriptor was passed to this process, for it to own. It is taken
    // once.
    let socket = unsafe { OwnedFd::from_raw_fd(FIRST) };
    // It fails if the descriptor is not open.
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(socket)
}
