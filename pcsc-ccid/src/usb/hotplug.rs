//! The list of readers, and its changes.

use super::known::KnownReaders;
use super::listing::{Changes, Listing, Scan};
use super::platform::{self, Events};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Whether the system has a USB that this driver can use. It need not have a device.
pub fn is_present() -> bool {
    platform::is_present()
}

/// Lists the readers. On Linux no device is opened for it.
///
/// # Errors
/// If the system has no USB, this process has no access to it, or the driver does not support this
/// operating system's.
pub fn list() -> io::Result<Listing> {
    let scan = platform::scan(&[], &|_| true)?;
    Ok(Listing {
        readers: scan.arrived,
        notices: scan.notices,
    })
}

/// Waits for readers to come and go.
#[derive(Debug)]
pub struct Hotplug {
    events: Events,
    readers: KnownReaders,
}

impl Hotplug {
    /// Begins to watch, and lists the readers that are there.
    ///
    /// # Errors
    /// If the system has no USB, or this process has no access to it.
    pub fn new() -> io::Result<(Hotplug, Listing)> {
        // In this order, no reader that comes between the two is missed.
        let events = Events::new()?;
        let mut readers = KnownReaders::default();
        // Readers that are there already are listed at once, even if they are not ready.
        let first = readers.update(platform::scan(&[], &|_| true)?, Instant::now());
        let listing = Listing {
            readers: first.arrived,
            notices: first.notices,
        };
        Ok((Hotplug { events, readers }, listing))
    }

    /// A handle that ends this from any thread.
    pub fn stopper(&self) -> HotplugStopper {
        HotplugStopper(self.events.stopper().into())
    }

    /// Sleeps until a reader comes or goes. Returns `None` after [`HotplugStopper::stop`].
    ///
    /// A reader that is unplugged and plugged in between two calls is reported as gone and as arrived, with
    /// another address. A reader whose presence cannot be determined stays listed, and so does one that the
    /// user may not open any more.
    ///
    /// # Errors
    /// The system's error.
    pub fn wait(&mut self) -> io::Result<Option<Changes>> {
        while self.events.wait(self.readers.needs_rescan())? {
            let now = Instant::now();
            let known = self.readers.known();
            let has_waited = |place| self.readers.has_waited(place, now);
            // A scan that has failed says nothing of the readers: all stay listed.
            let scan = platform::scan(known, &has_waited).unwrap_or_else(|error| Scan {
                is_partial: platform::is_transient(&error),
                ..Scan::default()
            });
            let changes = self.readers.update(scan, now);
            if !changes.is_empty() {
                return Ok(Some(changes));
            }
        }
        Ok(None)
    }
}

/// Ends a [`Hotplug`] from another thread.
#[derive(Clone)]
pub struct HotplugStopper(Arc<dyn Fn() + Send + Sync>);

impl HotplugStopper {
    /// Ends the wait in progress and every later one.
    pub fn stop(&self) {
        (self.0)();
    }
}

impl fmt::Debug for HotplugStopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotplugStopper").finish_non_exhaustive()
    }
}
