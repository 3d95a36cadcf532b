//! Claiming a reader.

use super::bulk::Bulk;
use super::enumerate::{udev_rule, Candidate, Source};
use super::error::OpenError;
use super::transport::UsbTransport;
use super::watch::{Presence, UsbWatch, POLL_INTERVAL};
use crate::descriptor::Flavour;
use nusb::{transfer, ErrorKind, MaybeFuture};
use std::thread;
use std::time::Duration;

/// Pauses between attempts to claim an interface: whoever has just been unplugged from it, or ended, may hold it for
/// a moment.
const CLAIM_PAUSES: [Duration; 4] = [
    Duration::from_millis(5),
    Duration::from_millis(15),
    Duration::from_millis(30),
    Duration::from_millis(50),
];

/// A reader that is ours.
#[derive(Debug)]
pub struct Opened {
    /// Its commands.
    pub transport: UsbTransport,
    /// Its cards that come and go.
    pub presence: Presence,
}

impl Candidate {
    /// Opens the device and claims the interface. A driver or a process that has it keeps it. This can take 100 ms
    /// where it is in use.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self) -> Result<Opened, OpenError> {
        let device = match &self.source {
            #[cfg(not(target_os = "android"))]
            Source::Listed(info) => info.open().wait().map_err(|error| self.explain(error))?,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Source::Open(device) => device.clone(),
        };
        let interface = self.claim(&device)?;
        if self.interface.alternate != 0 {
            let chosen = interface.set_alt_setting(self.interface.alternate).wait();
            chosen.map_err(|error| self.explain(error))?;
        }
        let pipes = match (
            self.interface.flavour,
            self.interface.bulk_out,
            self.interface.bulk_in,
        ) {
            (Flavour::Ccid, Some(out), Some(input)) => {
                let out = interface.endpoint::<transfer::Bulk, transfer::Out>(out);
                let input = interface.endpoint::<transfer::Bulk, transfer::In>(input);
                let explain = |error| self.explain(error);
                Some(Bulk::new(out.map_err(explain)?, input.map_err(explain)?))
            }
            _ => None,
        };
        let presence = match self.interface.interrupt_in {
            Some(interrupt) => {
                let endpoint = interface.endpoint::<transfer::Interrupt, transfer::In>(interrupt.address);
                Presence::Notified(UsbWatch::new(endpoint.map_err(|error| self.explain(error))?))
            }
            None => Presence::Polled(POLL_INTERVAL),
        };
        Ok(Opened {
            transport: UsbTransport::new(interface, pipes),
            presence,
        })
    }

    fn claim(&self, device: &nusb::Device) -> Result<nusb::Interface, OpenError> {
        let mut pauses = CLAIM_PAUSES.iter();
        loop {
            let error = match device.claim_interface(self.interface.number).wait() {
                Ok(interface) => return Ok(interface),
                Err(error) => error,
            };
            match pauses.next() {
                Some(pause) if error.kind() == ErrorKind::Busy => thread::sleep(*pause),
                _ => return Err(self.explain(error)),
            }
        }
    }

    fn explain(&self, error: nusb::Error) -> OpenError {
        match error.kind() {
            ErrorKind::PermissionDenied => OpenError::Permission {
                node: self.place.node(),
                rule: udev_rule(&self.identity),
            },
            ErrorKind::Disconnected => OpenError::Gone,
            ErrorKind::Busy => OpenError::Busy {
                holders: self.holders(),
            },
            _ => OpenError::System(error.into()),
        }
    }

    #[cfg(target_os = "linux")]
    fn holders(&self) -> std::vec::Vec<super::Holder> {
        match super::sysfs::driver(&self.port) {
            Some(driver) if driver != "usbfs" => std::vec![super::Holder::Driver(driver)],
            _ => {
                // This attempt has the node open too.
                let own = std::process::id();
                let mut holders = super::holders::of(&self.place.node());
                holders.retain(|holder| !matches!(holder, super::Holder::Process { pid, .. } if *pid == own));
                holders
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn holders(&self) -> std::vec::Vec<super::Holder> {
        std::vec::Vec::new()
    }
}
