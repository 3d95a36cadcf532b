//! Readers whose transfers are recorded, and readers out of such records.

use std::io::Write;
use std::time::Instant;

use pcsc_ccid::descriptor::Interface;
use pcsc_ccid::names;
use pcsc_ccid::reader::{DeviceInfo, Options, Reader};
use pcsc_ccid::shared::{time_on, Interrupter, Notifications, OpenedReader, SharedError, POLL_INTERVAL};
use pcsc_ccid::transport::Transport;
use pcsc_ccid::usb::{self, Candidate, OpenError};
use pcsc_sim::usb_record::{RecordedDevice, UsbRecorder, UsbReplay};

use crate::ccid;
use crate::slot::FoundReader;

/// Writes a record to whatever it is for.
pub type Recorder = UsbRecorder<Box<dyn Write + Send>>;

/// A reader on the USB, as it is described in a record.
pub fn recorded_device(candidate: &Candidate) -> RecordedDevice {
    let identity = &candidate.identity;
    RecordedDevice {
        vendor_id: identity.vendor_id,
        product_id: identity.product_id,
        release: identity.release,
        manufacturer: identity.manufacturer.clone(),
        product: identity.product.clone(),
        interface_name: candidate.interface_name.clone(),
        interface: candidate.interface,
    }
}

/// A reader on the USB whose transfers are recorded. Its slots take turns. `report` gets why it cannot be
/// opened, as from [`usb::reporting`].
pub fn recorded(
    candidate: Candidate,
    options: Options,
    recorder: Recorder,
    report: impl FnMut(&OpenError) + Send + 'static,
) -> FoundReader {
    let name = candidate.name_identity().base_name();
    let (device, slots) = (candidate.device(), candidate.interface.descriptor.slots());
    let open = move |deadline| -> Result<OpenedReader, OpenError> {
        let opened = candidate.open()?;
        let canceller = opened.transport.canceller();
        let parts = Parts {
            transport: Box::new(opened.transport),
            notifications: opened.notifications,
            cancel: Some(Box::new(move || canceller.cancel())),
        };
        Ok(parts
            .recorded(&recorder)
            .open(&candidate.interface, candidate.device(), options, deadline)?)
    };
    ccid::found(name, device, slots, usb::reporting(open, report)).0
}

/// What a reader is opened with.
pub(crate) struct Parts {
    pub transport: Box<dyn Transport>,
    pub notifications: Notifications,
    pub cancel: Option<Interrupter>,
}

impl Parts {
    /// The same, recorded.
    pub fn recorded(self, recorder: &Recorder) -> Parts {
        Parts {
            transport: Box::new(recorder.transport(self.transport)),
            notifications: match self.notifications {
                Notifications::Interrupts(source) => Notifications::Interrupts(recorder.interrupts(source)),
                other => other,
            },
            cancel: self.cancel,
        }
    }

    pub fn open(
        self,
        interface: &Interface,
        device: DeviceInfo,
        options: Options,
        deadline: Option<Instant>,
    ) -> Result<OpenedReader, pcsc_ccid::reader::Error> {
        let deadline = time_on(&self.transport, deadline);
        let reader = Reader::open_until(deadline, self.transport, device, interface, options)?;
        Ok(OpenedReader {
            reader,
            notifications: self.notifications,
            cancel: self.cancel,
            senders: Vec::new(),
        })
    }
}

/// The reader out of a record.
pub fn replayed(replay: &UsbReplay, options: Options) -> FoundReader {
    let device = replay.device();
    let name = names::Identity {
        vendor: device.vendor_id,
        product: device.product_id,
        manufacturer: device.manufacturer.as_deref(),
        product_name: device.product.as_deref(),
        interface: device.interface_name.as_deref(),
        serial: None,
    }
    .base_name();
    let info = DeviceInfo {
        vendor: device.vendor_id,
        product: device.product_id,
        release: device.release,
        manufacturer: device.manufacturer.clone(),
        ..DeviceInfo::default()
    };
    let slots = device.interface.descriptor.slots();
    let (replay, identity) = (replay.clone(), info.clone());
    let open = move |deadline| {
        if !replay.reopen() {
            return Err(SharedError::Gone);
        }
        let device = replay.device();
        let parts = Parts {
            transport: Box::new(replay.transport()),
            notifications: match device.interface.interrupt_in {
                Some(_) => Notifications::Interrupts(Box::new(replay.watch())),
                None => Notifications::Polled(POLL_INTERVAL),
            },
            cancel: None,
        };
        let opened = parts.open(&device.interface, identity.clone(), options, deadline);
        opened.map_err(SharedError::opening)
    };
    ccid::found(name, info, slots, Box::new(open)).0
}

#[cfg(test)]
mod tests;
