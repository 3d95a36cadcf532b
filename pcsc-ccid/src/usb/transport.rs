//! The transport over a claimed interface of a USB device.

use super::bulk::Bulk;
use super::platform::{BulkIn, BulkOut, Claim, Control};
use super::signal::Signal;
use crate::transport::{BulkPipe, Transport, TransportError};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Pipes = Bulk<BulkOut, BulkIn>;

/// A [`Transport`] over a claimed interface of a USB device. The claim ends when this and the reader's
/// interrupt pipe are dropped.
///
/// [`send`](Transport::send) submits the command to the system and does not wait for the end of its transfer.
/// An error of that transfer is returned by [`receive`](Transport::receive).
pub struct UsbTransport {
    // Dropped before the claim, so that no transfer is pending when the interface is released.
    pipes: Option<Pipes>,
    control: Control,
    signal: Arc<Signal>,
    claim: Arc<Claim>,
    started: Instant,
    /// See [`UsbTransport::that_waits_for_out`].
    waits_for_out: bool,
}

impl fmt::Debug for UsbTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsbTransport")
            .field("interface", &self.claim.number())
            .finish_non_exhaustive()
    }
}

impl UsbTransport {
    /// `signal` is the one that `pipes` and `control` wait on.
    pub(super) fn new(
        claim: Arc<Claim>,
        pipes: Option<Pipes>,
        control: Control,
        signal: Arc<Signal>,
    ) -> UsbTransport {
        UsbTransport {
            pipes,
            control,
            signal,
            claim,
            started: Instant::now(),
            waits_for_out: false,
        }
    }

    /// The same, but `send` waits until the device has taken the command: another transport receives the
    /// answer, and cannot say that the device has refused the command.
    pub(super) fn that_waits_for_out(mut self) -> UsbTransport {
        self.waits_for_out = true;
        self
    }

    /// A handle that ends waits from any thread.
    pub fn canceller(&self) -> Canceller {
        Canceller {
            signal: self.signal.clone(),
        }
    }
}

/// The longest timeout that is passed to the system.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

impl Transport for UsbTransport {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        // A cancellation that came after the end of the last exchange must not end this one. `receive` does
        // not drop it: between command and answer it counts.
        self.signal.forget();
        let pipes = self.pipes.as_mut().ok_or(TransportError::Fault)?;
        pipes.send(message, timeout.min(MAX_TIMEOUT))?;
        match self.waits_for_out {
            true => pipes.finish_out(),
            false => Ok(()),
        }
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        let pipes = self.pipes.as_mut().ok_or(TransportError::Fault)?;
        pipes.receive(buffer, timeout.min(MAX_TIMEOUT))
    }

    fn control_out(
        &mut self,
        request: u8,
        value: u16,
        data: &[u8],
        timeout: Duration,
    ) -> Result<(), TransportError> {
        self.signal.forget();
        let interface = self.claim.number();
        self.control
            .send(interface, request, value, data, timeout.min(MAX_TIMEOUT))
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        self.signal.forget();
        let interface = self.claim.number();
        self.control
            .receive(interface, request, value, buffer, timeout.min(MAX_TIMEOUT))
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        match &mut self.pipes {
            Some(pipes) => pipes.clear_halt(),
            None => Ok(()),
        }
    }

    fn clear_halt_of(&mut self, pipe: BulkPipe) -> Result<(), TransportError> {
        match &mut self.pipes {
            Some(pipes) => pipes.clear_halt_of(pipe),
            None => Ok(()),
        }
    }

    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        // Cancellations are not dropped here: a pause lies in the middle of a command, which is to end.
        let deadline = Instant::now().checked_add(time.min(MAX_TIMEOUT));
        self.signal.pause(deadline)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for UsbTransport {
    fn drop(&mut self) {
        // A pending transfer would delay the release of the interface.
        if let Some(pipes) = &mut self.pipes {
            _ = pipes.clear();
        }
    }
}

/// Ends waits of a [`UsbTransport`] from another thread.
#[derive(Debug, Clone)]
pub struct Canceller {
    signal: Arc<Signal>,
}

impl Canceller {
    /// Ends the exchange in progress with [`TransportError::Cancelled`], at once: the current wait or,
    /// between a command and its answer, the wait for the answer. Without an exchange in progress, it ends
    /// the next pause or wait for an answer, unless a command or request comes before that.
    pub fn cancel(&self) {
        self.signal.cancel();
    }
}
