//! A context with the daemon, and its calls.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::handshake;
use super::link::{lost, Deadline, Link, Request};
use super::stream::Stream;
use super::waker::LazyWaker;
use super::watch::{DaemonReaders, Registration};
use crate::backend::bytes::AttributeValue;
use crate::backend::calls::Calls;
use crate::backend::choice::BackendKind;
use crate::backend::lifecycle::Lifecycle;
use crate::backend::status_change::{wait_for_change, Readers, Watched};
use crate::backend::values::{Connected, ConnectionStatus, Pci, SessionOptions, Transmitted};
use crate::env;
use crate::error::{Cause, Error, Failure, Outcome};
use pcsc_process::wait;
use pcsc_wire::{
    self as wire, Body, Endian, Header, ReaderStateRecord, ReaderStateRecords, RequestCode, Version,
    NAME_SIZE,
};

/// A context with the daemon. Calls of several threads are done one after another.
#[derive(Debug)]
pub struct DaemonContext {
    path: PathBuf,
    endian: Endian,
    version: Version,
    /// Whether calls wait for other connections' transactions.
    waits: bool,
    /// Whether the beginning of a transaction does.
    waits_to_begin: bool,
    lifecycle: Lifecycle,
    waker: LazyWaker,
    link: Mutex<Link>,
}

impl DaemonContext {
    /// Connects to the daemon and establishes a context.
    pub fn establish(options: &SessionOptions) -> Outcome<DaemonContext> {
        let path = options.socket.clone().or_else(env::chosen_socket);
        let path = path.unwrap_or_else(|| env::DEFAULT_SOCKET.into());
        let link = handshake::establish(&path, options)?;
        let (endian, version) = (link.endian, link.version);
        log::debug!(
            "established context {:#x} at {} with protocol {version}",
            link.context,
            path.display()
        );
        Ok(DaemonContext {
            path,
            endian,
            version,
            waits: options.waits.unwrap_or_else(env::waits_for_shared_card),
            waits_to_begin: options.waits.unwrap_or(true),
            lifecycle: Lifecycle::new(),
            waker: LazyWaker::default(),
            link: Mutex::new(link),
        })
    }
}

impl Calls for DaemonContext {
    fn release(&self) -> Outcome<()> {
        self.lifecycle.release()?;
        let mut link = match self.waker.wake() {
            true => self.lock(),
            // The thread in a wait has the lock, and keeps it until the daemon has an event or ends.
            false => self.link.try_lock().map_err(|_| lost())?,
        };
        // The program may have closed the socket. Nothing is sent to a file that has its number now.
        if !link.stream.as_ref().is_some_and(Stream::is_ours) {
            link.stream = None;
            return Err(lost());
        }
        // With a limit: a daemon that hangs must not keep a program from ending.
        let (context, limit) = (link.context, link.limit());
        let reply = link.exchange(
            RequestCode::ReleaseContext,
            wire::ReleaseBody { context, rv: 0 },
            limit,
        );
        if let Some(stream) = link.stream.take() {
            stream.shutdown();
        }
        check(reply?.rv)
    }

    fn check_alive(&self) -> Outcome<()> {
        self.lifecycle.check()?;
        // A call in progress has the lock, and reports a lost connection itself.
        if let Ok(mut link) = self.link.try_lock() {
            match &link.stream {
                None => return Err(Error::InvalidHandle.into()),
                Some(stream) if stream.is_open() => (),
                Some(_) => {
                    link.stream = None;
                    return Err(Failure::because(Error::InvalidHandle, Cause::Closed));
                }
            }
        }
        Ok(())
    }

    fn cancel(&self) -> Outcome<()> {
        self.lifecycle.cancel()?;
        self.waker.wake();
        Ok(())
    }

