//! Other systems: the library `nusb`.

use super::bulk::{failure, Queue};
use super::reactor::Role;
use super::signal::Waiter;
use crate::transport::Error;
use nusb::transfer::{
    self, Buffer, BulkOrInterrupt, Completion, ControlIn, ControlOut, ControlType, EndpointDirection,
    Recipient,
};
use nusb::{Endpoint, ErrorKind, MaybeFuture};
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

pub(super) type BulkOut = Endpoint<transfer::Bulk, transfer::Out>;
pub(super) type BulkIn = Endpoint<transfer::Bulk, transfer::In>;
pub(super) type InterruptIn = Endpoint<transfer::Interrupt, transfer::In>;

impl<T: BulkOrInterrupt, D: EndpointDirection> Queue for Endpoint<T, D> {
    fn submit(&mut self, buffer: Buffer) {
        Endpoint::submit(self, buffer);
    }

    /// The library tells of a removal itself.
    fn is_gone(&self, _within: Duration) -> bool {
        false
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Completion> {
        self.poll_next_complete(context)
    }

    fn cancel(&mut self) {
        self.cancel_all();
    }

    fn is_pending(&self) -> bool {
        self.pending() > 0
    }

    fn clear_halt(&mut self) -> Result<(), Error> {
        match Endpoint::clear_halt(self).wait() {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Disconnected => Err(Error::Gone),
            Err(_) => Err(Error::Fault),
        }
    }

    fn max_packet_size(&self) -> usize {
        Endpoint::max_packet_size(self)
    }
}

/// Why a device cannot be opened or an interface not claimed.
pub(super) enum Refusal {
    Permission,
    Busy,
    Gone,
    Other(io::Error),
}

impl From<nusb::Error> for Refusal {
    fn from(error: nusb::Error) -> Refusal {
        match error.kind() {
            ErrorKind::PermissionDenied => Refusal::Permission,
            ErrorKind::Busy => Refusal::Busy,
            ErrorKind::Disconnected => Refusal::Gone,
            _ => Refusal::Other(error.into()),
        }
    }
}

/// An open device.
#[derive(Debug, Clone)]
pub(super) struct Device(nusb::Device);

impl Device {
    pub(super) fn open(info: &nusb::DeviceInfo) -> Result<Device, Refusal> {
        Ok(Device(info.open().wait()?))
    }

    pub(super) fn claim(&self, interface: u8) -> Result<Claim, Refusal> {
        Ok(Claim {
            device: self.clone(),
            interface: self.0.claim_interface(interface).wait()?,
        })
    }

    pub(super) fn waiter(&self, role: Role) -> Waiter {
        Waiter::new(None, role)
    }
}

/// A claimed interface.
#[derive(Debug)]
pub(super) struct Claim {
    device: Device,
    interface: nusb::Interface,
}

impl Claim {
    pub(super) fn number(&self) -> u8 {
        self.interface.interface_number()
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn set_alternate(&self, alternate: u8) -> Result<(), Refusal> {
        Ok(self.interface.set_alt_setting(alternate).wait()?)
    }

    pub(super) fn bulk_out(&self, address: u8) -> Result<BulkOut, Refusal> {
        Ok(self.interface.endpoint(address)?)
    }

    pub(super) fn bulk_in(&self, address: u8) -> Result<BulkIn, Refusal> {
        Ok(self.interface.endpoint(address)?)
    }

    pub(super) fn interrupt_in(&self, address: u8) -> Result<InterruptIn, Refusal> {
        Ok(self.interface.endpoint(address)?)
    }

    pub(super) fn control(&self) -> Control {
        Control {
            interface: self.interface.clone(),
        }
    }
}

/// The control pipe.
#[derive(Debug)]
pub(super) struct Control {
    interface: nusb::Interface,
}

/// A class request to an interface (USB 2.0, clause 9.3), but for its length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) request: u8,
    pub(super) value: u16,
    pub(super) index: u16,
}

impl Request {
    pub(super) fn to_interface(interface: u8, request: u8, value: u16) -> Request {
        Request {
            request,
            value,
            index: interface.into(),
        }
    }
}

/// How much later than a transfer's own timeout the wait for it ends.
const GRACE: Duration = Duration::from_secs(1);

impl Control {
    pub(super) fn send(
        &mut self,
        request: Request,
        data: &[u8],
        timeout: Duration,
        waiter: &Waiter,
    ) -> Result<(), Error> {
        let request = ControlOut {
            control_type: ControlType::Class,
            recipient: Recipient::Interface,
            request: request.request,
            value: request.value,
            index: request.index,
            data,
        };
        wait(self.interface.control_out(request, timeout), timeout, waiter)
    }

    pub(super) fn receive(
        &mut self,
        request: Request,
        into: &mut [u8],
        timeout: Duration,
        waiter: &Waiter,
    ) -> Result<usize, Error> {
        let request = ControlIn {
            control_type: ControlType::Class,
            recipient: Recipient::Interface,
            request: request.request,
            value: request.value,
            index: request.index,
            length: into.len().try_into().unwrap_or(u16::MAX),
        };
        let data = wait(self.interface.control_in(request, timeout), timeout, waiter)?;
        Ok(super::bulk::copy(&data, into))
    }
}

/// Waits for a transfer. One that is given up ends by its own timeout.
fn wait<T>(
    transfer: impl IntoFuture<Output = Result<T, transfer::TransferError>>,
    timeout: Duration,
    waiter: &Waiter,
) -> Result<T, Error> {
    let mut transfer = pin!(transfer.into_future());
    let deadline = Instant::now().checked_add(timeout.saturating_add(GRACE));
    match waiter.wait(deadline, |context| transfer.as_mut().poll(context))? {
        Ok(value) => Ok(value),
        Err(transfer::TransferError::Cancelled) => Err(Error::Timeout),
        Err(error) => Err(failure(error)),
    }
}
