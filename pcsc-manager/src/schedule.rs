//! When the manager's thread looks at what is due for the readers.

use std::sync::Mutex;
use std::time::Instant;

use crate::sync::{lock, ChangeCounter};

/// Wakes the manager's thread if something becomes due before the time until which it sleeps. A program that
/// connects and disconnects again and again does not wake it each time.
#[derive(Default)]
pub struct Schedule {
    changes: ChangeCounter,
    /// When the thread that sleeps wakes up by itself. `None` while it looks at the readers, and where it
    /// does not wake up.
    next: Mutex<Option<Instant>>,
}

impl Schedule {
    /// Has the thread look at all readers.
    pub fn post(&self) {
        self.changes.post();
    }

    /// Has the thread look at them by a time; `None` needs none.
    pub fn plan(&self, due: Option<Instant>) {
        let Some(due) = due else { return };
        let next = *lock(&self.next);
        if next.is_none_or(|next| due < next) {
            self.post();
        }
    }

    /// Begins a look. What is planned from here on ends the next [`Schedule::sleep`].
    pub fn begin(&self) -> u32 {
        // Before the count is read. In the other order, what is planned in between would neither be seen by
        // the look nor end the sleep.
        *lock(&self.next) = None;
        self.changes.changes()
    }

    /// Sleeps until `next`, or until something is due earlier than that. `seen` is from before the look at
    /// the readers.
    pub fn sleep(&self, seen: u32, next: Option<Instant>) {
        // Before the wait, which compares with `seen`: a plan that still found `None` has moved the count.
        *lock(&self.next) = next;
        self.changes.wait(seen, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_what_is_due_earlier_ends_a_sleep() {
        let schedule = Schedule::default();
        let [soon, later] = [10, 20].map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let seen = schedule.begin();
        // While the thread looks it may have missed it.
        schedule.plan(Some(later));
        schedule.sleep(seen, Some(soon));
        assert!(Instant::now() < soon);
        let seen = schedule.begin();
        *lock(&schedule.next) = Some(soon);
        schedule.plan(Some(later));
        schedule.plan(Some(soon));
        schedule.plan(None);
        assert_eq!(schedule.changes.changes(), seen);
        schedule.plan(Some(Instant::now()));
        assert_ne!(schedule.changes.changes(), seen);
    }
}
