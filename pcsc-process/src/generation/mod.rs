//! Detection of a fork: a child has a copy of its parent's memory, but another number.

mod by_process_id;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(miri))))]
use by_process_id as platform;

#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
mod by_wiped_page;
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
use by_wiped_page as platform;

/// A number that a process does not share with its parents. It is never 0. Takes no lock, which a fork could
/// leave locked.
pub fn generation() -> u32 {
    platform::generation()
}

#[cfg(all(test, unix, not(miri)))]
mod tests {
    use super::*;

    fn holds_in_child(check: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child ends without returning, and `check` waits for no other thread.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let holds = check();
            // SAFETY: it has no preconditions.
            unsafe { libc::_exit(i32::from(!holds)) };
        }
        let mut status = -1;
        // SAFETY: it is a child of this process, waited for once, and `status` is writable.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        status == 0
    }

    #[test]
    fn a_child_and_its_child_have_numbers_of_their_own() {
        for generation in [platform::generation, by_process_id::generation] {
            let parent = generation();
            assert_ne!(parent, 0);
            assert_eq!(generation(), parent);
            assert!(holds_in_child(|| {
                let child = generation();
                let grandchild = || ![0, parent, child].contains(&generation());
                child != parent && child == generation() && holds_in_child(grandchild)
            }));
            assert_eq!(generation(), parent);
        }
    }

    /// Tables are indexed by the number modulo their size, and a child must not wait for its parent's locks.
    #[test]
    fn a_child_continues_its_parents_count() {
        for generation in [platform::generation, by_process_id::generation] {
            let parent = generation();
            // Threads that call it for the first time at once may use up more than one.
            assert!(holds_in_child(
                || (parent + 1..parent + 10).contains(&generation())
            ));
        }
    }
}
