//! One request, one answer, on the connection of a context.

use std::io::IoSlice;
use std::time::Instant;

use super::session::Session;
use super::stream::{Stream, Trouble};
use crate::error::{Cause, Error, Failure, Outcome};
use pcsc_wire::{self as wire, Body, Command, Header, Parsed, Progress, StateBatch};

/// What the thread whose turn it is works with.
#[derive(Debug)]
pub struct Link {
    /// `None` once the connection is lost or released.
    pub stream: Option<Stream>,
    /// How many states the daemon sends, up to 4.5.
    pub slots: Option<usize>,
    /// Room for requests of any length.
    pub request: Vec<u8>,
}

/// When to give up an answer, and what that means.
#[derive(Debug, Clone, Copy)]
pub enum Deadline {
    /// Never: the daemon waits for a card or for another client.
    Never,
    /// The context's limit for answers that need no card. The daemon is silent, and the connection has failed.
    OfContext(Instant),
    /// The caller's. The call has timed out.
    OfCaller(Instant),
}

impl Deadline {
    pub fn instant(self) -> Option<Instant> {
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

impl Link {
    pub fn pending(&self) -> &[u8] {
        self.stream.as_ref().map_or(&[], Stream::pending)
    }

    pub fn consume(&mut self, count: usize) {
        if let Some(stream) = &mut self.stream {
            stream.consume(count);
        }
    }
}

impl Session {
    /// A request and its answer, in this thread's turn.
    pub(super) fn call<B: Body>(
        &self,
        command: Command,
        request: &B,
        deadline: Option<Instant>,
    ) -> Outcome<B> {
        let mut link = self.link()?;
        self.exchange(&mut link, command, request, deadline.into())
    }

    pub(super) fn exchange<B: Body>(
        &self,
        link: &mut Link,
        command: Command,
        request: &B,
        deadline: Deadline,
    ) -> Outcome<B> {
        self.exchange_payload(link, command, request, &[], &mut [], deadline, |_| 0)
    }

    /// A call with bytes behind the request, and bytes behind a reply of success.
    pub(super) fn payload_call<B: Body>(
        &self,
        command: Command,
        request: &B,
        data: &[u8],
        response: &mut [u8],
        deadline: Option<Instant>,
        result: impl Fn(&B) -> (u32, u32),
    ) -> Outcome<B> {
        let mut link = self.link()?;
        self.exchange_payload(
            &mut link,
            command,
            request,
            data,
            response,
            deadline.into(),
            |reply| match result(reply) {
                (0, length) => length as usize,
                _ => 0,
            },
        )
    }

    #[allow(clippy::too_many_arguments)]
    fn exchange_payload<B: Body>(
        &self,
        link: &mut Link,
        command: Command,
        request: &B,
        data: &[u8],
        response: &mut [u8],
        deadline: Deadline,
        payload_length: impl Fn(&B) -> usize,
    ) -> Outcome<B> {
        /// A payload up to this size is copied behind the request, which is cheaper than a gathered write.
        const COPIED: usize = 300;
        const LARGEST: usize = Header::SIZE + wire::Attribute::SIZE;
        let mut buffer = [0; LARGEST + COPIED];
        let mut length = request.emit_request(command, &mut buffer);
        let mut data = data;
        if data.len() <= COPIED {
            buffer[length..length + data.len()].copy_from_slice(data);
            length += data.len();
            data = &[];
        }
        let mut parts = [IoSlice::new(&buffer[..length]), IoSlice::new(data)];
        let parts = if data.is_empty() {
            &mut parts[..1]
        } else {
            &mut parts[..]
        };
        let sent = self
            .stream(link)?
            .send(parts, || deadline.instant().or_else(|| self.limit().instant()));
        self.on_send(link, sent, deadline)?;

        let head = &mut buffer[..B::SIZE];
        let received = self.stream(link)?.receive(head, response, deadline.instant());
        let got = self.on_receive(link, received, deadline)?;
        let Some(reply) = B::parse(head) else {
            return Err(Error::InternalError.into());
        };
        let expected = payload_length(&reply);
        if expected > response.len() || got > expected {
            return Err(self.out_of_step(link, "a payload of the wrong length"));
        }
        if got < expected {
            let received =
                self.stream(link)?
                    .receive(&mut response[got..expected], &mut [], deadline.instant());
            self.on_receive(link, received, deadline)?;
        }
        Ok(reply)
    }

    pub(super) fn batch(&self, link: &Link) -> StateBatch {
        StateBatch {
            version: self.version,
            told: self.told,
            slots: link.slots,
            wait: false,
            events: false,
        }
    }

    /// Sends the batch, and `more` behind it, in one write, and reads until the states are there. They
    /// stay pending.
    pub(super) fn states(&self, link: &mut Link, batch: &StateBatch, more: &[u8]) -> Outcome<Parsed> {
        let mut request = std::mem::take(&mut link.request);
        request.clear();
        batch.emit(&mut request);
        request.extend_from_slice(more);
        let limit = self.limit();
        let deadline = limit.instant();
        let sent = self
            .stream(link)?
            .send(&mut [IoSlice::new(&request)], || deadline);
        link.request = request;
        self.on_send(link, sent, limit)?;

        let skipped = self.stream(link)?.skip_uncertain(deadline);
        self.on_receive(link, skipped, limit)?;
        let mut progress = batch.parse(link.pending());
        loop {
            match progress {
                Progress::More(missing) => {
                    let stream = self.stream(link)?;
                    let count = stream.pending().len() + missing;
                    let filled = stream.fill(count, deadline);
                    self.on_receive(link, filled, limit)?;
                    progress = batch.parse(link.pending());
                }
                Progress::Done(parsed) => {
                    if !self.version.tells_table_size() {
                        link.slots = Some(parsed.states.len() / wire::READER_STATE_SIZE);
                    }
                    return Ok(parsed);
                }
                Progress::OutOfStep(why) => return Err(self.out_of_step(link, why)),
            }
        }
    }

    pub(super) fn stream<'a>(&self, link: &'a mut Link) -> Outcome<&'a mut Stream> {
        link.stream.as_mut().ok_or_else(lost)
    }

