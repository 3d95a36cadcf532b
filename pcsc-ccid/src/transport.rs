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
    /// [`Error`]; whether the device has taken a part of the message is then unknown.
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), Error>;

    /// Receives one bulk IN transfer: up to a short packet, or as much as `buffer` holds. Gives its length,
    /// which can be 0.
    ///
    /// # Errors
    /// [`Error`]. What came in before the error is lost.
    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, Error>;

    /// A class request to the interface with data for the device.
    ///
    /// # Errors
    /// [`Error::Stall`] where the device does not know it.
    fn control_out(&mut self, request: u8, value: u16, data: &[u8], timeout: Duration) -> Result<(), Error>;

    /// A class request to the interface with data from the device; gives their length.
    ///
    /// # Errors
    /// [`Error::Stall`] where the device does not know it.
    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, Error>;

    /// Ends the halt of both bulk pipes after a stall (USB 2.0, clause 9.4.5).
    ///
    /// # Errors
    /// [`Error`].
    fn clear_halt(&mut self) -> Result<(), Error>;

    /// Ends the halt of one bulk pipe, and leaves the transfers of the other one alone: a reader whose slots
    /// work in parallel may be using it. By default both are ended.
    ///
    /// # Errors
    /// [`Error`].
    fn clear_halt_of(&mut self, pipe: BulkPipe) -> Result<(), Error> {
        let _ = pipe;
        self.clear_halt()
    }

    /// Lets time go by, where a device says when to ask again.
    ///
    /// # Errors
    /// [`Error::Cancelled`] or [`Error::Gone`].
    fn pause(&mut self, time: Duration) -> Result<(), Error>;

    /// Time on a clock that never goes back; a simulated one in simulations.
    fn now(&self) -> Duration;
}

impl<T: Transport + ?Sized> Transport for alloc::boxed::Box<T> {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), Error> {
        (**self).send(message, timeout)
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, Error> {
        (**self).receive(buffer, timeout)
    }

    fn control_out(&mut self, request: u8, value: u16, data: &[u8], timeout: Duration) -> Result<(), Error> {
        (**self).control_out(request, value, data, timeout)
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, Error> {
        (**self).control_in(request, value, buffer, timeout)
    }

    fn clear_halt(&mut self) -> Result<(), Error> {
        (**self).clear_halt()
    }

    fn clear_halt_of(&mut self, pipe: BulkPipe) -> Result<(), Error> {
        (**self).clear_halt_of(pipe)
    }

    fn pause(&mut self, time: Duration) -> Result<(), Error> {
        (**self).pause(time)
    }

    fn now(&self) -> Duration {
        (**self).now()
    }
}

/// One of the two bulk pipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkPipe {
    /// To the reader.
    Out,
    /// From the reader.
    In,
}

/// Why a transfer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
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
