//! When to scan again without an event.

use std::time::{Duration, Instant};

/// A device's interfaces appear after its node. Without the kernel's messages, only a later scan finds them.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_millis(750),
];

/// After these, the pauses double up to this length, as long as a scan is still needed.
const LONGEST: Duration = Duration::from_secs(60);

/// The scans since the last event.
#[derive(Debug)]
pub(super) struct RescanSchedule {
    last: Instant,
    rescans: usize,
    is_expecting: bool,
}

impl RescanSchedule {
    pub(super) fn new(now: Instant) -> RescanSchedule {
        RescanSchedule {
            last: now,
            rescans: 0,
            is_expecting: false,
        }
    }

    /// Records an event, which causes a scan too, and whether a node has appeared.
    pub(super) fn note_event(&mut self, now: Instant, has_appeared: bool) {
        // Other events do not end the expectation: the interfaces of the new device may still be missing.
        self.is_expecting = has_appeared || self.due(false).is_some();
        self.last = now;
        self.rescans = 0;
    }

    /// When the next scan is due: a few times after a node has appeared, and as long as the last scan
    /// `needs_rescan`. `None` if no scan is due.
    pub(super) fn due(&self, needs_rescan: bool) -> Option<Instant> {
        let pause = match PAUSES.get(self.rescans) {
            Some(pause) => (needs_rescan || self.is_expecting).then_some(*pause),
            None => needs_rescan.then(|| {
                let doublings = self.rescans - PAUSES.len();
                LONGEST.min(Duration::from_secs(1 << doublings.min(6)))
            }),
        };
        pause.map(|pause| self.last + pause)
    }

    /// Records a scan that was due.
    pub(super) fn note_rescan(&mut self, now: Instant) {
        self.last = now;
        self.rescans += 1;
    }

    #[cfg(test)]
    pub(super) fn rescans(&self) -> usize {
        self.rescans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the next scans are due, in milliseconds after `begin`; ten at most.
    fn due_after(mut schedule: RescanSchedule, begin: Instant, needs_rescan: bool) -> std::vec::Vec<u128> {
        let next = move || {
            let due = schedule.due(needs_rescan)?;
            schedule.note_rescan(due);
            Some((due - begin).as_millis())
        };
        std::iter::from_fn(next).take(10).collect()
    }

    #[test]
    fn a_new_node_causes_a_few_scans() {
        let begin = Instant::now();
        let mut schedule = RescanSchedule::new(begin);
        assert_eq!(schedule.due(false), None);
        schedule.note_event(begin, true);
        assert_eq!(due_after(schedule, begin, false), [50, 300, 1050]);
    }

    #[test]
    fn other_events_do_not_end_the_scans_after_a_new_node() {
        let begin = Instant::now();
        let mut schedule = RescanSchedule::new(begin);
        schedule.note_event(begin, true);
        schedule.note_rescan(begin);
        schedule.note_event(begin, false);
        assert_eq!(due_after(schedule, begin, false), [50, 300, 1050]);
    }

    #[test]
    fn pauses_between_rescans_grow() {
        let begin = Instant::now();
        let schedule = RescanSchedule::new(begin);
        assert_eq!(
            due_after(schedule, begin, true),
            [50, 300, 1050, 2050, 4050, 8050, 16050, 32050, 64050, 124050]
        );
    }

    #[test]
    fn without_a_need_there_is_no_rescan() {
        let begin = Instant::now();
        let mut schedule = RescanSchedule::new(begin);
        for _ in 0..100 {
            schedule.note_rescan(begin);
        }
        assert_eq!(schedule.due(true), Some(begin + LONGEST));
        assert_eq!(schedule.due(false), None);
        schedule.note_event(begin, false);
        assert_eq!(schedule.due(false), None);
    }
}
