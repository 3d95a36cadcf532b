//! Readers that come and go.

use super::candidate::{Candidate, Listing, Notice, Place};
use super::enumerate::look;
use super::roll::{Roll, Seen};
use std::io;
use std::time::Instant;
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
    roll: Roll,
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
        let mut roll = Roll::default();
        // Nobody is to wait for what is there already: it is taken as it is.
        let first = roll.update(look(roll.known(), |_| true)?, Instant::now());
        let listing = Listing {
            readers: first.arrived,
            notices: first.notices,
        };
        Ok((Hotplug { events, roll }, listing))
    }

    /// A handle that ends this from any thread.
    pub fn stopper(&self) -> HotplugStopper {
        self.events.stopper()
    }

    /// Sleeps until a reader comes or goes; `None` from [`HotplugStopper::stop`] on.
    ///
    /// A reader that is unplugged and comes back between two calls is gone and has arrived, with another address. One
    /// of which the system cannot tell whether it is there stays, as does one that the user may not open any more.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&mut self) -> io::Result<Option<Changes>> {
        while self.events.wait(self.roll.is_open())? {
            let now = Instant::now();
            let seen = look(self.roll.known(), |place| self.roll.has_waited(place, now))
                .unwrap_or_else(|error| Seen::nothing(&error));
            let changes = self.roll.update(seen, now);
            if !changes.is_empty() {
                return Ok(Some(changes));
            }
        }
        Ok(None)
    }
}
