//! macOS and Windows: the library `nusb`, whose types do not leave this module.

use super::candidate::{is_plausible, Candidate, DeviceIdentity, Place};
use super::error::{Holder, Refusal};
use super::listing::{Notice, NoticeReason, Scan};
use super::pipe::{self, Completion};
use super::signal::Signal;
use crate::descriptor::interfaces;
use crate::shared::Interrupter;
use crate::transport::{copy, TransportError};
use ::nusb::hotplug::HotplugWatch;
use ::nusb::transfer::{
    Buffer, Bulk, BulkOrInterrupt, ControlIn, ControlOut, ControlType, Direction, EndpointDirection, In,
    Interrupt, Out, Recipient, TransferError,
};
use ::nusb::{DeviceInfo, Endpoint, ErrorKind, MaybeFuture};
use futures_core::Stream;
use std::boxed::Box;
use std::fmt;
use std::format;
use std::future::{Future, IntoFuture};
use std::io;
use std::path::Path;
use std::pin::{pin, Pin};
use std::string::String;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use std::vec::Vec;

/// Whether an endpoint can be opened several times.
pub(super) const SHARES_ENDPOINTS: bool = false;

pub(super) type BulkOut = NusbPipe<Bulk, Out>;
pub(super) type BulkIn = NusbPipe<Bulk, In>;
pub(super) type InterruptIn = NusbPipe<Interrupt, In>;

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        Signal::wake(&self);
    }
}

