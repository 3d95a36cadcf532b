//! Readers whose transfers are recorded, and readers out of such records.

use std::io::Write;
use std::time::Instant;

use pcsc_ccid::descriptor::Interface;
use pcsc_ccid::reader::{DeviceInfo, Reader, ReaderOptions};
use pcsc_ccid::shared::{
    time_on, InterruptSource, Interrupter, Notifications, OpenedReader, SharedError, POLL_INTERVAL,
};
use pcsc_ccid::transport::Transport;
use pcsc_ccid::usb::{self, Candidate, OpenError};
use pcsc_sim::usb_record::{RecordedDevice, UsbRecorder, UsbReplay};
use pcsc_sim::UsbIdentity;

use crate::ccid;
use crate::slot::FoundReader;

/// Writes a record to whatever it is for.
pub type Recorder = UsbRecorder<Box<dyn Write + Send>>;

/// A reader on the USB, as it is described in a record.
pub fn recorded_device(candidate: &Candidate) -> RecordedDevice {
    let identity = &candidate.identity;
    RecordedDevice {
        identity: UsbIdentity {
            vendor_id: identity.vendor_id,
            product_id: identity.product_id,
            release: identity.release,
            manufacturer: identity.manufacturer.clone(),
            product: identity.product.clone(),
            interface_name: candidate.interface_name.clone(),
        },
        interface: candidate.interface,
    }
}

/// A reader on the USB whose transfers are recorded. Its slots take turns. `report` gets why it cannot be
/// opened, as from [`usb::reporting`].
pub fn recorded_reader(
    candidate: Candidate,
    options: ReaderOptions,
    recorder: Recorder,
    report: impl FnMut(&OpenError) + Send + 'static,
) -> FoundReader {
    let name = candidate.name_identity().base_name();
    let (device, slots) = (candidate.device(), candidate.interface.descriptor.slots());
    let open = move |deadline| -> Result<OpenedReader, OpenError> {
        let opened = candidate.open()?;
        let canceller = opened.transport.canceller();
        let pipes = Pipes {
            transport: Box::new(opened.transport),
            notifications: opened.notifications,
            cancel: Some(Box::new(move || canceller.cancel())),
        };
        Ok(pipes
            .recorded(&recorder)
            .open(&candidate.interface, candidate.device(), options, deadline)?)
    };
    ccid::found(name, device, slots, usb::reporting(open, report)).0
}

/// What a reader is opened with.
pub(crate) struct Pipes {
    pub transport: Box<dyn Transport>,
    pub notifications: Notifications,
    pub cancel: Option<Interrupter>,
}

impl Pipes {
    /// Those of a reader without hardware. `watch` is its interrupt pipe, if the interface has one.
    pub fn simulated(
        interface: &Interface,
        transport: impl Transport + 'static,
        watch: impl InterruptSource + 'static,
    ) -> Pipes {
        Pipes {
            transport: Box::new(transport),
            notifications: match interface.interrupt_in {
                Some(_) => Notifications::Interrupts(Box::new(watch)),
                None => Notifications::Polled(POLL_INTERVAL),
            },
            cancel: None,
        }
    }

    /// The same, recorded.
    pub fn recorded(self, recorder: &Recorder) -> Pipes {
        Pipes {
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
        options: ReaderOptions,
        deadline: Option<Instant>,
    ) -> Result<OpenedReader, pcsc_ccid::reader::ReaderError> {
        let deadline = time_on(&self.transport, deadline);
        let reader = Reader::open_until(deadline, self.transport, device, interface, options)?;
        let mut opened = OpenedReader::new(reader, self.notifications);
        opened.cancel = self.cancel;
        Ok(opened)
    }
}

/// The reader out of a record.
pub fn replayed_reader(replay: &UsbReplay, options: ReaderOptions) -> FoundReader {
    let RecordedDevice { identity, interface } = replay.device();
    let (name, info) = (identity.base_name(), identity.device_info());
    let (replay, device) = (replay.clone(), info.clone());
    let open = move |deadline| {
        if !replay.reopen() {
            return Err(SharedError::Gone);
        }
        let interface = &replay.device().interface;
        let opened = Pipes::simulated(interface, replay.transport(), replay.watch()).open(
            interface,
            device.clone(),
            options,
            deadline,
        );
        opened.map_err(SharedError::opening)
    };
    ccid::found(name, info, interface.descriptor.slots(), Box::new(open)).0
}

#[cfg(test)]
mod tests;
