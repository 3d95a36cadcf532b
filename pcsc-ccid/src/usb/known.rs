//! The known readers, and how a scan of the bus changes them.

use super::candidate::{Candidate, Place};
use super::listing::{Changes, Notice, Scan};
use std::time::{Duration, Instant};
use std::vec::Vec;

/// How long to wait for a reader that is not ready: for its name, which some devices never have, for udev,
/// whose database may be missing in a container, and for the permission to open it.
const READY_LIMIT: Duration = Duration::from_secs(1);

/// The known readers.
#[derive(Debug, Default)]
pub(super) struct KnownReaders {
    known: Vec<Candidate>,
    /// Notices that the caller has received.
    reported: Vec<Notice>,
    /// Readers that are not ready, with the time since when.
    pending: Vec<(Place, Instant)>,
    is_partial: bool,
}

impl KnownReaders {
    pub(super) fn known(&self) -> &[Candidate] {
        &self.known
    }

    /// Whether the bus is to be scanned again even if no event comes.
    pub(super) fn needs_rescan(&self) -> bool {
        self.is_partial || !self.pending.is_empty()
    }

    /// Whether a reader is not waited for any longer: its time is over, or a notice about it was reported.
    pub(super) fn has_waited(&self, place: Place, now: Instant) -> bool {
        // A device with a notice, such as one without permission, would otherwise stay pending and cause
        // scans for ever.
        let is_reported = self.reported.iter().any(|notice| notice.place == place);
        is_reported
            || self
                .pending_since(place)
                .is_some_and(|since| now - since >= READY_LIMIT)
    }

    fn pending_since(&self, place: Place) -> Option<Instant> {
        let mut pending = self.pending.iter();
        pending
            .find(|(pending, _)| *pending == place)
            .map(|(_, since)| *since)
    }

    /// Applies a scan. What the scan could not determine stays unchanged.
    pub(super) fn update(&mut self, scan: Scan, now: Instant) -> Changes {
        self.known.retain(|reader| !scan.gone.contains(&reader.place));
        self.known.extend_from_slice(&scan.arrived);
        let notices: Vec<Notice> = scan
            .notices
            .iter()
            .filter(|notice| !self.reported.contains(notice))
            .cloned()
            .collect();
        // A device that could not be read this time has no notice in this scan, and would be reported twice.
        if scan.is_partial {
            self.reported.extend_from_slice(&notices);
        } else {
            self.reported = scan.notices;
        }
        let since = |place: Place| (place, self.pending_since(place).unwrap_or(now));
        self.pending = scan.pending.into_iter().map(since).collect();
        self.is_partial = scan.is_partial;
        Changes {
            gone: scan.gone,
            arrived: scan.arrived,
            notices,
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
