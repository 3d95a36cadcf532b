//! When to look again at what has appeared, though no event comes.

use std::time::{Duration, Instant};

/// A node's interfaces come after it, and where the kernel's messages do not come, nobody tells of them.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_millis(750),
];

/// The looks since the last event.
#[derive(Debug)]
pub(super) struct Looks {
    last: Instant,
    taken: usize,
    is_expecting: bool,
}

impl Looks {
    pub(super) fn new(now: Instant) -> Looks {
        Looks {
            last: now,
            taken: 0,
            is_expecting: false,
        }
    }

    /// An event, which is a look too; whether something has appeared.
    pub(super) fn restart(&mut self, now: Instant, has_appeared: bool) {
        self.is_expecting = has_appeared || self.due().is_some();
        self.last = now;
        self.taken = 0;
    }

    /// When the next one is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let pause = PAUSES.get(self.taken).filter(|_| self.is_expecting)?;
        Some(self.last + *pause)
    }

    /// The next one was due.
    pub(super) fn take(&mut self, now: Instant) {
        self.last = now;
        self.taken += 1;
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The looks that are taken, in milliseconds after `begin`.
    fn taken(looks: &mut Looks, begin: Instant) -> std::vec::Vec<u128> {
        std::iter::from_fn(|| {
            let due = looks.due()?;
            looks.take(due);
            Some((due - begin).as_millis())
        })
        .take(20)
        .collect()
    }

    #[test]
    fn what_appears_is_looked_at_a_few_times() {
        let begin = Instant::now();
        let mut looks = Looks::new(begin);
        assert_eq!(looks.due(), None);
        looks.restart(begin, true);
        assert_eq!(taken(&mut looks, begin), [50, 300, 1050]);
        looks.restart(begin, false);
        assert_eq!(looks.due(), None);
    }

    #[test]
    fn other_events_do_not_end_what_is_expected() {
        let begin = Instant::now();
        let mut looks = Looks::new(begin);
        looks.restart(begin, true);
        looks.take(begin);
        looks.restart(begin, false);
        assert_eq!(taken(&mut looks, begin), [50, 300, 1050]);
    }
}
