//! The interface of endpoints on every system: transfers that a thread starts and waits for.

use crate::transport::TransportError;
use std::time::{Duration, Instant};
use std::vec::Vec;

/// How long a cancelled transfer may take to end. It ends at once unless the host controller hangs.
const RECLAIM_LIMIT: Duration = Duration::from_secs(2);

/// How long the system may take to report a removal. Transfers fail before that, because a hub reports it at
/// its next poll.
const REMOVAL_LIMIT: Duration = Duration::from_millis(300);

/// How a transfer ended.
#[derive(Debug)]
pub(super) struct Completion {
    /// The buffer that was submitted, for use in the next transfer. From an IN endpoint it holds the data
    /// received, and has their length.
    pub(super) buffer: Vec<u8>,
    /// [`TransportError::Cancelled`] if it was cancelled, by this driver or by the system; never
    /// [`TransportError::Timeout`].
    pub(super) result: Result<(), TransportError>,
}

/// One endpoint, with at most one transfer at a time.
pub(super) trait Pipe {
    /// Starts a transfer: of these bytes, or, from an IN endpoint, of up to as many bytes.
    fn submit(&mut self, buffer: Vec<u8>);

    /// Whether a transfer was submitted whose completion was not taken yet.
    fn is_pending(&self) -> bool;

    /// Takes the completion if the transfer has ended. Does not block.
    fn try_complete(&mut self) -> Option<Completion>;

    /// Blocks until the transfer has ended. A completion takes precedence over the deadline
    /// ([`TransportError::Timeout`]) and over a cancellation ([`TransportError::Cancelled`]).
    /// [`TransportError::Fault`] if the system cannot wait.
    fn complete(
        &mut self,
        deadline: Option<Instant>,
        is_cancellable: bool,
    ) -> Result<Completion, TransportError>;

    /// Cancels the transfer. Its completion still has to be taken.
    fn cancel(&mut self);

    /// Ends the endpoint's halt (USB 2.0, clause 9.4.5).
    fn clear_halt(&mut self) -> Result<(), TransportError>;

    fn max_packet_size(&self) -> usize;

    /// Whether the device is gone, or is removed within this time.
    fn is_gone(&self, within: Duration) -> bool;

    /// Blocks until the transfer has ended, the deadline has passed, or the wait is cancelled.
    fn wait(&mut self, deadline: Option<Instant>) -> Result<Completion, TransportError> {
        self.complete(deadline, true)
    }

    /// Cancels the transfer and waits for its end, which may still be a success; `None` if there is no
    /// transfer.
    fn reclaim(&mut self) -> Result<Option<Completion>, TransportError> {
        if !self.is_pending() {
            return Ok(None);
        }
        self.cancel();
        let limit = Instant::now() + RECLAIM_LIMIT;
        self.complete(Some(limit), false)
            .map(Some)
            // The system still owns the buffer. The pipe is of no more use, and what it holds is not freed.
            .map_err(|_| TransportError::Fault)
    }

    /// The error to report for a transfer that was not cancelled by this driver. After a fault of the bus, or
    /// a cancellation by the system, waits until the system has had the time to report a removal.
    fn explain(&self, error: TransportError) -> TransportError {
        match error {
            TransportError::Fault | TransportError::Cancelled if self.is_gone(REMOVAL_LIMIT) => {
                TransportError::Gone
            }
            TransportError::Cancelled => TransportError::Fault,
            error => error,
        }
    }
}
