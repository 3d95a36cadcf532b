//! The interrupt pipe, which reports inserted and removed cards (CCID 1.1, clause 6.3).

use super::pipe::Pipe;
use super::platform::{Claim, InterruptIn};
use super::signal::Signal;
use crate::shared::{InterruptSource, Interrupter};
use crate::transport::TransportError;
use std::boxed::Box;
use std::sync::Arc;
use std::time::Instant;
use std::vec::Vec;

/// The interrupt pipe of a claimed interface.
pub(super) struct UsbWatch {
    pipe: InterruptIn,
    buffer: Vec<u8>,
    signal: Arc<Signal>,
    // Dropped after the pipe, so that no transfer is pending when the interface is released.
    _claim: Arc<Claim>,
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

    fn submit(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        // A whole packet: a device that sends more than was requested causes a babble error.
        buffer.resize(self.pipe.max_packet_size().max(1), 0);
        self.pipe.submit(buffer);
    }
}

impl InterruptSource for UsbWatch {
    fn next(
        &mut self,
        deadline: Option<Instant>,
        receive: &mut dyn FnMut(&[u8]),
    ) -> Result<(), TransportError> {
        if !self.pipe.is_pending() {
            self.submit();
        }
        // A wait that is interrupted leaves the transfer as it is, so that no message falls between two
        // calls.
        let completion = self.pipe.wait(deadline)?;
        end(&mut self.pipe, completion.result)?;
        // One message is received between two calls, so that a removal is not lost where the card is inserted
        // again at once. The reader keeps its data after that.
        self.submit();
        self.buffer = completion.buffer;
        receive(&self.buffer);
        Ok(())
    }

    fn interrupter(&self) -> Interrupter {
        let signal = self.signal.clone();
        Box::new(move || signal.cancel())
    }
}

/// The error to report for the end of a transfer. Ends a halt.
fn end(pipe: &mut impl Pipe, result: Result<(), TransportError>) -> Result<(), TransportError> {
    match result {
        Err(TransportError::Stall) => {
            pipe.clear_halt()?;
            Err(TransportError::Stall)
        }
        result => result.map_err(|error| pipe.explain(error)),
    }
}

impl Drop for UsbWatch {
    fn drop(&mut self) {
        // It fails only if the host controller hangs.
        _ = self.pipe.reclaim();
    }
}

#[cfg(test)]
mod tests {
    use super::super::bulk::tests::Fake;
    use super::*;

    #[test]
    fn a_fault_of_a_reader_that_is_being_removed_is_its_removal() {
        let (mut there, mut going) = (Fake::default(), Fake::going());
        for (result, stays, goes) in [
            (TransportError::Fault, TransportError::Fault, TransportError::Gone),
            (
                TransportError::Cancelled,
                TransportError::Fault,
                TransportError::Gone,
            ),
            (TransportError::Gone, TransportError::Gone, TransportError::Gone),
            (
                TransportError::Stall,
                TransportError::Stall,
                TransportError::Stall,
            ),
        ] {
            assert_eq!(end(&mut there, Err(result)), Err(stays));
            assert_eq!(end(&mut going, Err(result)), Err(goes));
        }
        assert_eq!(end(&mut going, Ok(())), Ok(()));
    }

    #[test]
    fn a_halt_that_cannot_be_ended_is_an_error_with_its_cause() {
        for error in [TransportError::Gone, TransportError::Fault] {
            let mut pipe = Fake::halted(error);
            assert_eq!(end(&mut pipe, Err(TransportError::Stall)), Err(error));
        }
    }
}
