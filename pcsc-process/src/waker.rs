//! Ends a poll from another thread.

use crate::{socket, Descriptor};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::{Errno, Result};
use rustix::net::{self, RecvFlags, SendFlags};

/// A pair of connected sockets. The descriptor becomes readable when another thread calls
/// [`wake`](Waker::wake).
///
/// Sockets, because socket calls fail on other files: the program may have closed the descriptors, and opened
/// files that have their numbers now.
#[derive(Debug)]
pub struct Waker {
    receiver: Descriptor,
    sender: Descriptor,
}

impl Waker {
    /// Makes one. It takes two descriptors.
    ///
    /// # Errors
    /// `EMFILE` and others of `socketpair`.
    pub fn new() -> Result<Waker> {
        let (receiver, sender) = socket::pair()?;
        Ok(Waker {
            receiver: Descriptor::new(receiver),
            sender: Descriptor::new(sender),
        })
    }

    /// Makes the descriptor readable; false if it is not this library's any more. Allocates nothing and takes
    /// no lock, so that a signal handler may call it.
    pub fn wake(&self) -> bool {
        if !self.sender.is_ours() {
            return false;
        }
        loop {
            match net::send(&self.sender, &[0], socket::SEND_FLAGS | SendFlags::DONTWAIT) {
                Err(Errno::INTR) => (),
                // The socket is full, and so it is readable.
                Ok(_) | Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Makes the descriptor unreadable again.
    pub fn clear(&self) {
        const MOST: usize = 64;
        let mut bytes = [0u8; MOST];
        // Fewer bytes than there is room for are all.
        while matches!(
            net::recv(&self.receiver, &mut bytes, RecvFlags::DONTWAIT),
            Ok((_, MOST)) | Err(Errno::INTR)
        ) {}
    }

    /// Whether the descriptor is still the one that [`new`](Waker::new) made.
    pub fn is_ours(&self) -> bool {
        self.receiver.is_ours()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{poll, PollFd, PollFlags, Timespec};

    fn is_readable(waker: &Waker) -> bool {
        let mut fds = [PollFd::new(waker, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
    }

    #[test]
    fn it_is_readable_from_a_wake_until_it_is_cleared() {
        let waker = Waker::new().unwrap();
        assert!(!is_readable(&waker));
        waker.clear();
        // More wakes than the socket has room for.
        for _ in 0..10_000 {
            assert!(waker.wake());
        }
        assert!(is_readable(&waker));
        waker.clear();
        assert!(!is_readable(&waker));
        assert!(waker.wake() && is_readable(&waker));
    }

    #[test]
    fn a_wake_that_nobody_can_receive_fails() {
        use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};
        let waker = Waker::new().unwrap();
        let (theirs, _other) = socket::pair().unwrap();
        // SAFETY: the waker does not close it any more; it is closed below.
        let mut reused = unsafe { OwnedFd::from_raw_fd(waker.as_fd().as_raw_fd()) };
        rustix::io::dup2(&theirs, &mut reused).unwrap();
        assert!(!waker.is_ours() && !waker.wake());
    }

    #[test]
    fn a_foreign_file_gets_nothing() {
        use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};
        let waker = Waker::new().unwrap();
        let (theirs, other) = socket::pair().unwrap();
        // SAFETY: the waker does not close it any more, which is what is tested; it is closed below.
        let mut reused = unsafe { OwnedFd::from_raw_fd(waker.sender.as_fd().as_raw_fd()) };
        rustix::io::dup2(&theirs, &mut reused).unwrap();
        assert!(!waker.wake());
        let received = net::recv(&other, &mut [0u8; 8], RecvFlags::DONTWAIT);
        assert_eq!(received.map(|(_, count)| count), Err(Errno::AGAIN));
        drop(waker);
        assert!(rustix::io::fcntl_getfd(&reused).is_ok());
    }
}
