//! `poll` of POSIX. No cancellation point, since cancellation is disabled in the entry points.

use std::io;
use std::time::Instant;

/// `poll(2)` with a deadline. 0 if the deadline passed first.
///
/// # Errors
/// The system's, also `EINTR`.
pub fn poll(descriptors: &mut [libc::pollfd], deadline: Option<Instant>) -> io::Result<usize> {
    let count = descriptors.len() as libc::nfds_t;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // Rounded up, so that a wait does not end before its deadline.
        let rounded = left.map(|left| i32::try_from(left.as_nanos().div_ceil(1_000_000)));
        // The longest timeout is 24 days.
        let (timeout, is_shortened) = match rounded {
            None => (-1, false),
            Some(Ok(milliseconds)) => (milliseconds, false),
            Some(Err(_)) => (i32::MAX, true),
        };
        // SAFETY: an array with its length.
        let polled = unsafe { libc::poll(descriptors.as_mut_ptr(), count, timeout) };
        match usize::try_from(polled) {
            Ok(0) if is_shortened => (),
            Ok(ready) => return Ok(ready),
            Err(_) => return Err(io::Error::last_os_error()),
        }
    }
}
