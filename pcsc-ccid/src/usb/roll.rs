//! Which readers are known, and what a look at the system changes.

use super::candidate::{Candidate, Notice, Place};
use super::enumerate::is_passing;
use super::hotplug::Changes;
use std::io;
use std::time::{Duration, Instant};
use std::vec::Vec;

/// How long a reader that is not ready is waited for: for its name, which some devices never give, for udev, whose
/// database a container may lack, and for the right to open it.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a look at the system has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Known readers that are gone.
    pub(super) gone: Vec<Place>,
    /// Readers that are not known, in the order of their places.
    pub(super) arrived: Vec<Candidate>,
    /// Readers that are not ready yet.
    pub(super) coming: Vec<Place>,
    /// What there is to log.
    pub(super) notices: Vec<Notice>,
    /// Something could not be told, and can be a little later.
    pub(super) is_partial: bool,
}

impl Seen {
    /// The system does not tell.
    pub(super) fn nothing(error: &io::Error) -> Seen {
        Seen {
            is_partial: is_passing(error),
            ..Seen::default()
        }
    }
}

/// The known readers.
#[derive(Debug, Default)]
pub(super) struct Roll {
    known: Vec<Candidate>,
    told: Vec<Notice>,
    /// Readers that are not ready, each since when.
    coming: Vec<(Place, Instant)>,
    is_partial: bool,
}

impl Roll {
    pub(super) fn known(&self) -> &[Candidate] {
        &self.known
    }

    /// Whether there is something to be looked at again, also where nothing happens.
    pub(super) fn is_open(&self) -> bool {
        self.is_partial || !self.coming.is_empty()
    }

    /// Whether a reader is to be taken as it is: it has been waited for, or what is wrong with it has been told.
    pub(super) fn has_waited(&self, place: Place, now: Instant) -> bool {
        let is_told = self.told.iter().any(|notice| notice.place == place);
        is_told
            || self
                .coming_since(place)
                .is_some_and(|since| now - since >= PATIENCE)
    }

    fn coming_since(&self, place: Place) -> Option<Instant> {
        let mut coming = self.coming.iter();
        coming
            .find(|(coming, _)| *coming == place)
            .map(|(_, since)| *since)
    }

    /// Takes over what was seen. What could not be told stays as it was.
    pub(super) fn update(&mut self, seen: Seen, now: Instant) -> Changes {
        self.known.retain(|reader| !seen.gone.contains(&reader.place));
        self.known.extend_from_slice(&seen.arrived);
        let notices: Vec<Notice> = seen
            .notices
            .iter()
            .filter(|notice| !self.told.contains(notice))
            .cloned()
            .collect();
        if seen.is_partial {
            self.told.extend_from_slice(&notices);
        } else {
            self.told = seen.notices;
        }
        let since = |place: Place| (place, self.coming_since(place).unwrap_or(now));
        self.coming = seen.coming.into_iter().map(since).collect();
        self.is_partial = seen.is_partial;
        Changes {
            gone: seen.gone,
            arrived: seen.arrived,
            notices,
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
