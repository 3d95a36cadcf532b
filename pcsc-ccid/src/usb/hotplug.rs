//! Readers that come and go.

use super::candidate::{Candidate, Listing, Notice, Place};
use super::enumerate::list;
use std::io;
use std::vec::Vec;

#[cfg(target_os = "linux")]
#[path = "hotplug_linux.rs"]
mod system;
#[cfg(not(target_os = "linux"))]
#[path = "hotplug_other.rs"]
mod system;

pub use system::HotplugStopper;

/// Waits for readers to come and go, asleep in between.
#[derive(Debug)]
pub struct Hotplug {
    events: system::Events,
    known: Vec<Place>,
    told: Vec<Notice>,
}

/// What has changed since the last call.
#[derive(Debug, Default)]
pub struct Changes {
    /// Readers that are gone.
    pub gone: Vec<Place>,
    /// Readers that came.
    pub arrived: Vec<Candidate>,
    /// What there is to log that was not to log before.
    pub notices: Vec<Notice>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.arrived.is_empty() && self.notices.is_empty()
    }
}

impl Hotplug {
    /// Begins to watch, and lists the readers that are there.
    ///
    /// # Errors
    /// Where the system has no USB, or does not tell.
    pub fn new() -> io::Result<(Hotplug, Listing)> {
        // In this order, nothing comes unseen between the two.
        let events = system::Events::new()?;
        let listing = list()?;
        let hotplug = Hotplug {
            events,
            known: listing.readers.iter().map(|reader| reader.place).collect(),
            told: listing.notices.clone(),
        };
        Ok((hotplug, listing))
    }

    /// A handle that ends this from any thread.
    pub fn stopper(&self) -> HotplugStopper {
        self.events.stopper()
    }

    /// Sleeps until a reader comes or goes; `None` from [`HotplugStopper::stop`] on.
    ///
    /// A reader that is unplugged and comes back between two calls is gone and has arrived, with another address.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&mut self) -> io::Result<Option<Changes>> {
        while self.events.wait()? {
            let changes = self.compare(list()?);
            if !changes.is_empty() {
                return Ok(Some(changes));
            }
        }
        Ok(None)
    }

    fn compare(&mut self, now: Listing) -> Changes {
        let places: Vec<Place> = now.readers.iter().map(|reader| reader.place).collect();
        let changes = Changes {
            gone: without(&self.known, &places),
            arrived: now
                .readers
                .into_iter()
                .filter(|reader| !self.known.contains(&reader.place))
                .collect(),
            notices: without(&now.notices, &self.told),
        };
        self.known = places;
        self.told = now.notices;
        changes
    }
}

fn without<T: Clone + PartialEq>(these: &[T], those: &[T]) -> Vec<T> {
    these
        .iter()
        .filter(|this| !those.contains(this))
        .cloned()
        .collect()
}
