//! A pair of bulk pipes: who waits for which transfer, and what becomes of data that come too late.

use super::signal::{Interruption, Waiter};
use crate::transport::Error;
use nusb::transfer::{Buffer, Completion, TransferError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use std::vec::Vec;

/// How long a cancelled transfer may take to come back. The system gives it back at once unless the host
/// controller hangs.
pub(super) const RECLAIM_LIMIT: Duration = Duration::from_secs(2);

/// After this long without an answer, [`Bulk::receive`] looks whether the command went out at all.
const GLANCE: Duration = Duration::from_millis(50);

/// The longest transfer in bytes: more than any message has.
const MAX_TRANSFER: usize = 1 << 20;

/// One endpoint's queue of transfers.
pub(super) trait Queue {
    fn submit(&mut self, buffer: Buffer);
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Completion>;
    fn cancel(&mut self);
    fn is_pending(&self) -> bool;
    fn clear_halt(&mut self) -> Result<(), Error>;
    fn max_packet_size(&self) -> usize;
    /// Whether the device is gone, or goes within this time.
    fn is_gone(&self, within: Duration) -> bool;
}

/// A pulled device fails on the bus before the system knows that it is gone: a hub tells that at its next poll.
const REMOVAL_LIMIT: Duration = Duration::from_millis(300);

/// What a transfer's failure means. A fault of the bus, or a cancellation that is not ours, is held back until the
/// system has had the time to say that the device is gone.
pub(super) fn judge(queue: &impl Queue, error: TransferError) -> Error {
    match failure(error) {
        Error::Fault if queue.is_gone(REMOVAL_LIMIT) => Error::Gone,
        error => error,
    }
}

/// One pipe with its buffer, which is out while a transfer goes on.
struct Pipe<Q> {
    queue: Q,
    buffer: Option<Buffer>,
}

impl<Q: Queue> Pipe<Q> {
    fn new(queue: Q) -> Pipe<Q> {
        Pipe { queue, buffer: None }
    }

    /// The buffer, emptied, or a larger one.
    fn take_buffer(&mut self, size: usize) -> Buffer {
        match self.buffer.take() {
            Some(mut buffer) if buffer.capacity() >= size => {
                buffer.clear();
                buffer
            }
            _ => Buffer::new(size),
        }
    }

    /// Cancels what goes on and waits for it to come back; `None` if nothing went on.
    fn reclaim(&mut self, waiter: &Waiter) -> Result<Option<Completion>, Error> {
        if !self.queue.is_pending() {
            return Ok(None);
        }
        self.queue.cancel();
        let limit = Instant::now() + RECLAIM_LIMIT;
        match waiter.wait_firmly(limit, |context| self.queue.poll(context)) {
            Some(completion) => Ok(Some(completion)),
            None => Err(Error::Fault),
        }
    }
}

/// A pair of bulk pipes.
pub(super) struct Bulk<O, I> {
    out: Pipe<O>,
    input: Pipe<I>,
    /// When the command that is on its way must have gone out.
    out_deadline: Option<Instant>,
    /// Why the last command did not go out, where that is known only after its answer.
    failure: Option<Error>,
    /// Data that came while their wait was being cancelled.
    carried: Vec<u8>,
}

impl<O: Queue, I: Queue> Bulk<O, I> {
    pub(super) fn new(out: O, input: I) -> Bulk<O, I> {
        Bulk {
            out: Pipe::new(out),
            input: Pipe::new(input),
            out_deadline: None,
            failure: None,
            carried: Vec::new(),
        }
    }

    /// Hands `message` to the system. That it went out shows in the answer; only a failure that is there at
    /// once is reported at once, so that a thread need not sleep for the command too.
    pub(super) fn send(&mut self, message: &[u8], timeout: Duration, waiter: &Waiter) -> Result<(), Error> {
        if message.len() > MAX_TRANSFER {
            return Err(Error::Fault);
        }
        self.failure = None;
        match self.finish_out(waiter) {
            // What became of the command before is no matter of this one.
            Ok(()) | Err(Error::Timeout | Error::Stall) => (),
            Err(error) => return Err(error),
        }
        self.submit_out(message, timeout);
        match waiter.glance(|context| self.out.queue.poll(context)) {
            Some(completion) => self.end_out(completion),
            None => Ok(()),
        }
    }

    fn submit_out(&mut self, message: &[u8], timeout: Duration) {
        let mut buffer = self.out.take_buffer(message.len());
        buffer.extend_from_slice(message);
        self.out_deadline = Instant::now().checked_add(timeout);
        self.out.queue.submit(buffer);
    }

    fn end_out(&mut self, completion: Completion) -> Result<(), Error> {
        self.out.buffer = Some(completion.buffer);
        completion.status.map_err(|error| judge(&self.out.queue, error))
    }

    /// Waits for the command that is on its way.
    fn finish_out(&mut self, waiter: &Waiter) -> Result<(), Error> {
        if !self.out.queue.is_pending() {
            return Ok(());
        }
        match waiter.wait(self.out_deadline, |context| self.out.queue.poll(context)) {
            Ok(completion) => self.end_out(completion),
            Err(interruption) => {
                self.abandon_out(waiter)?;
                Err(interruption.into())
            }
        }
    }

    fn abandon_out(&mut self, waiter: &Waiter) -> Result<(), Error> {
        if let Some(completion) = self.out.reclaim(waiter)? {
            self.out.buffer = Some(completion.buffer);
        }
        Ok(())
    }

    /// Receives one transfer. What `into` has no room for is dropped. Data that came by the deadline count,
    /// also where the end of the transfer did not.
    pub(super) fn receive(
        &mut self,
        into: &mut [u8],
        timeout: Duration,
        waiter: &Waiter,
    ) -> Result<usize, Error> {
        self.abandon_input(waiter)?;
        if !self.carried.is_empty() {
            let length = copy(&self.carried, into);
            self.carried.clear();
            return Ok(length);
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let packet = self.input.queue.max_packet_size().max(1);
        let size = into.len().min(MAX_TRANSFER).div_ceil(packet).max(1) * packet;
        let mut buffer = self.input.take_buffer(size);
        buffer.set_requested_len(size);
        self.input.queue.submit(buffer);

        match self.wait_for_input(timeout, waiter) {
            Ok(completion) => {
                if self.out.queue.is_pending() {
                    if let Some(completion) = waiter.glance(|context| self.out.queue.poll(context)) {
                        self.failure = self.end_out(completion).err();
                    }
                }
                let length = copy(&completion.buffer, into);
                self.input.buffer = Some(completion.buffer);
                let status = completion.status.map(|()| length);
                status.map_err(|error| judge(&self.input.queue, error))
            }
            Err(error) => {
                self.abandon_input(waiter)?;
                self.abandon_out(waiter)?;
                if error == Error::Timeout && !self.carried.is_empty() {
                    let length = copy(&self.carried, into);
                    self.carried.clear();
                    return Ok(length);
                }
                Err(error)
            }
        }
    }

    /// Cancels the wait for an answer. Data that came before it was cancelled are kept.
    fn abandon_input(&mut self, waiter: &Waiter) -> Result<(), Error> {
        if let Some(late) = self.input.reclaim(waiter)? {
            self.carried.extend_from_slice(&late.buffer);
            self.input.buffer = Some(late.buffer);
            match late.status {
                Ok(()) | Err(TransferError::Cancelled) => (),
                Err(error) => return Err(judge(&self.input.queue, error)),
            }
        }
        Ok(())
    }

    /// Waits for the answer and, from [`GLANCE`] on, for a failure of the command too.
    fn wait_for_input(&mut self, timeout: Duration, waiter: &Waiter) -> Result<Completion, Error> {
        let now = Instant::now();
        let deadline = now.checked_add(timeout);
        if self.out.queue.is_pending() {
            let glance = Some(now + GLANCE);
            let first = earlier(deadline, glance);
            match waiter.wait(first, |context| self.input.queue.poll(context)) {
                Ok(completion) => return Ok(completion),
                Err(Interruption::Timeout) if first == glance => (),
                Err(interruption) => return Err(interruption.into()),
            }
        }
        if self.out.queue.is_pending() {
            let (out, input) = (&mut self.out.queue, &mut self.input.queue);
            let first = waiter.wait(earlier(deadline, self.out_deadline), |context| {
                match input.poll(context) {
                    Poll::Ready(answer) => Poll::Ready(Ok(answer)),
                    Poll::Pending => out.poll(context).map(Err),
                }
            })?;
            match first {
                Ok(answer) => return Ok(answer),
                Err(command) => self.end_out(command)?,
            }
        }
        Ok(waiter.wait(deadline, |context| self.input.queue.poll(context))?)
    }

    /// Ends everything that goes on, and forgets what came.
    pub(super) fn clear(&mut self, waiter: &Waiter) -> Result<(), Error> {
        self.failure = None;
        self.abandon_out(waiter)?;
        let result = self.abandon_input(waiter);
        self.carried.clear();
        result
    }

    /// The same, and ends the halt of both pipes.
    pub(super) fn clear_halt(&mut self, waiter: &Waiter) -> Result<(), Error> {
        let cleared = self.clear(waiter);
        let out = self.out.queue.clear_halt();
        let input = self.input.queue.clear_halt();
        cleared.and(out).and(input)
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

pub(super) fn copy(from: &[u8], into: &mut [u8]) -> usize {
    let length = from.len().min(into.len());
    if let (Some(into), Some(from)) = (into.get_mut(..length), from.get(..length)) {
        into.copy_from_slice(from);
    }
    length
}

/// A transfer that failed by itself.
pub(super) fn failure(error: TransferError) -> Error {
    match error {
        TransferError::Stall => Error::Stall,
        TransferError::Disconnected => Error::Gone,
        _ => Error::Fault,
    }
}

impl From<Interruption> for Error {
    fn from(interruption: Interruption) -> Error {
        match interruption {
            Interruption::Timeout => Error::Timeout,
            Interruption::Cancelled => Error::Cancelled,
            Interruption::Refused => Error::Fault,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
