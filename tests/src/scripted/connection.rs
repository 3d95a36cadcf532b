//! A client's connection with a scripted daemon.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use pcsc_client::Error;
use pcsc_wire::{self as wire, Body, Endian, Header, ReaderStateRecord, RequestCode, Version};

use super::script::{number, Answer};
use super::world::{lock, Out, Shared, World};

pub(super) struct Connection {
    shared: Arc<Shared>,
    out: Arc<Mutex<Out>>,
    input: UnixStream,
    buffer: Vec<u8>,
    has_answered: bool,
    context: u32,
    card: i32,
    /// The client's version, where it is older and accepted.
    accepted: Option<Version>,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, stream: UnixStream) -> Connection {
        let input = stream.try_clone().expect("a second descriptor");
        let out = Arc::new(Mutex::new(Out { stream, waits: false }));
        Connection {
            shared,
            out,
            input,
            buffer: Vec::new(),
            has_answered: true,
            context: 0,
            card: 0,
            accepted: None,
        }
    }

    pub(super) fn serve(&mut self) {
        while self.serve_one().is_some() {}
        let _ = self.input.shutdown(Shutdown::Both);
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            let mut bytes = [0; 65_536];
            let got = self.input.read(&mut bytes).ok().filter(|got| *got > 0)?;
            if std::mem::take(&mut self.has_answered) {
                self.shared.rounds.fetch_add(1, Ordering::SeqCst);
            }
            self.buffer.extend_from_slice(&bytes[..got]);
        }
        Some(self.buffer.drain(..count).collect())
    }

    fn body<B: Body>(&mut self) -> Option<B> {
        let bytes = self.take(B::SIZE)?;
        B::parse(&bytes, self.shared.script.endian)
    }

    /// Serves one request; `None` ends the connection.
    fn serve_one(&mut self) -> Option<()> {
        let bytes = self.take(Header::SIZE)?;
        let header = Header::parse(&bytes, self.shared.script.endian)?;
        let command = RequestCode::from_code(header.command)?;
        let mut answer = self.answer(command, header.size as usize)?;
        let mut closes = false;
        let shared = self.shared.clone();
        if let Some(intercept) = &shared.script.intercept {
            let mut waits = lock(&self.out).waits;
            let before = waits;
            match intercept(command, answer, &mut waits) {
                Answer::Send(bytes) => answer = bytes,
                Answer::SendThenClose(bytes) => (answer, closes) = (bytes, true),
            }
            if before != waits {
                lock(&self.out).waits = waits;
            }
        }
        self.has_answered |= !answer.is_empty();
        lock(&self.out).stream.write_all(&answer).ok()?;
        (!closes).then_some(())
    }

    fn version(&self) -> Version {
        self.accepted.unwrap_or(self.shared.script.version)
    }

    /// The states of the first `slots` readers, or free slots.
    fn states(&self, world: &World, slots: usize) -> Vec<u8> {
        world.readers[..slots]
            .iter()
            .flat_map(|reader| -> Vec<u8> {
                let status = if reader.name.is_empty() {
                    0
                } else if reader.atr.is_empty() {
                    0x02
                } else {
                    0x34
                };
                let state = ReaderStateRecord {
                    name: reader.name.as_bytes(),
                    event_counter: reader.event_counter,
                    state: status,
                    sharing: reader.sharing,
                    atr: &reader.atr,
                    protocol: 2,
                }
                .to_bytes(self.shared.script.endian);
                let (name, rest) = state.split_at(wire::NAME_SIZE);
                [&name[..self.shared.script.name_size], rest].concat()
            })
            .collect()
    }

    #[allow(
        deprecated,
        reason = "`try_update`, its new name, is younger than the oldest Rust supported"
    )]
    fn violation(&self) -> u32 {
        let left = &self.shared.violations;
        match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Error::SharingViolation.code(),
            Err(_) => 0,
        }
    }

    /// As in pcscd, a request on a handle of another connection ends this one.
    fn own(&self, card: i32) -> Option<()> {
        (card == self.card && card != 0).then_some(())
    }

    fn answer(&mut self, command: RequestCode, size: usize) -> Option<Vec<u8>> {
        fn emitted<B: Body>(body: B, endian: Endian) -> Option<Vec<u8>> {
            let mut bytes = vec![0; B::SIZE];
            body.emit(endian, &mut bytes);
            Some(bytes)
        }
        let endian = self.shared.script.endian;
        let slots = self.shared.script.slots;
        match command {
            RequestCode::Version => {
                let asked: wire::VersionBody = self.body()?;
                let own = self.shared.script.version;
                let is_older = asked.major == own.major && (4..own.minor).contains(&asked.minor);
                let rv = if asked.version() == own {
                    0
                } else if self.shared.script.takes_older && is_older {
                    self.accepted = Some(asked.version());
                    0
                } else if own.minor <= 3 {
                    Error::NoService.code()
                } else {
                    Error::ServiceStopped.code()
                };
                emitted(
                    wire::VersionBody {
                        major: own.major,
                        minor: own.minor,
                        rv,
                    },
                    endian,
                )
            }
            RequestCode::EstablishContext => {
                let mut body: wire::EstablishBody = self.body()?;
                self.context = 0x1234;
                body.context = self.context;
                emitted(body, endian)
            }
            RequestCode::ReleaseContext => emitted(
                wire::ReleaseBody {
                    rv: 0,
                    ..self.body()?
                },
                endian,
            ),
            RequestCode::Connect => {
                let mut body: wire::ConnectBody = self.body()?;
                let name = body
                    .reader
                    .iter()
                    .position(|byte| *byte == 0)
                    .map_or(&[][..], |end| &body.reader[..end]);
                let known = lock(&self.shared.world)
                    .readers
                    .iter()
                    .any(|reader| reader.name.as_bytes() == name);
                body.rv = if known { 0 } else { Error::UnknownReader.code() };
                (self.card, body.active) = (0x0BAD_CA4D, 2);
                body.card = self.card;
                emitted(body, endian)
            }
            RequestCode::Reconnect => {
                let mut body: wire::ReconnectBody = self.body()?;
                self.own(body.card)?;
                (body.active, body.rv) = (2, self.violation());
                emitted(body, endian)
            }
            RequestCode::Disconnect => {
                let body: wire::DisconnectBody = self.body()?;
                self.own(body.card)?;
                self.card = 0;
                emitted(wire::DisconnectBody { rv: 0, ..body }, endian)
            }
            RequestCode::BeginTransaction => {
                let body: wire::BeginTransactionBody = self.body()?;
                self.own(body.card)?;
                emitted(
                    wire::BeginTransactionBody {
                        rv: self.violation(),
                        ..body
                    },
                    endian,
                )
            }
            RequestCode::EndTransaction => {
                let body: wire::EndTransactionBody = self.body()?;
                self.own(body.card)?;
                emitted(wire::EndTransactionBody { rv: 0, ..body }, endian)
            }
            RequestCode::Transmit => {
                let mut body: wire::TransmitBody = self.body()?;
                let data = self.take(body.send_length as usize)?;
                self.own(body.card)?;
                body.rv = self.violation();
                if body.rv == 0 && data.len() > body.receive_length as usize {
                    body.rv = Error::InsufficientBuffer.code();
                }
                body.receive_length = data.len() as u32;
                let mut answer = emitted(body, endian)?;
                if body.rv == 0 {
                    answer.extend(data);
                }
                Some(answer)
            }
            RequestCode::Control => {
                let mut body: wire::ControlBody = self.body()?;
                let data = self.take(body.send_length as usize)?;
                self.own(body.card)?;
                body.returned = data.len() as u32;
                Some([emitted(body, endian)?, data].concat())
            }
            RequestCode::Status => {
                let body: wire::StatusBody = self.body()?;
                self.own(body.card)?;
                emitted(
                    wire::StatusBody {
                        rv: self.violation(),
                        ..body
                    },
                    endian,
                )
            }
            RequestCode::GetAttrib => {
                let mut body: wire::AttributeBody = self.body()?;
                self.own(body.card)?;
                body.value[..4].copy_from_slice(b"ATTR");
                (body.length, body.rv) = (4, 0);
                emitted(body, endian)
            }
            RequestCode::SetAttrib => {
                let body: wire::AttributeBody = self.body()?;
                self.own(body.card)?;
                emitted(wire::AttributeBody { rv: 0, ..body }, endian)
            }
            RequestCode::Cancel => emitted(
                wire::CancelBody {
                    rv: 0,
                    ..self.body()?
                },
                endian,
            ),
            RequestCode::GetReadersState => Some(self.states(&lock(&self.shared.world), slots)),
            RequestCode::GetReadersStateSize if self.version().sends_table_size() => {
                Some(number(endian, lock(&self.shared.world).readers.len() as u32).to_vec())
            }
            RequestCode::GetReadersStateArray if self.version().sends_table_size() => {
                let world = lock(&self.shared.world);
                Some(self.states(&world, world.readers.len()))
            }
            RequestCode::GetReaderEvents if self.version().counts_reader_events() => emitted(
                wire::ReaderEventsBody {
                    events: lock(&self.shared.world).events,
                    rv: 0,
                },
                endian,
            ),
            RequestCode::WaitReaderStateChange => {
                self.take(size)?;
                let mut world = lock(&self.shared.world);
                lock(&self.out).waits = true;
                world.waiting.push(self.out.clone());
                let silent = self.version().waits_with_body() || self.version().sends_table_size();
                Some(if silent {
                    Vec::new()
                } else {
                    self.states(&world, slots)
                })
            }
            RequestCode::StopWaitingReaderStateChange => {
                self.take(size)?;
                // Since 1.8.19 an event that has been sent is the answer.
                let was_waiting = std::mem::take(&mut lock(&self.out).waits);
                Some(if was_waiting || self.shared.script.answers_every_stop {
                    vec![0; wire::EVENT_SIZE]
                } else {
                    Vec::new()
                })
            }
            _ => None,
        }
    }
}
