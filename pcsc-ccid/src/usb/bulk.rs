//! The pair of bulk pipes: when to wait for which transfer, and how late data are kept.

use super::pipe::{Completion, Pipe};
use crate::transport::{copy, BulkPipe, TransportError};
use std::time::{Duration, Instant};
use std::vec::Vec;
use zeroize::Zeroize;

/// After this time without an answer, [`Bulk::receive`] checks whether the command has been sent.
const SEND_CHECK: Duration = Duration::from_millis(50);

/// The longest transfer in bytes: more than any message has.
const MAX_TRANSFER: usize = 1 << 20;

/// The pair of bulk pipes.
///
/// The command is submitted and not waited for, so that the thread sleeps once for both transfers of an
/// exchange: an answer implies that the command was sent. The result of the command's transfer is checked
/// only if no answer comes for a while.
pub(super) struct Bulk<O, I> {
    out: O,
    input: I,
    /// For the next transfers. The system owns a buffer during its transfer.
    out_buffer: Vec<u8>,
    input_buffer: Vec<u8>,
    /// When the command's transfer must have ended.
    out_deadline: Option<Instant>,
    /// Why the last command was not sent, if that became known only after the answer.
    failure: Option<TransportError>,
    /// Data that arrived while their transfer was being cancelled.
    carried: Vec<u8>,
}

impl<O: Pipe, I: Pipe> Bulk<O, I> {
    pub(super) fn new(out: O, input: I) -> Bulk<O, I> {
        Bulk {
            out,
            input,
            out_buffer: Vec::new(),
            input_buffer: Vec::new(),
            out_deadline: None,
            failure: None,
            carried: Vec::new(),
        }
    }

