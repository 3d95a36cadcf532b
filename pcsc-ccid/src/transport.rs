//! What carries messages to a reader and back: one interface of a USB device, real or simulated.

use core::time::Duration;

/// One CCID or ICCD interface: a pair of bulk pipes, class requests on the control pipe, and a clock.
///
/// Calls come one at a time. Notifications of cards that come and go have a pipe of their own, which is
/// not here, because it is waited on while exchanges go on.
pub trait Transport: Send {
    /// Sends `message` as one bulk OUT transfer.
    ///
    /// # Errors
    /// [`TransportError`]; whether the device has taken a part of the message is then unknown.
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), TransportError>;

    /// Receives one bulk IN transfer: up to a short packet, or as much as `buffer` holds. Gives its length,
    /// which can be 0.
    ///
    /// # Errors
    /// [`TransportError`]. What came in before the error is lost.
    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError>;

    /// A class request to the interface with data for the device.
    ///
    /// # Errors
    /// [`TransportError::Stall`] if the device does not support it.
    fn control_out(
        &mut self,
        request: u8,
        value: u16,
        data: &[u8],
        timeout: Duration,
    ) -> Result<(), TransportError>;

    /// A class request to the interface with data from the device; gives their length.
    ///
    /// # Errors
    /// [`TransportError::Stall`] if the device does not support it.
    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError>;

    /// Ends the halt of both bulk pipes after a stall (USB 2.0, clause 9.4.5).
    ///
    /// # Errors
    /// [`TransportError`].
    fn clear_halt(&mut self) -> Result<(), TransportError>;

    /// Ends the halt of one bulk pipe, and leaves the transfers of the other one alone: a reader whose slots
    /// work in parallel may be using it. By default both are ended.
    ///
    /// # Errors
    /// [`TransportError`].
    fn clear_halt_of(&mut self, pipe: BulkPipe) -> Result<(), TransportError> {
        let _ = pipe;
        self.clear_halt()
    }

    /// Lets time go by, where a device says when to ask again.
    ///
    /// # Errors
    /// [`TransportError::Cancelled`] or [`TransportError::Gone`].
    fn pause(&mut self, time: Duration) -> Result<(), TransportError>;

    /// Time on a clock that never goes back; a simulated one in simulations.
    fn now(&self) -> Duration;
}

impl<T: Transport + ?Sized> Transport for alloc::boxed::Box<T> {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        (**self).send(message, timeout)
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        (**self).receive(buffer, timeout)
    }

    fn control_out(
        &mut self,
        request: u8,
        value: u16,
        data: &[u8],
        timeout: Duration,
    ) -> Result<(), TransportError> {
        (**self).control_out(request, value, data, timeout)
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        (**self).control_in(request, value, buffer, timeout)
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        (**self).clear_halt()
    }

    fn clear_halt_of(&mut self, pipe: BulkPipe) -> Result<(), TransportError> {
        (**self).clear_halt_of(pipe)
    }

    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        (**self).pause(time)
    }

    fn now(&self) -> Duration {
        (**self).now()
    }
}

/// Copies as much of what a device sent as there is room for. Returns the length.
pub fn copy(data: &[u8], room: &mut [u8]) -> usize {
    let length = data.len().min(room.len());
    room[..length].copy_from_slice(&data[..length]);
    length
}

/// One of the two bulk pipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BulkPipe {
    /// To the reader.
    Out,
    /// From the reader.
    In,
}

/// Why a transfer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The device did not answer in time.
    #[error("the reader does not answer")]
    Timeout,
    /// The wait was cancelled from elsewhere. Only the wait that was going on ends; the next call works.
    #[error("the wait was cancelled")]
    Cancelled,
    /// The device refused: the pipe is halted, or the request unknown.
    #[error("the reader refused the transfer")]
    Stall,
    /// The device is gone.
    #[error("the reader is gone")]
    Gone,
    /// Anything else that went wrong on the bus.
    #[error("the transfer failed on the bus")]
    Fault,
}
