//! Waits, which are cancellation points where the entry point allows it.
//!
//! A cancelled wait returns as if its time were over, and so does every further one until the entry point
//! returns.

#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
mod linux;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(miri))))]
mod other;

#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
pub use linux::{poll, sleep, ChangeCounter};
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(miri))))]
pub use other::{poll, sleep, ChangeCounter};

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

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
}
