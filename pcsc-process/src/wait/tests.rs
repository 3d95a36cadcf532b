//! The tests of this system's waits and, on Linux too, of those of the other systems.

use std::io;
use std::time::{Duration, Instant};

macro_rules! test_waits {
    ($name:ident: $waits:path, $poll:path) => {
        mod $name {
            use super::*;
            use $poll as poll;
            use $waits::{sleep, ChangeCounter};

            #[test]
            fn a_change_before_or_during_the_wait_ends_it() {
                let counter = ChangeCounter::default();
                let seen = counter.changes();
                counter.post();
                assert!(counter.wait(seen, None));
                let seen = counter.changes();
                std::thread::scope(|scope| {
                    let waits = scope.spawn(|| counter.wait(seen, None));
                    counter.post();
                    assert!(waits.join().unwrap());
                });
            }

            #[test]
            fn without_a_change_the_deadline_ends_it() {
                let counter = ChangeCounter::default();
                let deadline = Instant::now() + Duration::from_millis(5);
                assert!(!counter.wait(counter.changes(), Some(deadline)));
                assert!(Instant::now() >= deadline);
                assert!(!counter.wait(counter.changes(), Some(deadline)));
            }

            #[test]
            fn a_sleep_lasts_as_long_as_asked() {
                let begin = Instant::now();
                assert!(sleep(Duration::from_millis(5)));
                assert!(begin.elapsed() >= Duration::from_millis(5));
            }

            #[test]
            fn a_poll_ends_by_its_deadline_or_with_what_is_ready() {
                let (ours, theirs) = crate::socket::pair().unwrap();
                let mut fds = [libc::pollfd {
                    fd: std::os::fd::AsRawFd::as_raw_fd(&ours),
                    events: libc::POLLIN,
                    revents: 0,
                }];
                // Not a whole number of milliseconds.
                let deadline = Instant::now() + Duration::from_micros(5300);
                assert_eq!(until(deadline, || poll(&mut fds, Some(deadline))), 0);
                assert!(Instant::now() >= deadline);
                rustix::io::write(&theirs, b"!").unwrap();
                // A deadline beyond the longest timeout of `poll`, of 24 days; one that has passed; and none.
                let far = Instant::now() + Duration::from_secs(100 * 24 * 3600);
                for deadline in [Some(far), Some(deadline), None] {
                    fds[0].revents = 0;
                    assert_eq!(until(far, || poll(&mut fds, deadline)), 1);
                    assert_eq!(fds[0].revents, libc::POLLIN);
                }
            }
        }
    };
}

/// Repeats a poll that a signal interrupts.
fn until(deadline: Instant, mut poll: impl FnMut() -> io::Result<usize>) -> usize {
    loop {
        match poll() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted && Instant::now() < deadline => (),
            result => return result.unwrap(),
        }
    }
}

test_waits!(of_this_system: crate::wait, crate::wait::poll);
test_waits!(of_other_systems: crate::wait::condvar, crate::wait::poll::poll);
