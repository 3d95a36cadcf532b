//! The file that records go to.
//!
//! A line is one write to a file that is open for appending, so that lines of other threads and processes do
//! not come in between. Of a pipe this holds for lines of up to 4,096 bytes; it is written to without
//! waiting.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicPtr, Ordering};

use pcsc_process::Descriptor;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::without_signals;

/// A file, opened again where the program has closed its descriptor, as daemons do.
pub struct File {
    path: CString,
    open: AtomicPtr<Descriptor>,
}

impl File {
    /// Opens a file, for the user alone where it is new. `path` is absolute, since the program may change its
    /// current directory.
    ///
    /// # Errors
    /// `PERM` if the file is to have secrets, and a regular file that was there is another user's. One of
    /// the user's own is for the user alone after this.
    pub fn open(path: CString, has_secrets: bool) -> Result<File, Errno> {
        let opened = open(&path, OFlags::CREATE)?;
        let stat = rustix::fs::fstat(&opened)?;
        if has_secrets && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            if stat.st_uid != rustix::process::geteuid().as_raw() {
                // Another user could read the PINs, or has put the file there to get them.
                return Err(Errno::PERM);
            }
            rustix::fs::fchmod(&opened, Mode::RUSR | Mode::WUSR)?;
        }
        Ok(File {
            path,
            open: AtomicPtr::new(Box::into_raw(Box::new(Descriptor::new(opened)))),
        })
    }

    /// Opens the file again, in the place of this descriptor.
    ///
    /// # Errors
    /// `NOENT` if it was deleted, or another file has its name.
    fn reopen(&self, before: *mut Descriptor) -> Result<&Descriptor, Errno> {
        // Not created again, where the user has deleted it.
        let opened = Descriptor::new(open(&self.path, OFlags::empty())?);
        // SAFETY: `open` or `reopen` has made it, and it is not freed before `self` is dropped.
        if !opened.is_same_file(unsafe { &*before }) {
            return Err(Errno::NOENT);
        }
        let fresh = Box::into_raw(Box::new(opened));
        let replaced = self
            .open
            .compare_exchange(before, fresh, Ordering::AcqRel, Ordering::Acquire);
        let current = match replaced {
            // The one before is not freed: another thread may be using it. Its number is the program's by
            // now.
            Ok(_) => fresh,
            Err(current) => {
                // Another thread came first.
                // SAFETY: it is a box, and nothing else has its address.
                drop(unsafe { Box::from_raw(fresh) });
                current
            }
        };
        // SAFETY: `open` or `reopen` has made it, and it is not freed before `self` is dropped.
        Ok(unsafe { &*current })
    }

    /// Writes a line. `may_open` is false in signal handlers.
    ///
    /// # Errors
    /// `NOENT` if the file was deleted; others if the line was not written, or not as a whole.
    pub fn write(&self, line: &[u8], may_open: bool) -> Result<(), Errno> {
        let open = self.open.load(Ordering::Acquire);
        // SAFETY: `open` or `reopen` has made it, and it is not freed before `self` is dropped.
        let file = match unsafe { &*open } {
            file if file.is_ours() => file,
            _ if !may_open => return Err(Errno::BADF),
            _ => self.reopen(open)?,
        };
        // Nobody would read it.
        if rustix::fs::fstat(file)?.st_nlink == 0 {
            return Err(Errno::NOENT);
        }
        match without_signals::write(file.as_fd(), line)? {
            written if written == line.len() => Ok(()),
            // A part of a line. The next one begins with a newline, so that a reader of the record finds the
            // lines again.
            _ => Err(Errno::NOSPC),
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: `open` or `reopen` has made it of a box, and nothing else uses the file any more.
        drop(unsafe { Box::from_raw(*self.open.get_mut()) });
    }
}

fn open(path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    // A pipe without a reader is an error, and a full one too.
    let flags = flags | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::ptr;

    use super::*;

    /// A pipe, and the path of the end that is written to.
    fn pipe() -> (OwnedFd, OwnedFd, CString) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let path = CString::new(format!("/proc/self/fd/{}", writer.as_raw_fd())).unwrap();
        (reader, writer, path)
    }

    #[test]
    fn two_threads_that_open_the_file_again_leave_one_descriptor() {
        let (_reader, _writer, path) = pipe();
        let file = File::open(path, false).unwrap();
        let before = file.open.load(Ordering::Relaxed);
        let first = file.reopen(before).unwrap();
        let second = file.reopen(before).unwrap();
        assert!(ptr::eq(first, second) && first.is_ours());
        // SAFETY: `open` has made it of a box, and nothing uses it any more.
        drop(unsafe { Box::from_raw(before) });
    }

    #[test]
    fn a_file_that_the_program_has_closed_is_not_opened_again_in_a_signal_handler() {
        let (reader, _writer, path) = pipe();
        let (_other_reader, other, _) = pipe();
        let file = File::open(path, false).unwrap();
        // SAFETY: `open` has made the descriptor, which is not freed before the end. It does not close the
        // number any more, which is another file's from here on and is closed below.
        let mut reused = unsafe {
            let open = &*file.open.load(Ordering::Relaxed);
            OwnedFd::from_raw_fd(open.as_fd().as_raw_fd())
        };
        rustix::io::dup2(&other, &mut reused).unwrap();
        assert_eq!(file.write(b"lost", false), Err(Errno::BADF));
        assert_eq!(file.write(b"line", true), Ok(()));
        assert_eq!(file.write(b"more", false), Ok(()));
        let mut text = [0; 100];
        let length = rustix::io::read(&reader, &mut text[..]).unwrap();
        assert_eq!(&text[..length], b"linemore");
    }

    #[test]
    fn another_file_that_has_got_the_name_is_not_opened() {
        let (_reader, mut writer, path) = pipe();
        let (_other_reader, other, _) = pipe();
        let file = File::open(path, false).unwrap();
        let open = file.open.load(Ordering::Relaxed);
        // One that another thread has replaced.
        let mut replaced = Descriptor::new(super::open(&file.path, OFlags::empty()).unwrap());
        assert!(ptr::eq(file.reopen(&mut replaced).unwrap(), open));
        rustix::io::dup2(&other, &mut writer).unwrap();
        assert_eq!(file.reopen(open).err(), Some(Errno::NOENT));
        assert_eq!(file.write(b"line", true), Ok(()), "it is still open");
    }
}
