//! Which readers there are, and which come and go.

use super::candidate::Candidate;
use super::known::KnownReaders;
use super::listing::{Changes, Listing, Scan};
use super::platform::{self, Events, HotplugStopper};
use std::io;
use std::time::Instant;

/// Lists the readers. On Linux no device is opened for it.
///
/// # Errors
/// Where the system has no USB, or does not let the process see it.
pub fn list() -> io::Result<Listing> {
    let scan = platform::scan(&[], |_| true)?;
    Ok(Listing {
        readers: scan.arrived,
        notices: scan.notices,
    })
}

/// Waits for readers to come and go, asleep in between.
#[derive(Debug)]
pub struct Hotplug {
    events: Events,
    readers: KnownReaders,
}

impl Hotplug {
    /// Begins to watch, and lists the readers that are there.
    ///
    /// # Errors
    /// Where the system has no USB, or does not let the process see it.
    pub fn new() -> io::Result<(Hotplug, Listing)> {
        // In this order, nothing comes unseen between the two.
        let events = Events::new()?;
        let mut readers = KnownReaders::default();
        // What is there already is taken as it is: the caller is not to wait for it.
        let first = readers.update(platform::scan(&[], |_| true)?, Instant::now());
        let listing = Listing {
            readers: first.arrived,
            notices: first.notices,
        };
        Ok((Hotplug { events, readers }, listing))
    }

    /// A handle that ends this from any thread.
    pub fn stopper(&self) -> HotplugStopper {
        self.events.stopper()
    }

    /// Sleeps until a reader comes or goes; `None` from [`HotplugStopper::stop`] on.
    ///
    /// A reader that is unplugged and comes back between two calls is gone and has arrived, with another
    /// address. One of which the system cannot tell whether it is there stays, as does one that the user may
    /// not open any more.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&mut self) -> io::Result<Option<Changes>> {
        while self.events.wait(self.readers.needs_rescan())? {
            let now = Instant::now();
            let known: &[Candidate] = self.readers.known();
            let scan =
                platform::scan(known, |place| self.readers.has_waited(place, now)).unwrap_or_else(|error| {
                    Scan {
                        is_partial: platform::is_transient(&error),
                        ..Scan::default()
                    }
                });
            let changes = self.readers.update(scan, now);
            if !changes.is_empty() {
                return Ok(Some(changes));
            }
        }
        Ok(None)
    }
}
