//! Threads of the manager.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::thread::JoinHandle;

/// Starts a thread that no signal is delivered to: the program's signal handlers run in its own threads.
///
/// # Errors
/// The system's, where it has no room for a thread.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `all` is filled before it is read, and both sets are writable. A new thread inherits the mask
    // of the one that starts it.
    let is_masked = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) == 0
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    if is_masked {
        // SAFETY: the call above has filled `before`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    }
    thread
}