    fn each_reader(&self, look: &mut dyn FnMut(ReaderStateRecord<'_>)) -> Outcome<()> {
        let mut link = self.link()?;
        let batch = link.batch();
        let parsed = link.states(&batch, &[])?;
        link.reader_states(&parsed).readers().for_each(look);
        link.consume(parsed.consumed);
        Ok(())
    }

    fn connect(
        &self,
        reader: &[u8],
        share: u32,
        protocols: u32,
        deadline: Option<Instant>,
    ) -> Outcome<Connected> {
        // A name of 128 bytes or more is truncated, as in PC/SC Lite's client, and then names no reader.
        let mut name = [0; NAME_SIZE];
        let length = reader.len().min(NAME_SIZE - 1);
        name[..length].copy_from_slice(&reader[..length]);
        let mut link = self.link()?;
        let request = wire::ConnectBody {
            context: link.context,
            reader: name,
            share,
            protocols,
            card: 0,
            active: 0,
            rv: 0,
        };
        let reply = link.exchange(RequestCode::Connect, request, deadline.into())?;
        check(reply.rv).map_err(|failure| failure.with_detail(reply.active))?;
        Ok(Connected {
            card: reply.card,
            protocol: reply.active,
        })
    }

    fn reconnect(
        &self,
        card: i32,
        share: u32,
        protocols: u32,
        initialization: u32,
        deadline: Option<Instant>,
    ) -> Outcome<u32> {
        let request = wire::ReconnectBody {
            card,
            share,
            protocols,
            initialization,
            active: 0,
            rv: 0,
        };
        self.retry(self.waits, deadline, || {
            let reply = self.call(RequestCode::Reconnect, request, deadline)?;
            check(reply.rv).map_err(|failure| failure.with_detail(reply.active))?;
            Ok(reply.active)
        })
    }

    fn disconnect(&self, card: i32, disposition: u32) -> Outcome<()> {
        let request = wire::DisconnectBody {
            card,
            disposition,
            rv: 0,
        };
        check(self.call(RequestCode::Disconnect, request, None)?.rv)
    }

    fn begin_transaction(&self, card: i32, deadline: Option<Instant>) -> Outcome<()> {
        let request = wire::BeginTransactionBody { card, rv: 0 };
        // The request itself has no deadline, because giving up its answer would cost the connection. pcscd
        // answers at once, with a sharing violation if the card is in use.
        self.retry(self.waits_to_begin, deadline, || {
            check(self.call(RequestCode::BeginTransaction, request, None)?.rv)
        })
    }

    fn end_transaction(&self, card: i32, disposition: u32) -> Outcome<()> {
        let request = wire::EndTransactionBody {
            card,
            disposition,
            rv: 0,
        };
        check(self.call(RequestCode::EndTransaction, request, None)?.rv)
    }

    fn status(&self, card: i32, reader: &[u8]) -> Outcome<ConnectionStatus> {
        let mut request = [0; Header::SIZE + wire::StatusBody::SIZE];
        wire::StatusBody { card, rv: 0 }.emit_request(RequestCode::Status, self.endian, &mut request);
        self.retry(self.waits, None, || {
            let mut link = self.link()?;
            let batch = link.batch();
            let parsed = link.states(&batch, &request)?;
            let status = link
                .reader_states(&parsed)
                .find(reader)
                .map(ConnectionStatus::from);
            link.consume(parsed.consumed);
            let mut reply = [0; wire::StatusBody::SIZE];
            link.receive(&mut reply, &mut [], Deadline::Never)?;
            let status = status.ok_or(Error::ReaderUnavailable)?;
            let reply = wire::StatusBody::parse(&reply, self.endian).ok_or(Error::InternalError)?;
            check(reply.rv)?;
            Ok(status)
        })
    }

    fn transmit(
        &self,
        card: i32,
        send: Pci,
        receive: Pci,
        command: &[u8],
        response: &mut [u8],
        deadline: Option<Instant>,
    ) -> Outcome<Transmitted> {
        let response = at_most_payload(response);
        let body = wire::TransmitBody {
            card,
            send_protocol: send.protocol,
            send_pci_length: send.length,
            send_length: payload_length(command)?,
            receive_protocol: receive.protocol,
            receive_pci_length: receive.length,
            receive_length: response.len() as u32,
            rv: 0,
        };
        self.retry(self.waits, deadline, || {
            let request = Request {
                command: RequestCode::Transmit,
                body,
                data: command,
                answer: &mut *response,
                answer_length: |reply: &wire::TransmitBody| payload_of(reply.rv, reply.receive_length),
            };
            let reply = self.link()?.exchange_payload(request, deadline.into())?;
            check(reply.rv).map_err(|failure| failure.with_detail(reply.receive_length))?;
            Ok(Transmitted {
                length: reply.receive_length as usize,
                pci: Pci {
                    protocol: reply.receive_protocol,
                    length: reply.receive_pci_length,
                },
            })
        })
    }

    fn control(
        &self,
        card: i32,
        code: u32,
        data: &[u8],
        answer: &mut [u8],
        deadline: Option<Instant>,
    ) -> Outcome<usize> {
        let answer = at_most_payload(answer);
        let request = Request {
            command: RequestCode::Control,
            body: wire::ControlBody {
                card,
                code,
                send_length: payload_length(data)?,
                receive_length: answer.len() as u32,
                returned: 0,
                rv: 0,
            },
            data,
            answer,
            answer_length: |reply: &wire::ControlBody| payload_of(reply.rv, reply.returned),
        };
        let reply = self.link()?.exchange_payload(request, deadline.into())?;
        check(reply.rv).map_err(|failure| failure.with_detail(reply.returned))?;
        Ok(reply.returned as usize)
    }

    fn get_attribute(&self, card: i32, id: u32) -> Outcome<AttributeValue> {
        let request = wire::AttributeBody {
            card,
            id,
            value: [0; wire::ATTRIBUTE_SIZE],
            length: wire::ATTRIBUTE_SIZE as u32,
            rv: 0,
        };
        let reply = self.call(RequestCode::GetAttrib, request, None)?;
        check(reply.rv)?;
        Ok(AttributeValue::of_array(reply.value, reply.length as usize))
    }

    fn set_attribute(&self, card: i32, id: u32, data: &[u8]) -> Outcome<()> {
        check(self.link()?.set_attribute(card, id, data)?)
    }

    fn status_change(
        &self,
        timeout: Option<Duration>,
        watched: &mut [Watched<'_>],
        sticky: bool,
    ) -> Outcome<()> {
        self.lifecycle.wait(sticky, |since| {
            wait_for_change(&mut self.readers(since)?, timeout, watched)
        })
    }

    fn kind(&self) -> BackendKind {
        BackendKind::Daemon {
            path: self.path.clone(),
            version: self.version,
        }
    }

    fn endian(&self) -> Endian {
        self.endian
    }
}

impl DaemonContext {
    /// Whether a connection can be used: [`Calls::status`] without the states of the readers.
    pub fn check_connection(&self, card: i32) -> Outcome<()> {
        let request = wire::StatusBody { card, rv: 0 };
        self.retry(self.waits, None, || {
            check(self.call(RequestCode::Status, request, None)?.rv)
        })
    }

    /// Passes the states of all readers, and the count of those that came or went where the daemon has one,
    /// to `look`. Then waits for the next event of a reader: no event falls between the two.
    pub fn watch(&self, look: &mut dyn FnMut(ReaderStateRecords<'_>, Option<u32>)) -> Outcome<()> {
        self.lifecycle.wait(false, |since| {
            let mut readers = self.readers(since)?;
            readers.look_at(true, true, look)?;
            readers.wait(None).map(|_| ())
        })
    }

    fn readers(&self, since: u64) -> Outcome<DaemonReaders<'_>> {
        let link = match self.link() {
            // It was cancelled while it waited for another call on this connection.
            Err(_) if self.lifecycle.is_cancelled(since) => return Err(Error::Cancelled.into()),
            link => link?,
        };
        Ok(DaemonReaders {
            link,
            lifecycle: &self.lifecycle,
            waker: &self.waker,
            since,
            registration: Registration::None,
        })
    }

    /// A request and its answer.
    fn call<B: Body>(&self, command: RequestCode, request: B, deadline: Option<Instant>) -> Outcome<B> {
        self.link()?.exchange(command, request, deadline.into())
    }

    /// Locks the connection, when the calls of other threads are done.
    fn link(&self) -> Outcome<MutexGuard<'_, Link>> {
        self.lifecycle.check()?;
        let link = self.lock();
        // It may have been released while this call waited for the lock.
        self.lifecycle.check()?;
        if link.stream.is_none() {
            return Err(lost());
        }
        Ok(link)
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Repeats a call that meets a sharing violation until the other connection's transaction is over. The
    /// protocol has no event for that, so the pauses grow from 1 to 100 ms. Calls of other threads are done
    /// meanwhile.
    ///
    /// The call gives up its answer at the deadline, which costs the connection. So it is not repeated if
    /// less time than the last pause would be left for it.
    fn retry<T>(
        &self,
        waits: bool,
        deadline: Option<Instant>,
        mut call: impl FnMut() -> Outcome<T>,
    ) -> Outcome<T> {
        let mut pause = Duration::from_millis(1);
        loop {
            match call() {
                Err(failure) if failure.code() == Error::SharingViolation.code() && waits => (),
                outcome => return outcome,
            }
            pause = sleep_before_retry(pause, deadline)?;
        }
    }
}

/// Sleeps before a call is repeated. Returns the next pause.
fn sleep_before_retry(pause: Duration, deadline: Option<Instant>) -> Outcome<Duration> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let last = left.filter(|left| *left < pause * 2);
    if !wait::sleep(last.unwrap_or(pause)) {
        return Err(Error::Cancelled.into());
    }
    if last.is_some() {
        return Err(Error::Timeout.into());
    }
    Ok((pause * 2).min(Duration::from_millis(100)))
}

impl Drop for DaemonContext {
    fn drop(&mut self) {
        // Returns an error in a forked child and after a release. The descriptor is closed in any case.
        let _ = self.release();
    }
}

/// Converts the daemon's return code.
fn check(rv: u32) -> Outcome<()> {
    match rv {
        0 => Ok(()),
        rv => Err(Failure::plain(rv)),
    }
}

/// How many bytes follow an answer.
fn payload_of(rv: u32, length: u32) -> usize {
    if rv == 0 {
        length as usize
    } else {
        0
    }
}

/// A payload's length. The daemon would close the connection if it were too long.
fn payload_length(data: &[u8]) -> Outcome<u32> {
    if data.len() > wire::MAX_PAYLOAD {
        return Err(Error::InsufficientBuffer.into());
    }
    Ok(data.len() as u32)
}

/// The part of a buffer that a request may announce to the daemon.
fn at_most_payload(buffer: &mut [u8]) -> &mut [u8] {
    let length = buffer.len().min(wire::MAX_PAYLOAD);
    &mut buffer[..length]
}

#[cfg(test)]
mod tests;
