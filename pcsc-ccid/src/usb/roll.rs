//! Which readers are known, and what a look at the system changes.

use super::candidate::{Candidate, Notice, Place};
use super::enumerate::is_passing;
use super::hotplug::Changes;
use std::io;
use std::vec::Vec;

/// What a look at the system has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Known readers that are gone.
    pub(super) gone: Vec<Place>,
    /// Readers that are not known, in the order of their places.
    pub(super) arrived: Vec<Candidate>,
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
    is_partial: bool,
}

impl Roll {
    pub(super) fn known(&self) -> &[Candidate] {
        &self.known
    }

    /// Whether there is something to be looked at again, also where nothing happens.
    pub(super) fn is_open(&self) -> bool {
        self.is_partial
    }

    /// Takes over what was seen. What could not be told stays as it was.
    pub(super) fn update(&mut self, seen: Seen) -> Changes {
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
