//! The file that records go to.
//!
//! A line is one write to a file that is open for appending, so that lines of other threads and processes do
//! not come in between. Of a pipe this holds for lines of up to 4,096 bytes; it is written to without
//! waiting.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pcsc_process::Descriptor;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// A file, opened again where the program has closed its descriptor, as daemons do.
pub struct File {
    path: CString,
    open: AtomicPtr<Descriptor>,
}

impl File {
    /// Opens a file, for the user alone where it is new.
    pub fn open(path: CString) -> Result<File, Errno> {
        let file = File {
            path,
            open: AtomicPtr::new(ptr::null_mut()),
        };
        file.reopen(OFlags::CREATE)?;
        Ok(file)
    }

    fn reopen(&self, flags: OFlags) -> Result<&Descriptor, Errno> {
        // A pipe without a reader is an error, and a full one too.
        let flags =
            flags | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let opened = rustix::fs::open(&self.path, flags, Mode::RUSR | Mode::WUSR)?;
        // Not a number that the program expects its next file to have: 0 to 2 may be closed.
        let opened = rustix::io::fcntl_dupfd_cloexec(opened, 3)?;
        let fresh = Box::into_raw(Box::new(Descriptor::new(opened)));
        // The one before is not freed: another thread may be using it. Its number is the program's by now.
        self.open.store(fresh, Ordering::Release);
        // SAFETY: it is not freed before `self` is dropped.
        Ok(unsafe { &*fresh })
    }

    /// Writes a line. `may_open` is false in signal handlers.
    ///
    /// # Errors
    /// `NOENT` if the file was deleted; others if the line was not written, or not as a whole.
    pub fn write(&self, line: &[u8], may_open: bool) -> Result<(), Errno> {
        // SAFETY: it is null, or was made by `reopen` and is not freed before `self` is dropped.
        let open = unsafe { self.open.load(Ordering::Acquire).as_ref() };
        let file = match open.filter(|file| file.is_ours()) {
            Some(file) => file,
            None if !may_open => return Err(Errno::BADF),
            // Not created again, where the user has deleted it.
            None => self.reopen(OFlags::empty())?,
        };
        // Nobody would read it.
        if rustix::fs::fstat(file)?.st_nlink == 0 {
            return Err(Errno::NOENT);
        }
        match write_without_signals(file.as_fd(), line)? {
            written if written == line.len() => Ok(()),
            _ => Err(Errno::NOSPC),
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let open = *self.open.get_mut();
        if !open.is_null() {
            // SAFETY: `reopen` has made it of a box, and nothing else uses the file any more.
            drop(unsafe { Box::from_raw(open) });
        }
    }
}

/// The signals that a write can send to its thread: of a pipe without a reader, and of a file that is longer
/// than RLIMIT_FSIZE.
const SIGNALS: [libc::c_int; 2] = [libc::SIGPIPE, libc::SIGXFSZ];

/// Writes, and takes back the signals that the program would not have got without it.
fn write_without_signals(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let mut ours = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    let mut pending = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset`, `pthread_sigmask` and `sigpending` initialise the set that each is given.
    let (ours, before, pending) = unsafe {
        libc::sigemptyset(ours.as_mut_ptr());
        for signal in SIGNALS {
            libc::sigaddset(ours.as_mut_ptr(), signal);
        }
        libc::sigemptyset(pending.as_mut_ptr());
        libc::sigpending(pending.as_mut_ptr());
        libc::sigemptyset(before.as_mut_ptr());
        if libc::pthread_sigmask(libc::SIG_BLOCK, ours.as_ptr(), before.as_mut_ptr()) != 0 {
            return Err(Errno::INVAL);
        }
        (ours.assume_init(), before.assume_init(), pending.assume_init())
    };
    let written = rustix::io::write(file, bytes);
    if let Err(Errno::PIPE | Errno::FBIG) = written {
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the sets are initialised, and the signals of one that was pending before are left alone.
        // `__errno_location` points to this thread's errno.
        unsafe {
            let errno = *libc::__errno_location();
            if !SIGNALS
                .iter()
                .any(|signal| libc::sigismember(&pending, *signal) == 1)
            {
                libc::sigtimedwait(&ours, ptr::null_mut(), &now);
            }
            *libc::__errno_location() = errno;
        }
    }
    // SAFETY: `before` is the mask that the thread had.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
    written
}
