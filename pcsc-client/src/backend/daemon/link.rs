//! The connection of a context with the daemon: requests and their answers, in order, one round trip each.
//!
//! An error ends the connection, because the rest of an old answer could be taken for the next one.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use super::stream::{Stream, StreamError};
use crate::error::{Cause, Error, Failure, Outcome};
use pcsc_wire::{
    self as wire, Body, Endian, EventBody, Header, Parsed, Progress, ReaderStateRecords, RequestCode,
    StateBatch, Version, VersionBody,
};
use zeroize::{Zeroize, Zeroizing};

/// A connection on which a context is established.
#[derive(Debug)]
pub struct Link {
    /// `None` once the connection is lost or released.
    pub stream: Option<Stream>,
    /// The byte order of the daemon's machine.
    pub endian: Endian,
    /// The version spoken.
    pub version: Version,
    /// The version in the daemon's answers; newer than the one spoken if the daemon accepts older clients.
    pub answered: Version,
    /// The daemon's number for the context.
    pub context: u32,
    /// How many states the daemon sends, up to 4.5, once it is known.
    pub slots: Option<usize>,
    /// How long the daemon may take for an answer that needs no card.
    pub limit: Duration,
}

/// When to stop waiting for an answer, and the error that follows.
#[derive(Debug, Clone, Copy)]
pub enum Deadline {
    /// Never: the daemon itself waits for a card or for another client.
    Never,
    /// The context's limit for answers that need no card. The connection has failed then.
    OfContext(Instant),
    /// The caller's. The call has timed out.
    OfCaller(Instant),
}

impl Deadline {
    fn instant(self) -> Option<Instant> {
        match self {
            Deadline::Never => None,
            Deadline::OfContext(instant) | Deadline::OfCaller(instant) => Some(instant),
        }
    }
}

impl From<Option<Instant>> for Deadline {
    /// A caller's deadline, if there is one.
    fn from(deadline: Option<Instant>) -> Deadline {
        deadline.map_or(Deadline::Never, Deadline::OfCaller)
    }
}

/// A request, and what follows the body of its answer.
pub struct Request<'a, B> {
    pub command: RequestCode,
    pub body: B,
    /// What follows the body.
    pub data: &'a [u8],
    /// Room for what follows the body of the answer.
    pub answer: &'a mut [u8],
    /// How many bytes follow the body of the answer.
    pub answer_length: fn(&B) -> usize,
}

/// Data up to this size are copied behind the request, which is cheaper than a gathered write.
const COPIED: usize = 300;
/// The longest request, and such data.
const BUFFER_SIZE: usize = Header::SIZE + wire::AttributeBody::SIZE + COPIED;

impl Link {
    /// The deadline of an answer that needs no card.
    pub fn limit(&self) -> Deadline {
        Deadline::OfContext(Instant::now() + self.limit)
    }

    /// A request and its answer.
    pub fn exchange<B: Body>(&mut self, command: RequestCode, body: B, deadline: Deadline) -> Outcome<B> {
        let request = Request {
            command,
            body,
            data: &[],
            answer: &mut [],
            answer_length: |_| 0,
        };
        self.exchange_payload(request, deadline)
    }

    /// A request and its answer, with bytes behind either. The answer's go to the front of the room for them.
    pub fn exchange_payload<B: Body>(&mut self, request: Request<'_, B>, deadline: Deadline) -> Outcome<B> {
        let Request {
            command,
            body,
            data,
            answer,
            answer_length,
        } = request;
        let mut buffer = [0; BUFFER_SIZE];
        let length = body.emit_request(command, self.endian, &mut buffer);
        // The part that is not generic over the body, so that it is compiled once.
        let got = self.exchange_bytes(&mut buffer, length, data, answer, deadline)?;
        let reply = B::parse(&buffer, self.endian).ok_or(Error::InternalError)?;
        self.receive_rest(answer, got, answer_length(&reply), deadline)?;
        Ok(reply)
    }

