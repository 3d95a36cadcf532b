//! Readers on the USB.

use std::sync::{Arc, Mutex, Weak};

use pcsc_ccid::reader::ReaderOptions;
use pcsc_ccid::shared::SharedReader;
use pcsc_ccid::usb::{Candidate, Hotplug, HotplugStopper, Listing, OpenError, Place};

use crate::bus::Bus;
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::bus::FixedBus;
use crate::ccid;
use crate::error::StartError;
use crate::slot::FoundReader;
use crate::sync::{lock, ChangeCounter};

/// The readers on the USB.
pub struct UsbBus {
    options: ReaderOptions,
    hotplug: Mutex<Hotplug>,
    stopper: HotplugStopper,
    initial: Mutex<Listing>,
    arrived: Mutex<Vec<Candidate>>,
    known: Mutex<Vec<(Place, Weak<SharedReader>)>>,
    /// Moves when the bus is stopped, for a wait that cannot watch the bus.
    end: ChangeCounter,
}

impl UsbBus {
    /// Lists the readers, and watches for more.
    pub fn new(options: ReaderOptions) -> Result<UsbBus, StartError> {
        owner::check()?;
        let (hotplug, listing) = Hotplug::new().map_err(StartError::Usb)?;
        Ok(UsbBus {
            options,
            // Apart from `hotplug`, whose lock the thread of the bus holds while it waits.
            stopper: hotplug.stopper(),
            hotplug: Mutex::new(hotplug),
            initial: Mutex::new(listing),
            arrived: Mutex::default(),
            known: Mutex::default(),
            end: ChangeCounter::default(),
        })
    }

    fn found(&self, candidate: Candidate) -> FoundReader {
        let place = candidate.place;
        let (found, reader) = found(candidate, self.options);
        let mut known = lock(&self.known);
        // Only one device has a place at a time: what was there has gone, even if the system has not reported
        // that.
        known.retain(|(other, reader)| *other != place && reader.strong_count() > 0);
        known.push((place, Arc::downgrade(&reader)));
        found
    }
}

fn found(candidate: Candidate, options: ReaderOptions) -> (FoundReader, Arc<SharedReader>) {
    let name = candidate.name_identity().base_name();
    let slots = candidate.interface.descriptor.slots();
    let (identity, device) = (candidate.identity.to_string(), candidate.device());
    let mut open = candidate.opener(options, move |error| match error {
        OpenError::Busy { .. } => log::warn!("{identity}: {error}"),
        error => log::error!("{identity}: {error}"),
    });
    let open = move |deadline| {
        // At the first open and not at the start: a process that has only listed readers may fork.
        owner::note();
        open(deadline)
    };
    ccid::found(name, device, slots, Box::new(open))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl FixedBus {
    /// The readers of one device, whose node is open for reading and writing.
    ///
    /// # Errors
    /// [`StartError::Usb`] where its descriptors cannot be read.
    pub fn of_device(device: std::os::fd::OwnedFd, options: ReaderOptions) -> Result<FixedBus, StartError> {
        let refused = |error: OpenError| StartError::Usb(std::io::Error::other(error));
        let (readers, unusable) = pcsc_ccid::usb::readers_from_fd(device).map_err(refused)?;
        for interface in unusable {
            log::error!("{interface}");
        }
        let readers = readers.into_iter().map(|reader| found(reader, options).0);
        Ok(FixedBus::new(readers.collect()))
    }
}

impl Bus for UsbBus {
    fn initial(&self) -> Vec<FoundReader> {
        let listing = std::mem::take(&mut *lock(&self.initial));
        for notice in listing.notices {
            log::error!("{notice}");
        }
        listing
            .readers
            .into_iter()
            .map(|reader| self.found(reader))
            .collect()
    }

    fn wait(&self) -> Option<FoundReader> {
        let mut hotplug = lock(&self.hotplug);
        loop {
            if let Some(candidate) = lock(&self.arrived).pop() {
                return Some(self.found(candidate));
            }
            match hotplug.wait() {
                Ok(Some(mut changes)) => {
                    for notice in changes.notices {
                        log::error!("{notice}");
                    }
                    for place in changes.gone {
                        let reader = {
                            let mut known = lock(&self.known);
                            let index = known.iter().position(|(other, _)| *other == place);
                            index.map(|index| known.swap_remove(index).1)
                        };
                        if let Some(reader) = reader.and_then(|reader| reader.upgrade()) {
                            reader.events().set_gone();
                        }
                    }
                    // `pop` takes from the end, and the readers are to be numbered in the order in which they
                    // came.
                    changes.arrived.reverse();
                    lock(&self.arrived).append(&mut changes.arrived);
                }
                Ok(None) => return None,
                Err(error) => {
                    // The readers that are there stay in use. Their own watches notice when they go.
                    log::error!("readers that come and go are not seen any more: {error}");
                    self.end.wait(0, None);
                    return None;
                }
            }
        }
    }

    fn stop(&self) {
        // Both: the thread may sleep in either wait.
        self.end.post();
        self.stopper.stop();
    }
}

/// On Linux the thread that waits for a transfer reaps it: a forked child drives readers of its own.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod owner {
    pub fn check() -> Result<(), crate::error::StartError> {
        Ok(())
    }

    pub fn note() {}
}

/// Elsewhere a thread of the USB library waits for all transfers, from the first device on. A forked child
/// inherits its memory without the thread.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod owner {
    use std::sync::atomic::{AtomicU32, Ordering};

    use crate::error::StartError;

    static DRIVER: AtomicU32 = AtomicU32::new(0);

    pub fn check() -> Result<(), StartError> {
        // `Relaxed`: threads share nothing but the number.
        if ![0, std::process::id()].contains(&DRIVER.load(Ordering::Relaxed)) {
            return Err(StartError::ForkedFromDriver);
        }
        Ok(())
    }

    pub fn note() {
        // It fails where the process is noted already.
        let _ = DRIVER.compare_exchange(0, std::process::id(), Ordering::Relaxed, Ordering::Relaxed);
    }
}
