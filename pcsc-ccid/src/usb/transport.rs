//! One interface of a real reader.

use super::bulk::{failure, Bulk, Queue};
use super::signal::{Interruption, Signal, Waiter};
use crate::transport::{Error, Transport};
use nusb::transfer::{
    self, Buffer, BulkOrInterrupt, Completion, ControlIn, ControlOut, ControlType, EndpointDirection,
    Recipient,
};
use nusb::{Endpoint, MaybeFuture};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

impl<T: BulkOrInterrupt, D: EndpointDirection> Queue for Endpoint<T, D> {
    fn submit(&mut self, buffer: Buffer) {
        Endpoint::submit(self, buffer);
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

    fn max_packet_size(&self) -> usize {
        Endpoint::max_packet_size(self)
    }
}

type Pipes = Bulk<Endpoint<transfer::Bulk, transfer::Out>, Endpoint<transfer::Bulk, transfer::In>>;

/// A [`Transport`] over a claimed interface of a USB device. The claim ends when this and the reader's
/// [`UsbWatch`](super::UsbWatch) are dropped.
///
/// [`send`](Transport::send) hands the command to the system and does not wait until the device has taken it: where
/// the device refuses it, [`receive`](Transport::receive) says so.
pub struct UsbTransport {
    // Before the interface, which is released once the pipes are gone.
    pipes: Option<Pipes>,
    interface: nusb::Interface,
    waiter: Waiter,
    started: Instant,
}

impl fmt::Debug for UsbTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsbTransport")
            .field("interface", &self.interface.interface_number())
            .finish_non_exhaustive()
    }
}

impl UsbTransport {
    pub(super) fn new(interface: nusb::Interface, pipes: Option<Pipes>) -> UsbTransport {
        UsbTransport {
            pipes,
            interface,
            waiter: Waiter::new(),
            started: Instant::now(),
        }
    }

    /// A handle to end waits with, from any thread.
    pub fn canceller(&self) -> Canceller {
        Canceller {
            signal: self.waiter.signal().clone(),
        }
    }

    /// Whether an empty packet follows a message whose length is a multiple of the bulk OUT endpoint's packet size
    /// (USB 2.0, clause 5.8.3), which few readers need. It costs such a message a transfer more.
    pub fn set_zero_length_packet(&mut self, is_wanted: bool) {
        if let Some(pipes) = &mut self.pipes {
            pipes.set_ends_with_empty_packet(is_wanted);
        }
    }

    /// Waits for a control transfer. One that is given up ends by its own timeout.
    fn control<T>(
        &self,
        timeout: Duration,
        transfer: impl IntoFuture<Output = Result<T, transfer::TransferError>>,
    ) -> Result<T, Error> {
        self.waiter.signal().forget();
        let mut transfer = pin!(transfer.into_future());
        let deadline = Instant::now().checked_add(timeout.saturating_add(CONTROL_GRACE));
        match self
            .waiter
            .wait(deadline, |context| transfer.as_mut().poll(context))?
        {
            Ok(value) => Ok(value),
            Err(transfer::TransferError::Cancelled) => Err(Error::Timeout),
            Err(error) => Err(failure(error)),
        }
    }
}

/// How much later than a control transfer's own timeout its wait ends.
const CONTROL_GRACE: Duration = Duration::from_secs(1);

/// The longest timeout that the system is given; nothing waits for longer than that.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

impl Transport for UsbTransport {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), Error> {
        self.waiter.signal().forget();
        let pipes = self.pipes.as_mut().ok_or(Error::Fault)?;
        pipes.send(message, timeout.min(MAX_TIMEOUT), &self.waiter)
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, Error> {
        let pipes = self.pipes.as_mut().ok_or(Error::Fault)?;
        pipes.receive(buffer, timeout.min(MAX_TIMEOUT), &self.waiter)
    }

    fn control_out(&mut self, request: u8, value: u16, data: &[u8], timeout: Duration) -> Result<(), Error> {
        let timeout = timeout.min(MAX_TIMEOUT);
        let transfer = self.interface.control_out(
            ControlOut {
                control_type: ControlType::Class,
                recipient: Recipient::Interface,
                request,
                value,
                index: self.interface.interface_number().into(),
                data,
            },
            timeout,
        );
        self.control(timeout, transfer)
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, Error> {
        let timeout = timeout.min(MAX_TIMEOUT);
        let transfer = self.interface.control_in(
            ControlIn {
                control_type: ControlType::Class,
                recipient: Recipient::Interface,
                request,
                value,
                index: self.interface.interface_number().into(),
                length: buffer.len().try_into().unwrap_or(u16::MAX),
            },
            timeout,
        );
        let data = self.control(timeout, transfer)?;
        let length = data.len().min(buffer.len());
        if let (Some(into), Some(from)) = (buffer.get_mut(..length), data.get(..length)) {
            into.copy_from_slice(from);
        }
        Ok(length)
    }

    fn clear_halt(&mut self) -> Result<(), Error> {
        let Some(pipes) = &mut self.pipes else {
            return Ok(());
        };
        let cleared = pipes.clear(&self.waiter);
        let out = pipes.out().clear_halt().wait();
        let input = pipes.input().clear_halt().wait();
        cleared?;
        out.and(input).map_err(|error| match error.kind() {
            nusb::ErrorKind::Disconnected => Error::Gone,
            _ => Error::Fault,
        })
    }

    fn pause(&mut self, time: Duration) -> Result<(), Error> {
        let deadline = Instant::now().checked_add(time.min(MAX_TIMEOUT));
        match self.waiter.wait(deadline, |_| Poll::<()>::Pending) {
            Err(Interruption::Cancelled) => Err(Error::Cancelled),
            Ok(()) | Err(Interruption::Timeout) => Ok(()),
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for UsbTransport {
    fn drop(&mut self) {
        // A transfer that is still the system's would keep the interface claimed for a while.
        if let Some(pipes) = &mut self.pipes {
            _ = pipes.clear(&self.waiter);
        }
    }
}

/// Ends waits of a [`UsbTransport`] from another thread.
#[derive(Debug, Clone)]
pub struct Canceller {
    signal: Arc<Signal>,
}

impl Canceller {
    /// Ends the exchange that goes on with [`Error::Cancelled`], at once: the wait of this moment, or, between a
    /// command and its answer, the wait for the answer. Where nothing goes on, it does nothing.
    pub fn cancel(&self) {
        self.signal.cancel();
    }
}
