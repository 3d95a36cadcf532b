//! Facts about this process: whether it was forked, and whether it may trust its environment.
#![allow(unsafe_code)]

use once_cell::race::OnceBool;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub use pcsc_usbfs::generation;

/// A number that differs between a process and its forked children.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn generation() -> u32 {
    std::process::id()
}

/// Whether this is a setuid or setgid program, or one with file capabilities. Such a program ignores the
/// environment of its caller.
pub fn is_privileged() -> bool {
    static PRIVILEGED: OnceBool = OnceBool::new();
    PRIVILEGED.get_or_init(|| {
        if cfg!(miri) {
            // Miri has neither users nor an auxiliary vector.
            return false;
        }
        // SAFETY: getauxval reads the process's auxiliary vector and has no preconditions.
        #[cfg(target_os = "linux")]
        let secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
        #[cfg(not(target_os = "linux"))]
        let secure = false;
        secure
            || rustix::process::getuid() != rustix::process::geteuid()
            || rustix::process::getgid() != rustix::process::getegid()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_has_another_generation() {
        let parent = generation();
        assert_eq!(parent, generation());
        // SAFETY: the child calls nothing but generation() and _exit, which are safe after a fork.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let changed = generation() != parent && generation() == generation();
            unsafe { libc::_exit(if changed { 7 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: `child` is a child of this process and `status` is writable.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(libc::WEXITSTATUS(status), 7);
        assert_eq!(parent, generation());
    }
}
