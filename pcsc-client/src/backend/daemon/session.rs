//! A context with the daemon: one connection, its calls in order, one round trip each.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::exchange::{lost, Deadline, Link};
use super::handshake::{self, Established};
use super::stream::Stream;
use crate::backend::session::Options;
use crate::backend::signal::{Release, Signal};
use crate::error::{Cause, Error, Failure, Outcome};
use crate::{env, process};
use pcsc_wire::{self as wire, Body, Command, Header, ReaderState, ReaderStates, Version, NAME_SIZE};

/// A connection of a context with the daemon. Calls of several threads are done one after another.
///
/// Where a call gives a message body, its `rv` is the daemon's return code; `Err` is for calls that did
/// not reach the daemon or got no answer.
#[derive(Debug)]
pub struct Session {
    generation: u32,
    path: PathBuf,
    context: u32,
    limit: Duration,
    pub(super) version: Version,
    pub(super) told: Version,
    pub(super) signal: Signal,
    link: Mutex<Link>,
}

impl Session {
    /// Connects to the daemon and establishes a context.
    pub fn establish(options: &Options) -> Outcome<Session> {
        let generation = process::generation();
        let path = options.socket.clone().unwrap_or_else(env::socket_path);
        let Established {
            stream,
            version,
            told,
            context,
            slots,
        } = handshake::establish(&path, options.scope, options.limit)?;
        log::debug!(
            "established context {context:#x} at {} with protocol {version}",
            path.display()
        );
        Ok(Session {
            generation,
            path,
            context,
            limit: options.limit,
            version,
            told,
            signal: Signal::default(),
            link: Mutex::new(Link {
                stream: Some(stream),
                slots,
                request: Vec::new(),
            }),
        })
    }

    /// The daemon's socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The protocol version spoken.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Ends the context. Waits in progress are cancelled; other calls in progress are awaited.
    pub fn release(&self) -> Outcome<()> {
        self.check()?;
        let mut link = match self.signal.release() {
            Release::Repeated => return Err(Error::InvalidHandle.into()),
            Release::First => self.lock(),
            // The thread in a wait has the lock, and keeps it until the daemon has an event or ends.
            Release::Unreached => self.link.try_lock().map_err(|_| lost())?,
        };
        // The program may have closed the socket. Nothing of ours goes to a file that has got its number.
        if !link.stream.as_ref().is_some_and(Stream::is_ours) {
            link.stream = None;
            return Err(lost());
        }
        let request = wire::Release {
            context: self.context,
            rv: 0,
        };
        let reply = self.exchange(&mut link, Command::ReleaseContext, &request, self.limit());
        if let Some(stream) = link.stream.take() {
            stream.shutdown();
        }
        match reply?.rv {
            0 => Ok(()),
            rv => Err(Failure::plain(rv)),
        }
    }

