//! Readers on the USB.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use pcsc_ccid::reader::{Options, Reader};
use pcsc_ccid::transport;
use pcsc_ccid::usb::{Candidate, Hotplug, HotplugStopper, Listing, OpenError, Place, Presence, UsbWatch};

use crate::board::{lock, Board};
use crate::ccid::{self, Opened};
use crate::error::StartError;
use crate::limit::Limit;
use crate::manager::{Bus, BusEvent};
use crate::slot::{Fault, Found};
use crate::watches::{News, Source, Watches};

/// The readers on the USB.
pub struct UsbBus {
    options: Options,
    hotplug: Mutex<Hotplug>,
    stopper: HotplugStopper,
    initial: Mutex<Listing>,
    arrived: Mutex<Vec<Candidate>>,
    watches: Mutex<HashMap<Place, Weak<Watches>>>,
    /// Where the bus cannot be watched, its end is posted here.
    end: Board,
}

impl UsbBus {
    /// Lists the readers, and watches for more.
    pub fn new(options: Options) -> Result<UsbBus, StartError> {
        owner::check()?;
        let (hotplug, listing) = Hotplug::new().map_err(StartError::Usb)?;
        Ok(UsbBus {
            options,
            stopper: hotplug.stopper(),
            hotplug: Mutex::new(hotplug),
            initial: Mutex::new(listing),
            arrived: Mutex::default(),
            watches: Mutex::default(),
            end: Board::default(),
        })
    }

    fn found(&self, candidate: Candidate) -> Found {
        let place = candidate.place;
        let (found, watches) = found(candidate, self.options);
        let mut known = lock(&self.watches);
        known.retain(|_, watches| watches.strong_count() > 0);
        known.insert(place, Arc::downgrade(&watches));
        found
    }
}

fn found(candidate: Candidate, options: Options) -> (Found, Arc<Watches>) {
    let name = candidate.name_identity().base_name();
    let slots = candidate.interface.descriptor.slots();
    let mut told = None;
    ccid::found(
        name,
        slots,
        Box::new(move |limit| open(&candidate, options, limit, &mut told)),
    )
}

/// The readers of one device, whose node somebody else has opened.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub struct DeviceBus {
    options: Options,
    readers: Mutex<Vec<Candidate>>,
    end: Board,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl DeviceBus {
    /// Reads the device's descriptors; the file descriptor is the bus's from now on.
    pub fn new(device: std::os::fd::OwnedFd, options: Options) -> Result<DeviceBus, StartError> {
        let refused = |error: OpenError| StartError::Usb(std::io::Error::other(error));
        let (readers, unusable) = pcsc_ccid::usb::readers_from_fd(device).map_err(refused)?;
        for interface in unusable {
            log::error!("{interface}");
        }
        Ok(DeviceBus {
            options,
            readers: Mutex::new(readers),
            end: Board::default(),
        })
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Bus for DeviceBus {
    fn initial(&self) -> Vec<Found> {
        let readers = std::mem::take(&mut *lock(&self.readers));
        readers
            .into_iter()
            .map(|reader| found(reader, self.options).0)
            .collect()
    }

    fn wait(&self) -> BusEvent {
        self.end.wait(0, None);
        BusEvent::Stopped
    }

    fn stop(&self) {
        self.end.post();
    }
}

impl Bus for UsbBus {
    fn initial(&self) -> Vec<Found> {
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

    fn wait(&self) -> BusEvent {
        let mut hotplug = lock(&self.hotplug);
        loop {
            if let Some(candidate) = lock(&self.arrived).pop() {
                return BusEvent::Added(self.found(candidate));
            }
            match hotplug.wait() {
                Ok(Some(mut changes)) => {
                    for notice in changes.notices {
                        log::error!("{notice}");
                    }
                    for place in changes.gone {
                        let watches = lock(&self.watches).remove(&place);
                        if let Some(watches) = watches.and_then(|watches| watches.upgrade()) {
                            watches.gone();
                        }
                    }
                    changes.arrived.reverse();
                    lock(&self.arrived).append(&mut changes.arrived);
                }
                Ok(None) => return BusEvent::Stopped,
                Err(error) => {
                    log::error!("readers that come and go are not seen any more: {error}");
                    self.end.wait(0, None);
                    return BusEvent::Stopped;
                }
            }
        }
    }

    fn stop(&self) {
        self.end.post();
        self.stopper.stop();
    }
}

fn open(
    candidate: &Candidate,
    options: Options,
    limit: &Limit,
    told: &mut Option<String>,
) -> Result<Opened, Fault> {
    owner::note();
    let opened = candidate.open().map_err(|error| {
        // Told once, for as long as it is the same.
        let text = format!("{}: {error}", candidate.identity);
        if told.as_ref() != Some(&text) {
            // Whoever has it keeps it until it gives it back; a user who waits for the reader wants to know who that is.
            match error {
                OpenError::Busy { .. } => log::warn!("{text}"),
                _ => log::error!("{text}"),
            }
            *told = Some(text);
        }
        match error {
            OpenError::Busy { .. } => Fault::Busy,
            OpenError::Gone => Fault::NoDevice,
            OpenError::Permission { .. } | OpenError::System(_) => Fault::Communication,
        }
    })?;
    *told = None;
    let reader = Reader::open(
        ccid::limited(opened.transport, limit),
        candidate.device(),
        &candidate.interface,
        options,
    )
    .map_err(|error| {
        log::error!("{}: {error}", candidate.identity);
        match ccid::fault(error) {
            // Its node is there: it may have been reset by somebody meanwhile.
            Fault::NoDevice if error.is_gone() => Fault::Communication,
            fault => fault,
        }
    })?;
    let news = match opened.presence {
        Presence::Polled(interval) => News::Polled(interval),
        Presence::Notified(watch) => {
            let stopper = watch.stopper();
            News::Told {
                source: Box::new(Interrupts(watch)),
                stop: Box::new(move || stopper.stop()),
            }
        }
    };
    Ok(Opened { reader, news })
}

struct Interrupts(UsbWatch);

impl Source for Interrupts {
    fn next(&mut self, tell: &mut dyn FnMut(&[u8])) -> Result<(), transport::Error> {
        self.0.wait(None).map(tell)
    }
}

/// Linux takes transfers back in the threads that want them: a forked child drives readers of its own.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod owner {
    pub fn check() -> Result<(), crate::error::StartError> {
        Ok(())
    }

    pub fn note() {}
}

/// Elsewhere a thread waits for all transfers from the first device on, and a forked child has its memory without the thread.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod owner {
    use std::sync::atomic::{AtomicU32, Ordering};

    use crate::error::StartError;

    static DRIVER: AtomicU32 = AtomicU32::new(0);

    pub fn check() -> Result<(), StartError> {
        if ![0, std::process::id()].contains(&DRIVER.load(Ordering::Relaxed)) {
            return Err(StartError::ForkedFromDriver);
        }
        Ok(())
    }

    pub fn note() {
        // It fails where the process has its thread already.
        let _ = DRIVER.compare_exchange(0, std::process::id(), Ordering::Relaxed, Ordering::Relaxed);
    }
}
