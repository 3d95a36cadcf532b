//! File descriptors that the program may close behind the library's back, as daemons do with `closefrom(3)`.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::fstat;
use rustix::io::fcntl_dupfd_cloexec;
use std::mem::ManuallyDrop;

/// An open file. Dropping it closes the file, unless its number names another file by then.
///
/// On Linux all anonymous files, such as those of `epoll` and `inotify`, have the same identity, so one of
/// them is not distinguished from another.
#[derive(Debug)]
pub struct Descriptor {
    fd: ManuallyDrop<OwnedFd>,
    /// `None` if `fstat` failed. Such a file is never closed.
    file: Option<(u64, u64)>,
}

impl Descriptor {
    /// Takes an open file.
    pub fn new(fd: OwnedFd) -> Descriptor {
        let fd = off_standard_streams(fd);
        let file = identity(&fd);
        Descriptor {
            fd: ManuallyDrop::new(fd),
            file,
        }
    }

    /// Whether the number still names the file that was opened. Costs a system call.
    pub fn is_ours(&self) -> bool {
        self.file.is_some() && identity(&*self.fd) == self.file
    }

    /// Whether two descriptors were opened on the same file.
    pub fn is_same_file(&self, other: &Descriptor) -> bool {
        self.file.is_some() && self.file == other.file
    }

    /// The file, if the number still names it. Costs a system call.
    pub fn into_ours(self) -> Option<OwnedFd> {
        let is_ours = self.is_ours();
        let mut descriptor = ManuallyDrop::new(self);
        // SAFETY: `descriptor` is neither used nor dropped afterwards.
        is_ours.then(|| unsafe { ManuallyDrop::take(&mut descriptor.fd) })
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if self.is_ours() {
            // SAFETY: it is dropped only here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}

/// Moves a file off the numbers of the standard streams. Where the program has closed these, the system gives
/// their numbers to the next files, and what the program writes to stderr must not go to a daemon.
pub fn off_standard_streams(fd: OwnedFd) -> OwnedFd {
    const FIRST_OTHER: i32 = 3;
    if fd.as_raw_fd() >= FIRST_OTHER {
        return fd;
    }
    // Without a free number it stays where it is.
    fcntl_dupfd_cloexec(&fd, FIRST_OTHER).unwrap_or(fd)
}

/// The device and the inode.
// The types of the fields differ between systems.
#[allow(clippy::unnecessary_cast)]
fn identity(fd: impl AsFd) -> Option<(u64, u64)> {
    let stat = fstat(fd).ok()?;
    Some((stat.st_dev as u64, stat.st_ino as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{dup2, fcntl_getfd};

    #[test]
    fn a_file_is_closed_once() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let watched = reader.try_clone().unwrap();
        let descriptor = Descriptor::new(reader);
        let number = descriptor.as_fd().as_raw_fd();
        // Another thread may have got the number meanwhile, but not for this file.
        // SAFETY: the file, if any, is only looked at.
        let is_open = |number| identity(unsafe { BorrowedFd::borrow_raw(number) }) == identity(&watched);
        assert!(descriptor.is_ours());
        drop(descriptor);
        assert!(!is_open(number));

        let descriptor = Descriptor::new(watched.try_clone().unwrap());
        let number = descriptor.as_fd().as_raw_fd();
        let file = descriptor.into_ours().unwrap();
        assert!(is_open(number));
        drop(file);
        assert!(!is_open(number));
    }

    #[test]
    fn another_file_of_the_same_number_stays_open() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let (other, _) = rustix::pipe::pipe().unwrap();
        let descriptor = Descriptor::new(reader);
        // SAFETY: `descriptor` does not close it any more, which is what is tested; it is closed below.
        let mut reused = unsafe {
            use rustix::fd::FromRawFd;
            OwnedFd::from_raw_fd(descriptor.as_fd().as_raw_fd())
        };
        dup2(&other, &mut reused).unwrap();
        assert!(!descriptor.is_ours());
        assert!(descriptor.into_ours().is_none());
        assert!(fcntl_getfd(&reused).is_ok());
    }
}