    /// Sets an attribute, and returns the daemon's return code. The value may be a key: unlike
    /// [`Link::exchange`], which moves the body through several frames of the stack, this leaves no copy.
    pub fn set_attribute(&mut self, card: i32, id: u32, value: &[u8]) -> Outcome<u32> {
        const COMMAND: RequestCode = RequestCode::SetAttrib;
        let mut body = wire::AttributeBody {
            card,
            id,
            value: [0; wire::ATTRIBUTE_SIZE],
            length: value.len() as u32,
            rv: 0,
        };
        let room = body
            .value
            .get_mut(..value.len())
            .ok_or(Error::InsufficientBuffer)?;
        room.copy_from_slice(value);
        let mut buffer = Zeroizing::new([0; BUFFER_SIZE]);
        let length = body.emit_request(COMMAND, self.endian, &mut *buffer);
        body.value.zeroize();
        self.exchange_bytes(&mut buffer, length, &[], &mut [], Deadline::Never)?;
        // The daemon sends the value back. The return code is the last field.
        buffer[..wire::AttributeBody::SIZE - size_of::<u32>()].zeroize();
        let reply = wire::AttributeBody::parse(&*buffer, self.endian).ok_or(Error::InternalError)?;
        Ok(reply.rv)
    }

    /// Sends the request of `length` bytes that is in the buffer, and `data`. Receives the body of the answer
    /// to the front of the buffer, and what comes together with it to `answer`; returns the length of that.
    fn exchange_bytes(
        &mut self,
        bytes: &mut [u8; BUFFER_SIZE],
        length: usize,
        mut data: &[u8],
        answer: &mut [u8],
        deadline: Deadline,
    ) -> Outcome<usize> {
        let mut end = length;
        if data.len() <= COPIED {
            end += data.len();
            bytes[length..end].copy_from_slice(data);
            data = &[];
        }
        let mut parts = [IoSlice::new(&bytes[..end]), IoSlice::new(data)];
        let count = 2 - usize::from(data.is_empty());
        let sent = self.send(&mut parts[..count], deadline);
        // It may be a PIN.
        bytes[length..end].zeroize();
        sent?;
        self.receive(&mut bytes[..length - Header::SIZE], answer, deadline)
    }

    /// Receives the rest of an answer of `length` bytes of which `got` are there.
    fn receive_rest(
        &mut self,
        answer: &mut [u8],
        got: usize,
        length: usize,
        deadline: Deadline,
    ) -> Outcome<()> {
        // The daemon gives the length. A longer one would not fit, a shorter one leaves bytes that would be
        // taken for the next answer.
        if length > answer.len() || got > length {
            return Err(self.out_of_step("a payload of the wrong length"));
        }
        if got < length {
            // pcscd sends an answer's body and what follows it one after the other.
            if let Some(stream) = &self.stream {
                stream.yield_to_sender();
            }
            self.receive(&mut answer[got..length], &mut [], deadline)?;
        }
        Ok(())
    }

    /// A batch that asks for the reader states.
    pub fn batch(&self) -> StateBatch {
        StateBatch {
            endian: self.endian,
            version: self.version,
            answered: self.answered,
            slots: self.slots,
            wait: false,
            events: false,
        }
    }

    /// Sends the batch, and `more` behind it, in one write, and reads until the states are there. They stay
    /// pending.
    pub fn states(&mut self, batch: &StateBatch, more: &[u8]) -> Outcome<Parsed> {
        const MORE: usize = 32;
        let limit = self.limit();
        let mut request = [0; StateBatch::MAX_SIZE + MORE];
        let batched = batch.emit(&mut request);
        let length = batched + more.len();
        request[batched..length].copy_from_slice(more);
        self.send(&mut [IoSlice::new(&request[..length])], limit)?;

        let skipped = self.stream()?.skip_uncertain(limit.instant());
        self.received(skipped, limit)?;
        loop {
            match batch.parse(self.pending()) {
                Progress::More(missing) => {
                    let stream = self.stream()?;
                    let filled = stream.fill(stream.pending().len() + missing, limit.instant());
                    self.received(filled, limit)?;
                }
                Progress::Done(parsed) => {
                    if !self.version.sends_table_size() {
                        // Learned from the first answer: distributions have patched the number. The next
                        // batch need not find it out again.
                        self.slots = Some(parsed.states.len() / wire::READER_STATE_SIZE);
                    }
                    return Ok(parsed);
                }
                Progress::OutOfStep(why) => return Err(self.out_of_step(why)),
            }
        }
    }

