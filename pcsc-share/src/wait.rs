//! Waits for descriptors.

use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, Timespec};
use rustix::io::Errno;

/// Waits for one of the descriptors; false if the deadline has passed, also if one is ready.
pub fn wait(polled: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<bool, Errno> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // A peer that sends without a pause would keep its descriptor ready for ever.
        if left == Some(Duration::ZERO) {
            return Ok(false);
        }
        let timeout = left.map(|left| Timespec::try_from(left).unwrap_or_default());
        match poll(polled, timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => (),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use rustix::event::PollFlags;

    #[test]
    fn a_deadline_passes_while_there_is_data() {
        let (one, two) = UnixStream::pair().unwrap();
        (&one).write_all(b"more").unwrap();
        let now = Instant::now();
        let ready = |deadline| wait(&mut [PollFd::new(&two, PollFlags::IN)], Some(deadline)).unwrap();
        assert!(!ready(now));
        assert!(ready(now + Duration::from_secs(60)));
    }
}
