//! The interrupt pipe: cards that come and go (CCID 1.1, clause 6.3).

use super::bulk::{judge, Queue};
use super::reactor::Role;
use super::signal::{Signal, Waiter};
use super::system::{Claim, InterruptIn};
use crate::transport::Error;
use nusb::transfer::{Buffer, TransferError};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often to ask a reader that does not notify: as often as pcscd does.
pub const POLL_INTERVAL: Duration = Duration::from_millis(400);

/// How the presence of cards is learnt.
#[derive(Debug)]
pub enum Presence {
    /// The reader tells.
    Notified(UsbWatch),
    /// The reader has no interrupt endpoint: ask for the slot's status every so often.
    Polled(Duration),
}

/// The interrupt pipe of a claimed interface. It goes to a thread of its own, which sleeps in [`UsbWatch::wait`].
pub struct UsbWatch {
    endpoint: InterruptIn,
    buffer: Option<Buffer>,
    waiter: Waiter,
    _claim: Arc<Claim>,
}

impl fmt::Debug for UsbWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsbWatch").finish_non_exhaustive()
    }
}

impl UsbWatch {
    pub(super) fn new(claim: Arc<Claim>, endpoint: InterruptIn) -> UsbWatch {
        UsbWatch {
            endpoint,
            buffer: None,
            waiter: claim.device().waiter(Role::Watch),
            _claim: claim,
        }
    }

    /// A handle that ends this watch from any thread.
    pub fn stopper(&self) -> WatchStopper {
        WatchStopper {
            signal: self.waiter.signal().clone(),
        }
    }

    /// Sleeps until the reader sends something on the interrupt pipe and gives the bytes, for
    /// [`Notification::decode`](crate::message::Notification::decode).
    ///
    /// Between two calls the reader keeps what it has to tell.
    ///
    /// # Errors
    /// [`Error::Timeout`] where a timeout was given; a later call loses nothing by it. [`Error::Cancelled`] from
    /// [`WatchStopper::stop`] on, [`Error::Gone`] once the reader is unplugged. After [`Error::Stall`] the pipe's
    /// halt is ended already; after a second one, or [`Error::Fault`], poll instead.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<&[u8], Error> {
        if !self.endpoint.is_pending() {
            let size = Queue::max_packet_size(&self.endpoint).max(1);
            let mut buffer = self.buffer.take().unwrap_or_else(|| Buffer::new(size));
            buffer.clear();
            buffer.set_requested_len(size.min(buffer.capacity()));
            Queue::submit(&mut self.endpoint, buffer);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let endpoint = &mut self.endpoint;
        let completion = self.waiter.wait(deadline, |context| endpoint.poll(context))?;
        let buffer = self.buffer.insert(completion.buffer);
        end(endpoint, completion.status)?;
        Ok(buffer)
    }
}

/// What a transfer's end means. A halt is ended.
fn end(endpoint: &mut impl Queue, status: Result<(), TransferError>) -> Result<(), Error> {
    match status {
        Err(TransferError::Stall) => {
            endpoint.clear_halt()?;
            Err(Error::Stall)
        }
        status => status.map_err(|error| judge(endpoint, error)),
    }
}

impl Drop for UsbWatch {
    fn drop(&mut self) {
        if self.endpoint.is_pending() {
            self.endpoint.cancel();
            let endpoint = &mut self.endpoint;
            let limit = Instant::now() + super::bulk::RECLAIM_LIMIT;
            self.waiter.wait_firmly(limit, |context| endpoint.poll(context));
        }
    }
}

/// Ends a [`UsbWatch`] from another thread.
#[derive(Debug, Clone)]
pub struct WatchStopper {
    signal: Arc<Signal>,
}

impl WatchStopper {
    /// Ends the wait that goes on and every later one with [`Error::Cancelled`].
    pub fn stop(&self) {
        self.signal.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::super::bulk::tests::Fake;
    use super::*;

    #[test]
    fn a_fault_of_a_reader_that_goes_is_its_removal() {
        let (mut there, mut going) = (Fake::default(), Fake::going());
        for (status, stays, goes) in [
            (TransferError::Fault, Error::Fault, Error::Gone),
            (TransferError::Unknown(5), Error::Fault, Error::Gone),
            (TransferError::Disconnected, Error::Gone, Error::Gone),
            (TransferError::Stall, Error::Stall, Error::Stall),
        ] {
            assert_eq!(end(&mut there, Err(status)), Err(stays));
            assert_eq!(end(&mut going, Err(status)), Err(goes));
        }
        assert_eq!(end(&mut going, Ok(())), Ok(()));
    }

    #[test]
    fn a_halt_that_cannot_be_ended_says_why() {
        for error in [Error::Gone, Error::Fault] {
            let mut endpoint = Fake::halted(error);
            assert_eq!(end(&mut endpoint, Err(TransferError::Stall)), Err(error));
        }
    }
}
