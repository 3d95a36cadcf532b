//! The interrupt pipe: cards that come and go (CCID 1.1, clause 6.3).

use super::pipe::Pipe;
use super::platform::{Claim, InterruptIn};
use super::signal::Signal;
use crate::transport::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec::Vec;

/// How often to poll a reader that does not notify: as often as pcscd does.
pub const POLL_INTERVAL: Duration = Duration::from_millis(400);

/// How the presence of cards is learnt.
#[derive(Debug)]
pub enum Presence {
    /// The reader has an interrupt endpoint.
    Notified(UsbWatch),
    /// The reader has none: ask for the slot's status at this interval.
    Polled(Duration),
}

/// The interrupt pipe of a claimed interface. It goes to a thread of its own, which sleeps in
/// [`UsbWatch::wait`].
pub struct UsbWatch {
    pipe: InterruptIn,
    buffer: Vec<u8>,
    signal: Arc<Signal>,
    // After the pipe, so that nothing goes on when the interface is released.
    _claim: Arc<Claim>,
}

impl fmt::Debug for UsbWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsbWatch").finish_non_exhaustive()
    }
}

impl UsbWatch {
    /// `signal` is the one that `pipe` waits on.
    pub(super) fn new(claim: Arc<Claim>, pipe: InterruptIn, signal: Arc<Signal>) -> UsbWatch {
        UsbWatch {
            pipe,
            buffer: Vec::new(),
            signal,
            _claim: claim,
        }
    }

    /// A handle that ends this watch from any thread.
    pub fn stopper(&self) -> WatchStopper {
        WatchStopper {
            signal: self.signal.clone(),
        }
    }

    /// Sleeps until the reader sends something on the interrupt pipe and gives the bytes, for
    /// [`Notification::decode`](crate::message::Notification::decode).
    ///
    /// Between two calls the reader keeps what it has to send.
    ///
    /// # Errors
    /// [`Error::Timeout`] where a timeout was given; a later call loses nothing by it. [`Error::Cancelled`]
    /// from [`WatchStopper::stop`] on, [`Error::Gone`] once the reader is unplugged. After [`Error::Stall`]
    /// the pipe's halt is ended already; after a second one, or [`Error::Fault`], poll instead.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<&[u8], Error> {
        if !self.pipe.is_pending() {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(self.pipe.max_packet_size().max(1), 0);
            self.pipe.submit(buffer);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let completion = self.pipe.wait(deadline)?;
        self.buffer = completion.buffer;
        end(&mut self.pipe, completion.result)?;
        Ok(&self.buffer)
    }
}

/// What to report for the end of a transfer. A halt is ended.
fn end(pipe: &mut impl Pipe, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::Stall) => {
            pipe.clear_halt()?;
            Err(Error::Stall)
        }
        result => result.map_err(|error| pipe.explain(error)),
    }
}

impl Drop for UsbWatch {
    fn drop(&mut self) {
        // It fails only where the host controller hangs.
        _ = self.pipe.reclaim();
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
        for (result, stays, goes) in [
            (Error::Fault, Error::Fault, Error::Gone),
            (Error::Cancelled, Error::Fault, Error::Gone),
            (Error::Gone, Error::Gone, Error::Gone),
            (Error::Stall, Error::Stall, Error::Stall),
        ] {
            assert_eq!(end(&mut there, Err(result)), Err(stays));
            assert_eq!(end(&mut going, Err(result)), Err(goes));
        }
        assert_eq!(end(&mut going, Ok(())), Ok(()));
    }

    #[test]
    fn a_halt_that_cannot_be_ended_says_why() {
        for error in [Error::Gone, Error::Fault] {
            let mut pipe = Fake::halted(error);
            assert_eq!(end(&mut pipe, Err(Error::Stall)), Err(error));
        }
    }
}
