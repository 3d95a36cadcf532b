//! Claims readers, and opens them for threads that share one.

use super::bulk::Bulk;
use super::candidate::{udev_rule, Candidate};
use super::error::{Holder, OpenError, Refusal};
use super::platform::{self, Claim};
use super::signal::Signal;
use super::transport::UsbTransport;
use super::watch::UsbWatch;
use crate::descriptor::Flavour;
use crate::quirks;
use crate::reader::{Reader, ReaderOptions};
use crate::shared::{time_on, Notifications, Open, OpenedReader, POLL_INTERVAL};
use crate::transport::Transport;
use std::boxed::Box;
use std::string::ToString;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use std::vec::Vec;

/// Pauses between attempts to claim an interface. A process that is ending, or a probe by udev, may hold it
/// for a moment.
const CLAIM_PAUSES: [Duration; 4] = [
    Duration::from_millis(5),
    Duration::from_millis(15),
    Duration::from_millis(30),
    Duration::from_millis(50),
];

/// What opens a reader for a [`SharedReader`](crate::shared::SharedReader). `report` gets why it cannot be
/// opened, once for as long as the reason is the same.
pub fn reporting(
    mut open: impl FnMut(Option<Instant>) -> Result<OpenedReader, OpenError> + Send + 'static,
    mut report: impl FnMut(&OpenError) + Send + 'static,
) -> Open {
    let mut reported = None;
    Box::new(move |deadline| match open(deadline) {
        Ok(opened) => {
            reported = None;
            Ok(opened)
        }
        Err(error) => {
            let text = error.to_string();
            // The reader is tried again every few seconds, for as long as another process has it.
            if reported.as_ref() != Some(&text) {
                report(&error);
                reported = Some(text);
            }
            Err(error.shared())
        }
    })
}

/// A claimed reader.
#[non_exhaustive]
pub struct Opened {
    /// The pipes for commands.
    pub transport: UsbTransport,
    /// One more for each slot, if several slots can be served at a time. They send; `transport` receives.
    senders: Vec<UsbTransport>,
    /// The source of card events. The interrupt pipe is for a thread of its own, which sleeps in
    /// [`InterruptSource::next`](crate::shared::InterruptSource::next).
    pub notifications: Notifications,
}

impl Candidate {
    /// Opens the device and claims the interface. Fails after 100 ms if another process or a driver of the
    /// kernel has claimed it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self) -> Result<Opened, OpenError> {
        self.try_open().map_err(|refusal| self.explain(refusal))
    }

    fn try_open(&self) -> Result<Opened, Refusal> {
        // Shared by transports and interrupt pipe: the interface is released when the last of them is
        // dropped.
        let claim = Arc::new(self.claim()?);
        // A device may refuse the request for an interface with one setting (USB 2.0, clause 9.4.10), and
        // setting 0 is active after the configuration.
        if self.interface.alternate != 0 {
            claim.set_alternate(self.interface.alternate)?;
        }
        let transport = self.transport(&claim)?;
        let mut senders = Vec::new();
        // Each slot's thread sends by itself. All could not share one transport, whose exchanges would
        // exclude each other.
        if platform::SHARES_ENDPOINTS && self.interface.descriptor.max_busy_slots > 1 {
            for _ in 0..self.interface.descriptor.slots() {
                senders.push(self.transport(&claim)?.that_waits_for_out());
            }
        }
        let notifications = match self.interface.interrupt_in {
            Some(interrupt) => {
                // Its own: a cancelled exchange must not end the wait for card events.
                let signal = Arc::new(Signal::default());
                let pipe = claim.interrupt_in(interrupt.address, &signal)?;
                Notifications::Interrupts(Box::new(UsbWatch::new(claim.clone(), pipe, signal)))
            }
            None => Notifications::Polled(POLL_INTERVAL),
        };
        Ok(Opened {
            transport,
            senders,
            notifications,
        })
    }

    /// The driver of the kernel that is bound to the interface, or else the other processes that have the
    /// device open, as far as the user may look. One of them may have claimed the reader.
    pub fn holders(&self) -> Vec<Holder> {
        platform::holders(&self.port, &self.place.node())
    }

    /// Why [`Reader::open`](crate::reader::Reader::open) refuses the reader's firmware, if it does.
    pub fn refused_firmware(&self) -> Option<&'static str> {
        let device = &self.identity;
        quirks::for_interface(
            device.vendor_id,
            device.product_id,
            device.release,
            &self.interface,
        )
        .refused
    }

    fn transport(&self, claim: &Arc<Claim>) -> Result<UsbTransport, Refusal> {
        let signal = Arc::new(Signal::default());
        let interface = &self.interface;
        let pipes = match (interface.flavour, interface.bulk_out, interface.bulk_in) {
            (Flavour::Ccid, Some(out), Some(input)) => {
                let out = claim.bulk_out(out, &signal)?;
                Some(Bulk::new(out, claim.bulk_in(input, &signal)?))
            }
            _ => None,
        };
        let control = claim.control(&signal);
        Ok(UsbTransport::new(claim.clone(), pipes, control, signal))
    }

    /// What opens the reader for a [`SharedReader`](crate::shared::SharedReader). `report` gets why it cannot
    /// be opened, as from [`reporting`].
    pub fn opener(self, options: ReaderOptions, report: impl FnMut(&OpenError) + Send + 'static) -> Open {
        reporting(move |deadline| self.open_reader(options, deadline), report)
    }

    fn open_reader(
        &self,
        options: ReaderOptions,
        deadline: Option<Instant>,
    ) -> Result<OpenedReader, OpenError> {
        let Opened {
            transport,
            senders,
            notifications,
        } = self.open()?;
        let canceller = transport.canceller();
        let transport: Box<dyn Transport> = Box::new(transport);
        let deadline = time_on(&transport, deadline);
        let reader = Reader::open_until(deadline, transport, self.device(), &self.interface, options)?;
        Ok(OpenedReader {
            reader,
            notifications,
            cancel: Some(Box::new(move || canceller.cancel())),
            senders: senders
                .into_iter()
                .map(|sender| Box::new(sender) as Box<dyn Transport>)
                .collect(),
        })
    }

    fn claim(&self) -> Result<Claim, Refusal> {
        let device = self.source.open(self.place)?;
        let mut pauses = CLAIM_PAUSES.iter();
        loop {
            match (device.claim(self.interface.number), pauses.next()) {
                // There is no event for the end of a claim.
                (Err(Refusal::Busy), Some(pause)) => thread::sleep(*pause),
                (result, _) => return result,
            }
        }
    }

    fn explain(&self, refusal: Refusal) -> OpenError {
        match refusal {
            Refusal::Permission => OpenError::Permission {
                node: self.place.node(),
                rule: udev_rule(&self.identity),
            },
            Refusal::Gone => OpenError::Gone,
            Refusal::Busy => OpenError::Busy {
                holders: self.holders(),
            },
            Refusal::Other(error) => OpenError::System(error),
        }
    }
}
