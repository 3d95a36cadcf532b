//! Writes that send no signal to the program.

#[cfg(target_os = "linux")]
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
#[cfg(target_os = "linux")]
use std::ptr;

use rustix::io::Errno;

/// The signals that a write can send to its thread: of a pipe without a reader, and of a file that is longer
/// than RLIMIT_FSIZE.
#[cfg(target_os = "linux")]
const SIGNALS: [libc::c_int; 2] = [libc::SIGPIPE, libc::SIGXFSZ];

/// Writes, and takes back the signals that the program would not have got without it.
#[cfg(target_os = "linux")]
pub fn write(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
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
        // Before the write: a signal that was pending already is the program's, and stays.
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
                // While it is blocked, and before the mask is restored, which would deliver it.
                libc::sigtimedwait(&ours, ptr::null_mut(), &now);
            }
            *libc::__errno_location() = errno;
        }
    }
    // SAFETY: `before` is the mask that the thread had.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
    written
}

/// Writes. The signals are not taken back: not every system has `sigtimedwait`.
#[cfg(not(target_os = "linux"))]
pub fn write(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    rustix::io::write(file, bytes)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    /// The thread's blocked signals, and its pending ones, of those that a write can send.
    fn signals() -> [[bool; 2]; 2] {
        let mut sets = [MaybeUninit::<libc::sigset_t>::uninit(); 2];
        let [blocked, pending] = sets.each_mut().map(MaybeUninit::as_mut_ptr);
        // SAFETY: each call initialises the set that it is given.
        unsafe {
            assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), blocked), 0);
            assert_eq!(libc::sigpending(pending), 0);
            [blocked, pending].map(|set| SIGNALS.map(|signal| libc::sigismember(set, signal) == 1))
        }
    }

    #[test]
    fn a_write_leaves_the_threads_signals_as_they_were() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let before = signals();
        assert_eq!(write(writer.as_fd(), b"line"), Ok(4));
        assert_eq!(signals(), before);
        drop(reader);
        assert_eq!(write(writer.as_fd(), b"line"), Err(Errno::PIPE));
        assert_eq!(signals(), before);
        // One of the program's own, which it waits for.
        let mut pipe = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `sigemptyset` initialises the set. The signal is blocked, and sent to this thread.
        unsafe {
            libc::sigemptyset(pipe.as_mut_ptr());
            libc::sigaddset(pipe.as_mut_ptr(), libc::SIGPIPE);
            libc::pthread_sigmask(libc::SIG_BLOCK, pipe.as_ptr(), ptr::null_mut());
            libc::raise(libc::SIGPIPE);
        }
        let before = signals();
        assert_eq!(before[1], [true, false]);
        assert_eq!(write(writer.as_fd(), b"line"), Err(Errno::PIPE));
        assert_eq!(signals(), before);
        // SAFETY: the set is initialised.
        let taken = unsafe { libc::sigtimedwait(pipe.as_ptr(), ptr::null_mut(), ptr::null()) };
        assert_eq!(taken, libc::SIGPIPE);
    }
}