    /// Submits `message`, which must be sent within `timeout`. Returns an error that occurs at once; a later
    /// one is returned by [`Bulk::receive`].
    pub(super) fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        if message.len() > MAX_TRANSFER {
            return Err(TransportError::Fault);
        }
        self.failure = None;
        // One transfer at a time. Usually it has ended long ago, since the answer has come.
        match self.finish_out() {
            // The result of the previous command does not concern this one.
            Ok(()) | Err(TransportError::Timeout | TransportError::Stall) => (),
            Err(error) => return Err(error),
        }
        let mut buffer = std::mem::take(&mut self.out_buffer);
        buffer.clear();
        buffer.extend_from_slice(message);
        // The deadline outlives this call: the wait for the answer checks it.
        self.out_deadline = Instant::now().checked_add(timeout);
        self.out.submit(buffer);
        // What has failed at once, as with a device that is gone, is reported at once. The rest is waited for
        // with the answer.
        match self.out.try_complete() {
            Some(completion) => self.end_out(completion),
            None => Ok(()),
        }
    }

    fn end_out(&mut self, completion: Completion) -> Result<(), TransportError> {
        self.keep_out(completion.buffer);
        let result = completion.result;
        result.map_err(|error| self.out.explain(error))
    }

    /// Waits for the end of the command's transfer.
    pub(super) fn finish_out(&mut self) -> Result<(), TransportError> {
        if !self.out.is_pending() {
            return Ok(());
        }
        match self.out.wait(self.out_deadline) {
            Ok(completion) => self.end_out(completion),
            Err(interruption) => {
                // Even if the transfer turns out to have succeeded in the last moment: its time was over.
                self.abandon_out()?;
                Err(interruption)
            }
        }
    }

    fn abandon_out(&mut self) -> Result<(), TransportError> {
        if let Some(completion) = self.out.reclaim()? {
            self.keep_out(completion.buffer);
        }
        Ok(())
    }

    /// Keeps the buffer for the next command. Wipes the last command, which may have held a PIN.
    fn keep_out(&mut self, mut buffer: Vec<u8>) {
        buffer.as_mut_slice().zeroize();
        self.out_buffer = buffer;
    }

    /// Receives one transfer. Data beyond the size of `into` are dropped. Data that arrived by the deadline
    /// are returned even if the transfer had not ended by then.
    pub(super) fn receive(&mut self, into: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        self.abandon_input()?;
        if let Some(length) = self.take_carried(into) {
            return Ok(length);
        }
        // Only now: the answer that had come before the failure was known has been returned already.
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        // Whole packets: a device that sends more than was requested causes a babble error.
        let packet = self.input.max_packet_size().max(1);
        let size = into.len().min(MAX_TRANSFER).div_ceil(packet).max(1) * packet;
        let mut buffer = std::mem::take(&mut self.input_buffer);
        buffer.resize(size, 0);
        self.input.submit(buffer);

        match self.wait_for_input(timeout) {
            Ok(completion) => {
                if let Some(completion) = self.out.try_complete() {
                    self.failure = self.end_out(completion).err();
                }
                let length = copy(&completion.buffer, into);
                self.input_buffer = completion.buffer;
                let result = completion.result.map(|()| length);
                result.map_err(|error| self.input.explain(error))
            }
            Err(error) => {
                // The buffers come back only when the system has ended the transfers.
                self.abandon_input()?;
                self.abandon_out()?;
                // After a cancellation, late data are for the next call.
                let late = (error == TransportError::Timeout)
                    .then(|| self.take_carried(into))
                    .flatten();
                late.ok_or(error)
            }
        }
    }

    /// Cancels the wait for an answer. Data that came before it was cancelled are kept.
    fn abandon_input(&mut self) -> Result<(), TransportError> {
        if let Some(late) = self.input.reclaim()? {
            self.carried.extend_from_slice(&late.buffer);
            self.input_buffer = late.buffer;
            match late.result {
                Ok(()) | Err(TransportError::Cancelled) => (),
                Err(error) => return Err(self.input.explain(error)),
            }
        }
        Ok(())
    }

    fn take_carried(&mut self, into: &mut [u8]) -> Option<usize> {
        if self.carried.is_empty() {
            return None;
        }
        let length = copy(&self.carried, into);
        self.carried.clear();
        Some(length)
    }

    /// Waits for the answer. A command that has not been sent after [`SEND_CHECK`] is waited for first: until
    /// then no answer to it can come.
    fn wait_for_input(&mut self, timeout: Duration) -> Result<Completion, TransportError> {
        let now = Instant::now();
        let deadline = now.checked_add(timeout);
        if self.out.is_pending() {
            // The answer implies that the command was sent, and waiting for one transfer alone saves a
            // wake-up. Only a command that is stuck needs the second look.
            let glance = Some(now + SEND_CHECK);
            let first = deadline.into_iter().chain(glance).min();
            match self.input.wait(first) {
                Ok(completion) => return Ok(completion),
                // Only the glance is over, and not the caller's time.
                Err(TransportError::Timeout) if first == glance => (),
                Err(interruption) => return Err(interruption),
            }
            let last = deadline.into_iter().chain(self.out_deadline).min();
            let command = self.out.wait(last)?;
            self.end_out(command)?;
        }
        self.input.wait(deadline)
    }

    /// Ends both transfers, and drops the data received.
    pub(super) fn clear(&mut self) -> Result<(), TransportError> {
        let out = self.clear_out();
        // `and` takes a value: the second pipe is cleared whatever has become of the first.
        out.and(self.clear_input())
    }

    fn clear_out(&mut self) -> Result<(), TransportError> {
        self.failure = None;
        self.abandon_out()
    }

    fn clear_input(&mut self) -> Result<(), TransportError> {
        let result = self.abandon_input();
        // They belong to a command that was given up.
        self.carried.clear();
        result
    }

    /// The same, and ends the halt of both pipes.
    pub(super) fn clear_halt(&mut self) -> Result<(), TransportError> {
        let out = self.clear_halt_of(BulkPipe::Out);
        out.and(self.clear_halt_of(BulkPipe::In))
    }

    /// The same with one pipe. The other one is not touched.
    pub(super) fn clear_halt_of(&mut self, pipe: BulkPipe) -> Result<(), TransportError> {
        match pipe {
            BulkPipe::Out => self.clear_out().and(self.out.clear_halt()),
            BulkPipe::In => self.clear_input().and(self.input.clear_halt()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