    /// A failed write leaves the daemon in the middle of a request: the connection is over.
    pub(super) fn on_send<T>(
        &self,
        link: &mut Link,
        sent: Result<T, Trouble>,
        deadline: Deadline,
    ) -> Outcome<T> {
        sent.map_err(|trouble| fail(link, trouble, deadline, Error::NoService))
    }

    /// So does a failed read, or one that the caller gave up.
    pub(super) fn on_receive<T>(
        &self,
        link: &mut Link,
        received: Result<T, Trouble>,
        deadline: Deadline,
    ) -> Outcome<T> {
        received.map_err(|trouble| fail(link, trouble, deadline, Error::CommError))
    }

    pub(super) fn out_of_step(&self, link: &mut Link, why: &'static str) -> Failure {
        link.stream = None;
        Failure::because(Error::CommError, Cause::OutOfStep(why))
    }
}

/// Gives the connection up; `if_closed` is the error where the daemon has closed it.
fn fail(link: &mut Link, trouble: Trouble, deadline: Deadline, if_closed: Error) -> Failure {
    link.stream = None;
    let error = match (&trouble, deadline) {
        (Trouble::Closed, _) => if_closed,
        (Trouble::TimedOut, Deadline::OfCaller(_)) => Error::Timeout,
        _ => Error::CommError,
    };
    Failure::because(error, trouble.into())
}

impl From<Trouble> for Cause {
    fn from(trouble: Trouble) -> Cause {
        match trouble {
            Trouble::Closed => Cause::Closed,
            Trouble::TimedOut => Cause::Silent,
            Trouble::OutOfStep => Cause::OutOfStep("unexpected bytes"),
            Trouble::System(source) => Cause::Broken(source),
        }
    }
}

/// The connection was lost, or never was.
pub fn lost() -> Failure {
    Failure::quiet(Error::NoService, Cause::Lost)
}