    /// Whether calls can still succeed: not released, not inherited by a fork, and the daemon is there.
    pub fn check_alive(&self) -> Outcome<()> {
        self.check()?;
        // A thread in the middle of a call will find out by itself.
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

    /// Cancels the waits in progress; see also [`Session::status_change`]. Safe in a signal handler: takes
    /// no lock and allocates nothing, also where it fails.
    pub fn cancel(&self) -> Outcome<()> {
        if self.generation != process::generation() {
            return Err(Error::InvalidHandle.into());
        }
        self.signal.cancel();
        Ok(())
    }

    /// Looks at the reader states of now.
    pub fn with_states<R>(&self, look: impl FnOnce(ReaderStates<'_>) -> R) -> Outcome<R> {
        let mut link = self.link()?;
        let batch = self.batch(&link);
        let parsed = self.states(&mut link, &batch, &[])?;
        let result = look(ReaderStates::new(&link.pending()[parsed.states]));
        link.consume(parsed.consumed);
        Ok(result)
    }

    /// Connects to the card in a reader, or to the reader. A name of 128 bytes and more is cut, as PC/SC
    /// Lite's client does, and then names no reader.
    pub fn connect(
        &self,
        reader: &[u8],
        share: u32,
        protocols: u32,
        deadline: Option<Instant>,
    ) -> Outcome<wire::Connect> {
        let mut name = [0; NAME_SIZE];
        let length = reader.len().min(NAME_SIZE - 1);
        name[..length].copy_from_slice(&reader[..length]);
        let context = self.context;
        let request = wire::Connect {
            context,
            reader: name,
            share,
            protocols,
            card: 0,
            active: 0,
            rv: 0,
        };
        self.call(Command::Connect, &request, deadline)
    }

    /// Gives a connection new terms; waits while another connection holds the card. `active` is the
    /// protocol to report where the daemon reports none.
    #[allow(clippy::too_many_arguments)]
    pub fn reconnect(
        &self,
        card: i32,
        share: u32,
        protocols: u32,
        initialization: u32,
        active: u32,
        deadline: Option<Instant>,
    ) -> Outcome<wire::Reconnect> {
        let request = wire::Reconnect {
            card,
            share,
            protocols,
            initialization,
            active,
            rv: 0,
        };
        let wait = env::waits_for_shared_card();
        self.retry(wait, deadline, || {
            let reply = self.call(Command::Reconnect, &request, deadline)?;
            Ok((reply.rv, reply))
        })
    }

    /// Ends a connection.
    pub fn disconnect(&self, card: i32, disposition: u32) -> Outcome<wire::Disconnect> {
        self.call(
            Command::Disconnect,
            &wire::Disconnect {
                card,
                disposition,
                rv: 0,
            },
            None,
        )
    }

    /// Begins a transaction; always waits while another connection holds the card. A deadline that
    /// passes leaves the connection as it was.
    pub fn begin_transaction(&self, card: i32, deadline: Option<Instant>) -> Outcome<wire::BeginTransaction> {
        self.retry(true, deadline, || {
            let reply = self.call(
                Command::BeginTransaction,
                &wire::BeginTransaction { card, rv: 0 },
                None,
            )?;
            Ok((reply.rv, reply))
        })
    }

    /// Ends a transaction.
    pub fn end_transaction(&self, card: i32, disposition: u32) -> Outcome<wire::EndTransaction> {
        self.call(
            Command::EndTransaction,
            &wire::EndTransaction {
                card,
                disposition,
                rv: 0,
            },
            None,
        )
    }

    /// Whether the card is still there and was not reset (the daemon's return code), and the state of the
    /// reader called `reader`, `None` where it is gone; waits while another connection holds the card.
    pub fn status<R>(
        &self,
        card: i32,
        reader: &[u8],
        look: impl Fn(Option<ReaderState<'_>>) -> R,
    ) -> Outcome<(u32, R)> {
        let mut request = [0; Header::SIZE + wire::Status::SIZE];
        wire::Status { card, rv: 0 }.emit_request(Command::Status, &mut request);
        self.retry(env::waits_for_shared_card(), None, || {
            let mut link = self.link()?;
            let batch = self.batch(&link);
            let parsed = self.states(&mut link, &batch, &request)?;
            let result = look(ReaderStates::new(&link.pending()[parsed.states]).find(reader));
            link.consume(parsed.consumed);
            let mut reply = [0; wire::Status::SIZE];
            let received = self.stream(&mut link)?.receive(&mut reply, &mut [], None);
            self.on_receive(&mut link, received, Deadline::Never)?;
            let rv = wire::Status::parse(&reply).map_or(Error::InternalError.code(), |reply| reply.rv);
            Ok((rv, (rv, result)))
        })
    }

    /// Sends a command to the card; the response goes to the front of `response`. Waits while another
    /// connection holds the card.
    pub fn transmit(
        &self,
        mut request: wire::Transmit,
        command: &[u8],
        response: &mut [u8],
        deadline: Option<Instant>,
    ) -> Outcome<wire::Transmit> {
        let response = at_most(response, wire::MAX_PAYLOAD);
        request.send_length = payload_length(command)?;
        request.receive_length = response.len() as u32;
        self.retry(env::waits_for_shared_card(), deadline, || {
            let reply: wire::Transmit = self.payload_call(
                Command::Transmit,
                &request,
                command,
                response,
                deadline,
                |reply: &wire::Transmit| (reply.rv, reply.receive_length),
            )?;
            Ok((reply.rv, reply))
        })
    }

    /// Uses a reader's own function; the answer goes to the front of `response`.
    pub fn control(
        &self,
        card: i32,
        code: u32,
        data: &[u8],
        response: &mut [u8],
        deadline: Option<Instant>,
    ) -> Outcome<wire::Control> {
        let response = at_most(response, wire::MAX_PAYLOAD);
        let (send_length, receive_length) = (payload_length(data)?, response.len() as u32);
        let request = wire::Control {
            card,
            code,
            send_length,
            receive_length,
            returned: 0,
            rv: 0,
        };
        self.payload_call(
            Command::Control,
            &request,
            data,
            response,
            deadline,
            |reply: &wire::Control| (reply.rv, reply.returned),
        )
    }

    /// Gets an attribute's value.
    pub fn get_attribute(&self, card: i32, id: u32) -> Outcome<wire::Attribute> {
        let value = [0; wire::ATTRIBUTE_SIZE];
        let length = wire::ATTRIBUTE_SIZE as u32;
        self.call(
            Command::GetAttrib,
            &wire::Attribute {
                card,
                id,
                value,
                length,
                rv: 0,
            },
            None,
        )
    }

    /// Sets an attribute's value, at most 264 bytes.
    pub fn set_attribute(&self, card: i32, id: u32, data: &[u8]) -> Outcome<wire::Attribute> {
        let mut value = [0; wire::ATTRIBUTE_SIZE];
        let Some(room) = value.get_mut(..data.len()) else {
            return Err(Error::InsufficientBuffer.into());
        };
        room.copy_from_slice(data);
        let length = data.len() as u32;
        self.call(
            Command::SetAttrib,
            &wire::Attribute {
                card,
                id,
                value,
                length,
                rv: 0,
            },
            None,
        )
    }

    /// Refuses a handle that a forked child inherited.
    fn check(&self) -> Outcome<()> {
        if self.generation != process::generation() {
            return Err(Failure::quiet(Error::InvalidHandle, Cause::Forked));
        }
        Ok(())
    }

    /// This thread's turn on the connection.
    pub(super) fn link(&self) -> Outcome<MutexGuard<'_, Link>> {
        self.check()?;
        let link = self.lock();
        if self.signal.is_released() {
            return Err(Error::InvalidHandle.into());
        }
        if link.stream.is_none() {
            return Err(lost());
        }
        Ok(link)
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The deadline of an answer that needs no card.
    pub(super) fn limit(&self) -> Deadline {
        Deadline::OfContext(Instant::now() + self.limit)
    }

    /// Repeats a call that meets a sharing violation until the other connection's transaction is over. The
    /// protocol has no event for that, so the pauses grow from 1 to 100 ms; other threads of the context
    /// have their turns meanwhile.
    fn retry<T>(
        &self,
        wait: bool,
        deadline: Option<Instant>,
        mut call: impl FnMut() -> Outcome<(u32, T)>,
    ) -> Outcome<T> {
        let mut pause = Duration::from_millis(1);
        loop {
            let (rv, reply) = call()?;
            if rv != Error::SharingViolation.code() || !wait {
                return Ok(reply);
            }
            if let Some(deadline) = deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Error::Timeout.into());
                }
                pause = pause.min(left);
            }
            if !pcsc_process::wait::sleep(pause) {
                return Err(Error::Cancelled.into());
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // In a forked child, and after a release, this refuses and the descriptor is merely closed.
        let _ = self.release();
    }
}

/// A payload's length; the daemon would end the connection over one that is too long.
fn payload_length(data: &[u8]) -> Outcome<u32> {
    if data.len() > wire::MAX_PAYLOAD {
        return Err(Error::InsufficientBuffer.into());
    }
    Ok(data.len() as u32)
}

/// As much of the buffer as a daemon accepts to be offered.
fn at_most(buffer: &mut [u8], length: usize) -> &mut [u8] {
    let length = buffer.len().min(length);
    &mut buffer[..length]
}
