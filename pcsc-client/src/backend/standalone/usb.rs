//! Readers on the USB.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use pcsc_ccid::reader::{Options, Reader};
use pcsc_ccid::transport::{self, Transport};
use pcsc_ccid::usb::{Candidate, Hotplug, HotplugStopper, Listing, OpenError, Place, Presence, UsbWatch};

use super::board::{lock, Board};
use super::ccid::{self, News, Opened, Source, Watches};
use super::manager::{Bus, BusEvent};
use super::slot::{Fault, Found};
use crate::error::{Cause, Error, Failure, Outcome};
use crate::process;

/// The readers on the USB.
pub struct UsbBus {
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
    pub fn new() -> Outcome<UsbBus> {
        /// Whose thread waits for the transfers of the process: a child has its memory and not the thread.
        static OWNER: AtomicU32 = AtomicU32::new(0);
        let generation = process::generation();
        let owner = OWNER.compare_exchange(0, generation, Ordering::Relaxed, Ordering::Relaxed);
        if owner.is_err_and(|owner| owner != generation) {
            return Err(Failure::because(Error::NoService, Cause::ForkedFromDriver));
        }
        process::stay_loaded();
        let (hotplug, listing) =
            Hotplug::new().map_err(|error| Failure::because(Error::NoService, Cause::Usb(error)))?;
        Ok(UsbBus {
            stopper: hotplug.stopper(),
            hotplug: Mutex::new(hotplug),
            initial: Mutex::new(listing),
            arrived: Mutex::default(),
            watches: Mutex::default(),
            end: Board::default(),
        })
    }

    fn found(&self, candidate: Candidate) -> Found {
        let name = candidate.name_identity().base_name();
        let slots = candidate.interface.descriptor.slots();
        let place = candidate.place;
        let mut told = None;
        let open = Box::new(move || open(&candidate, &mut told));
        let (found, watches) = ccid::found(name, slots, open);
        let mut known = lock(&self.watches);
        known.retain(|_, watches| watches.strong_count() > 0);
        known.insert(place, Arc::downgrade(&watches));
        found
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

fn open(candidate: &Candidate, told: &mut Option<String>) -> Result<Opened, Fault> {
    let opened = candidate.open().map_err(|error| {
        // Told once, for as long as it is the same.
        let text = format!("{}: {error}", candidate.identity);
        if told.as_ref() != Some(&text) {
            log::info!("{text}");
            *told = Some(text);
        }
        match error {
            OpenError::Busy { .. } => Fault::Busy,
            OpenError::Gone => Fault::NoDevice,
            OpenError::Permission { .. } | OpenError::System(_) => Fault::Communication,
        }
    })?;
    *told = None;
    let transport: Box<dyn Transport> = Box::new(opened.transport);
    let reader = Reader::open(
        transport,
        candidate.device(),
        &candidate.interface,
        Options::default(),
    )
    .map_err(|error| {
        log::error!("{}: {error}", candidate.identity);
        ccid::fault(error)
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