    /// The states of a batch, which are pending.
    pub fn reader_states(&self, parsed: &Parsed) -> ReaderStateRecords<'_> {
        ReaderStateRecords::new(&self.pending()[parsed.states.clone()], self.endian)
    }

    /// The bytes received and not yet consumed.
    fn pending(&self) -> &[u8] {
        self.stream.as_ref().map_or(&[], Stream::pending)
    }

    /// Uses up the first `count` pending bytes.
    pub fn consume(&mut self, count: usize) {
        if let Some(stream) = &mut self.stream {
            stream.consume(count);
        }
    }

    /// Reads the event that ends a registration.
    pub fn event(&mut self) -> Outcome<EventBody> {
        let mut bytes = [0; EventBody::SIZE];
        self.receive(&mut bytes, &mut [], self.limit())?;
        EventBody::parse(&bytes, self.endian).ok_or_else(|| Error::InternalError.into())
    }

    /// Ends a registration. If the connection fails here, the next call shows it.
    ///
    /// This needs no round trip: the next read skips the answer to STOP_WAITING. From protocol 4.4 on this is
    /// eight bytes: its own answer, or the event that crossed it. Daemons up to pcsc-lite 1.8.18 answer
    /// STOP_WAITING even where the event has crossed it, so up to 4.3 the answer to a VERSION request marks
    /// the end.
    pub fn stop_waiting(&mut self) {
        const COMMAND: RequestCode = RequestCode::StopWaitingReaderStateChange;
        let mut request = [0; 2 * Header::SIZE + EventBody::SIZE + VersionBody::SIZE];
        let mut length = Header::SIZE;
        let mut mark = None;
        if self.version.waits_with_body() {
            length = EventBody { timeout: 0, rv: 0 }.emit_request(COMMAND, self.endian, &mut request);
            let version = VersionBody::new(self.version);
            length += version.emit_request(RequestCode::Version, self.endian, &mut request[length..]);
            mark = Some(VersionBody::new(self.answered).to_bytes(self.endian));
        } else {
            request[..length].copy_from_slice(&Header::new(COMMAND, 0).to_bytes(self.endian));
        }
        let sent = self.send(&mut [IoSlice::new(&request[..length])], self.limit());
        if let (Ok(()), Some(stream)) = (sent, &mut self.stream) {
            match mark {
                Some(mark) => stream.skip_up_to(EventBody::SIZE, mark),
                None => stream.skip_next(EventBody::SIZE),
            }
        }
    }

    /// The stream, unless it is lost.
    pub fn stream(&mut self) -> Outcome<&mut Stream> {
        self.stream.as_mut().ok_or_else(lost)
    }

    fn send(&mut self, parts: &mut [IoSlice<'_>], deadline: Deadline) -> Outcome<()> {
        let limit = self.limit;
        // Also a call that may wait for a card forever does not wait forever for the daemon to read its
        // request.
        let until = || deadline.instant().or_else(|| Instant::now().checked_add(limit));
        // A failed write leaves the daemon in the middle of a request.
        let sent = self.stream()?.send(parts, until);
        sent.map_err(|error| self.fail(error, deadline, Error::NoService))
    }

    /// Fills `head`, and `tail` as far as what arrives together with it goes. Returns the length of that.
    pub fn receive(&mut self, head: &mut [u8], tail: &mut [u8], deadline: Deadline) -> Outcome<usize> {
        let received = self.stream()?.receive(head, tail, deadline.instant());
        self.received(received, deadline)
    }

    /// The outcome of a read. A failed one, or one that the caller has given up, ends the connection.
    pub fn received<T>(&mut self, received: Result<T, StreamError>, deadline: Deadline) -> Outcome<T> {
        received.map_err(|error| self.fail(error, deadline, Error::CommError))
    }

    fn fail(&mut self, source: StreamError, deadline: Deadline, if_closed: Error) -> Failure {
        self.stream = None;
        let error = match (&source, deadline) {
            (StreamError::Closed, _) => if_closed,
            (StreamError::TimedOut, Deadline::OfCaller(_)) => Error::Timeout,
            (StreamError::System(system), _) if system.kind() == io::ErrorKind::OutOfMemory => {
                Error::NoMemory
            }
            _ => Error::CommError,
        };
        Failure::because(error, source.into())
    }

    fn out_of_step(&mut self, why: &'static str) -> Failure {
        self.stream = None;
        Failure::because(Error::CommError, Cause::OutOfStep(why))
    }
}

impl From<StreamError> for Cause {
    fn from(error: StreamError) -> Cause {
        match error {
            StreamError::Closed => Cause::Closed,
            StreamError::TimedOut => Cause::Silent,
            StreamError::OutOfStep => Cause::OutOfStep("unexpected bytes"),
            StreamError::System(source) => Cause::Broken(source),
        }
    }
}

/// The failure of a call whose connection was lost before.
pub fn lost() -> Failure {
    Failure::quiet(Error::NoService, Cause::Lost)
}

#[cfg(test)]
mod tests;
