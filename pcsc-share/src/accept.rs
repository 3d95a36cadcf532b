//! What a failure to accept a connection means.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

/// How long to wait for a descriptor or memory.
pub const RETRY: Duration = Duration::from_millis(100);

/// Whether to accept again at once: the client has gone, or there is none.
pub fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | WouldBlock
    )
}

/// Whether the system has no descriptor or no memory left at the moment.
pub fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
}
