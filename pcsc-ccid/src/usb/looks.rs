//! When to look again, though no event comes.

use std::time::{Duration, Instant};

/// A node's interfaces come after it, and where the kernel's messages do not come, nobody tells of them.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_millis(750),
];

/// What is open even then is looked at ever less often, and at least this often.
const LONGEST: Duration = Duration::from_secs(60);

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
        self.is_expecting = has_appeared || self.due(false).is_some();
        self.last = now;
        self.taken = 0;
    }

    /// When the next one is due, if there is to be one: after what has appeared, and while something `is_open`.
    pub(super) fn due(&self, is_open: bool) -> Option<Instant> {
        let pause = match PAUSES.get(self.taken) {
            Some(pause) => (is_open || self.is_expecting).then_some(*pause),
            None => is_open.then(|| {
                let doublings = self.taken - PAUSES.len();
                LONGEST.min(Duration::from_secs(1 << doublings.min(6)))
            }),
        };
        pause.map(|pause| self.last + pause)
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

    /// When the next looks are taken, in milliseconds after `begin`; ten at most.
    fn taken(mut looks: Looks, begin: Instant, is_open: bool) -> std::vec::Vec<u128> {
        let next = move || {
            let due = looks.due(is_open)?;
            looks.take(due);
            Some((due - begin).as_millis())
        };
        std::iter::from_fn(next).take(10).collect()
    }

    #[test]
    fn what_appears_is_looked_at_a_few_times() {
        let begin = Instant::now();
        let mut looks = Looks::new(begin);
        assert_eq!(looks.due(false), None);
        looks.restart(begin, true);
        assert_eq!(taken(looks, begin, false), [50, 300, 1050]);
    }

    #[test]
    fn other_events_do_not_end_what_is_expected() {
        let begin = Instant::now();
        let mut looks = Looks::new(begin);
        looks.restart(begin, true);
        looks.take(begin);
        looks.restart(begin, false);
        assert_eq!(taken(looks, begin, false), [50, 300, 1050]);
    }

    #[test]
    fn what_is_open_is_looked_at_ever_less_often() {
        let begin = Instant::now();
        let looks = Looks::new(begin);
        assert_eq!(
            taken(looks, begin, true),
            [50, 300, 1050, 2050, 4050, 8050, 16050, 32050, 64050, 124050]
        );
    }

    #[test]
    fn what_is_not_open_any_more_is_not_looked_at() {
        let begin = Instant::now();
        let mut looks = Looks::new(begin);
        for _ in 0..100 {
            looks.take(begin);
        }
        assert_eq!(looks.due(true), Some(begin + LONGEST));
        assert_eq!(looks.due(false), None);
        looks.restart(begin, false);
        assert_eq!(looks.due(false), None);
    }
}