/// Sleeps on `signal` until `poll` is ready, the deadline passes or a cancellation comes, in this order of
/// precedence.
fn block_on<T>(
    signal: &Arc<Signal>,
    deadline: Option<Instant>,
    is_cancellable: bool,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Result<T, TransportError> {
    let waker = Waker::from(signal.clone());
    loop {
        if let Poll::Ready(value) = poll(&mut Context::from_waker(&waker)) {
            return Ok(value);
        }
        signal.sleep(deadline, is_cancellable)?;
    }
}

/// Converts the library's error of a transfer.
fn error(error: TransferError) -> TransportError {
    match error {
        TransferError::Stall => TransportError::Stall,
        TransferError::Disconnected => TransportError::Gone,
        TransferError::Cancelled => TransportError::Cancelled,
        _ => TransportError::Fault,
    }
}

/// One endpoint.
pub(super) struct NusbPipe<T: BulkOrInterrupt, D: EndpointDirection> {
    endpoint: Endpoint<T, D>,
    signal: Arc<Signal>,
}

impl<T: BulkOrInterrupt, D: EndpointDirection> pipe::Pipe for NusbPipe<T, D> {
    fn submit(&mut self, buffer: Vec<u8>) {
        let length = buffer.len();
        let mut buffer = Buffer::from(buffer);
        if D::DIR == Direction::In {
            buffer.clear();
            buffer.set_requested_len(length);
        }
        self.endpoint.submit(buffer);
    }

    fn is_pending(&self) -> bool {
        self.endpoint.pending() > 0
    }

    fn try_complete(&mut self) -> Option<Completion> {
        // The library panics if no transfer is pending.
        if !self.is_pending() {
            return None;
        }
        // No thread sleeps yet. The next sleep may end without a reason, and is begun again.
        let waker = Waker::from(self.signal.clone());
        match self.endpoint.poll_next_complete(&mut Context::from_waker(&waker)) {
            Poll::Ready(completion) => Some(finish(completion)),
            Poll::Pending => None,
        }
    }

    fn complete(
        &mut self,
        deadline: Option<Instant>,
        is_cancellable: bool,
    ) -> Result<Completion, TransportError> {
        let endpoint = &mut self.endpoint;
        let poll = |context: &mut Context<'_>| endpoint.poll_next_complete(context);
        block_on(&self.signal, deadline, is_cancellable, poll).map(finish)
    }

    fn cancel(&mut self) {
        self.endpoint.cancel_all();
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        match self.endpoint.clear_halt().wait() {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Disconnected => Err(TransportError::Gone),
            Err(_) => Err(TransportError::Fault),
        }
    }

    fn max_packet_size(&self) -> usize {
        self.endpoint.max_packet_size()
    }

    /// The library reports a removal by itself.
    fn is_gone(&self, _within: Duration) -> bool {
        false
    }
}

fn finish(completion: ::nusb::transfer::Completion) -> Completion {
    Completion {
        buffer: completion.buffer.into_vec(),
        result: completion.status.map_err(error),
    }
}

impl From<::nusb::Error> for Refusal {
    fn from(error: ::nusb::Error) -> Refusal {
        match error.kind() {
            ErrorKind::PermissionDenied => Refusal::Permission,
            ErrorKind::Busy => Refusal::Busy,
            ErrorKind::Disconnected => Refusal::Gone,
            _ => Refusal::Other(error.into()),
        }
    }
}

/// The processes that use a reader: these systems do not report them.
pub(super) fn holders(_port: &str, _node: &Path) -> Vec<Holder> {
    Vec::new()
}

/// An open device.
pub(super) struct OpenDevice(::nusb::Device);

/// What is opened to use a reader.
#[derive(Debug, Clone)]
pub(super) struct Source(DeviceInfo);

impl Source {
    pub(super) fn open(&self, _place: Place) -> Result<OpenDevice, Refusal> {
        Ok(OpenDevice(self.0.open().wait()?))
    }
}

impl OpenDevice {
    pub(super) fn claim(&self, interface: u8) -> Result<Claim, Refusal> {
        Ok(Claim(self.0.claim_interface(interface).wait()?))
    }
}

/// A claimed interface.
#[derive(Debug)]
pub(super) struct Claim(::nusb::Interface);

impl Claim {
    pub(super) fn number(&self) -> u8 {
        self.0.interface_number()
    }

    pub(super) fn set_alternate(&self, alternate: u8) -> Result<(), Refusal> {
        Ok(self.0.set_alt_setting(alternate).wait()?)
    }

    pub(super) fn bulk_out(&self, address: u8, signal: &Arc<Signal>) -> Result<BulkOut, Refusal> {
        self.pipe(address, signal)
    }

    pub(super) fn bulk_in(&self, address: u8, signal: &Arc<Signal>) -> Result<BulkIn, Refusal> {
        self.pipe(address, signal)
    }

    pub(super) fn interrupt_in(&self, address: u8, signal: &Arc<Signal>) -> Result<InterruptIn, Refusal> {
        self.pipe(address, signal)
    }

    fn pipe<T: BulkOrInterrupt, D: EndpointDirection>(
        &self,
        address: u8,
        signal: &Arc<Signal>,
    ) -> Result<NusbPipe<T, D>, Refusal> {
        Ok(NusbPipe {
            endpoint: self.0.endpoint(address)?,
            signal: signal.clone(),
        })
    }

    pub(super) fn control(&self, signal: &Arc<Signal>) -> Control {
        Control {
            interface: self.0.clone(),
            signal: signal.clone(),
        }
    }
}

/// The control pipe.
pub(super) struct Control {
    interface: ::nusb::Interface,
    signal: Arc<Signal>,
}

/// How much later than a transfer's own timeout the wait for it ends.
const GRACE: Duration = Duration::from_secs(1);

impl Control {
    /// Makes a class request to an interface, with data for the device.
    pub(super) fn send(
        &mut self,
        interface: u8,
        request: u8,
        value: u16,
        data: &[u8],
        timeout: Duration,
    ) -> Result<(), TransportError> {
        let request = ControlOut {
            control_type: ControlType::Class,
            recipient: Recipient::Interface,
            request,
            value,
            index: interface.into(),
            data,
        };
        self.wait(self.interface.control_out(request, timeout), timeout)
    }

    /// Makes a class request to an interface, with data from the device. Returns their length.
    pub(super) fn receive(
        &mut self,
        interface: u8,
        request: u8,
        value: u16,
        into: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        let request = ControlIn {
            control_type: ControlType::Class,
            recipient: Recipient::Interface,
            request,
            value,
            index: interface.into(),
            length: into.len().try_into().unwrap_or(u16::MAX),
        };
        let data = self.wait(self.interface.control_in(request, timeout), timeout)?;
        Ok(copy(&data, into))
    }

    /// Waits for a transfer. One that is not waited for any longer ends by its own timeout.
    fn wait<T>(
        &self,
        transfer: impl IntoFuture<Output = Result<T, TransferError>>,
        timeout: Duration,
    ) -> Result<T, TransportError> {
        let mut transfer = pin!(transfer.into_future());
        // The transfer's own timeout comes first, and ends it in order. This is for a library that does not
        // report it.
        let deadline = Instant::now().checked_add(timeout.saturating_add(GRACE));
        let poll = |context: &mut Context<'_>| transfer.as_mut().poll(context);
        match block_on(&self.signal, deadline, true, poll)? {
            Ok(value) => Ok(value),
            // That is how the library reports its timeout.
            Err(TransferError::Cancelled) => Err(TransportError::Timeout),
            Err(failure) => Err(error(failure)),
        }
    }
}

/// Whether the system has a USB.
pub(super) fn is_present() -> bool {
    true
}

/// Finds which of the known readers are gone, and which other readers there are. All of them are ready.
///
/// # Errors
/// If the system has no USB, or this process has no access to it.
pub(super) fn scan(known: &[Candidate], _has_waited: &dyn Fn(Place) -> bool) -> io::Result<Scan> {
    let devices: Vec<DeviceInfo> = ::nusb::list_devices().wait()?.collect();
    let is_there = |reader: &Candidate| {
        devices.iter().any(|info| {
            info.device_address() == reader.place.address && port(info, reader.place.interface) == reader.port
        })
    };
    let gone = known.iter().filter(|reader| !is_there(reader));
    let mut found = Scan {
        gone: gone.map(|reader| reader.place).collect(),
        ..Scan::default()
    };
    for info in &devices {
        add(info, &mut found);
    }
    let is_known =
        |place: Place| known.iter().any(|reader| reader.place == place) && !found.gone.contains(&place);
    found.arrived.retain(|reader| !is_known(reader.place));
    found.arrived.sort_by_key(|reader| reader.place);
    Ok(found)
}

/// Whether the failure may be temporary. Here it is not: the next event causes another scan.
pub(super) fn is_transient(_: &io::Error) -> bool {
    false
}

fn port(info: &DeviceInfo, interface: u8) -> String {
    format!("{}:{}", info.bus_id(), interface)
}

/// Opens a device that has an interface of the class to read its descriptors.
fn add(info: &DeviceInfo, found: &mut Scan) {
    if !info.interfaces().any(|interface| is_plausible(interface.class())) {
        return;
    }
    // The library has class descriptors of open devices only. One that cannot be opened now is looked at
    // again after the next event.
    let Ok(device) = info.open().wait() else {
        return;
    };
    let Ok(configuration) = device.active_configuration() else {
        return;
    };
    let identity = DeviceIdentity {
        vendor_id: info.vendor_id(),
        product_id: info.product_id(),
        release: info.device_version(),
        manufacturer: info.manufacturer_string().map(String::from),
        product: info.product_string().map(String::from),
        serial: info.serial_number().map(String::from),
    };
    for reader in interfaces(configuration.as_bytes()) {
        let place = |interface| Place {
            // The systems name buses by texts, and the port has the text.
            bus: 0,
            address: info.device_address(),
            interface,
        };
        match reader {
            Ok(interface) => found.arrived.push(Candidate {
                identity: identity.clone(),
                place: place(interface.number),
                port: port(info, interface.number),
                interface_name: info
                    .interfaces()
                    .find(|info| info.interface_number() == interface.number)
                    .and_then(|info| info.interface_string().map(String::from)),
                interface,
                source: Source(info.clone()),
            }),
            Err(unusable) => found.notices.push(Notice {
                place: place(unusable.interface),
                port: port(info, unusable.interface),
                identity: identity.clone(),
                reason: NoticeReason::Descriptor(unusable.error),
            }),
        }
    }
}

/// The library's hotplug events.
pub(super) struct Events {
    watch: HotplugWatch,
    signal: Arc<Signal>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    pub(super) fn new() -> io::Result<Events> {
        Ok(Events {
            watch: ::nusb::watch_devices()?,
            signal: Arc::default(),
        })
    }

    pub(super) fn stopper(&self) -> Interrupter {
        let signal = self.signal.clone();
        Box::new(move || signal.stop())
    }

    /// Sleeps until it is time to scan again; false once stopped.
    pub(super) fn wait(&mut self, _needs_rescan: bool) -> io::Result<bool> {
        let watch = &mut self.watch;
        let event = block_on(&self.signal, None, true, |context| {
            Pin::new(&mut *watch).poll_next(context)
        });
        Ok(matches!(event, Ok(Some(_))))
    }
}
