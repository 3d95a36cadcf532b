//! A scripted daemon, for protocol versions that Debian's pcscd does not have and for answers that no real
//! daemon gives.
//!
//! It answers as pcscd does, with the codec of `pcsc_wire`. A test can change its readers while clients wait,
//! and replace any answer.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pcsc_client::Error;
use pcsc_wire::{self as wire, Body, Command, Header, ReaderState, Version};

/// What to send in place of an answer.
pub enum Answer {
    /// These bytes.
    Send(Vec<u8>),
    /// These bytes, and then the end of the connection.
    SendThenClose(Vec<u8>),
}

/// Replaces an answer. The flag says whether the client waits for an event, and may be changed.
pub type Trick = dyn Fn(Command, Vec<u8>, &mut bool) -> Answer + Send + Sync;

/// A reader of the scripted daemon.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    /// Its name; empty for a free slot.
    pub name: String,
    /// How often a card came or went.
    pub event_counter: u32,
    /// The card's ATR; empty without a card.
    pub atr: Vec<u8>,
    /// The number of connections that share it; -1 for an exclusive one.
    pub sharing: i32,
}

struct World {
    readers: Vec<Reader>,
    events: u32,
    /// Connections that wait for an event.
    waiting: Vec<Arc<Mutex<Out>>>,
}

struct Out {
    stream: UnixStream,
    waits: bool,
}

/// How the daemon behaves.
pub struct Script {
    /// The version that it speaks.
    pub version: Version,
    /// Whether it accepts clients of 4.4 and later, as pcscd does since 2.4.1.
    pub takes_older: bool,
    /// How many slots it sends, up to 4.5.
    pub slots: usize,
    /// The size of reader names in the states, in bytes: 128, or 100 up to pcsc-lite 1.8.3.
    pub name_size: usize,
    /// How many readers it has at first.
    pub readers: usize,
    /// How many sharing violations a call gets before it succeeds.
    pub violations: usize,
    /// Whether STOP_WAITING is answered even where the event has crossed it, as by pcsc-lite up to 1.8.18.
    pub answers_every_stop: bool,
    /// Replaces answers.
    pub trick: Option<Box<Trick>>,
}

impl Script {
    /// A daemon of version 4.`minor` with one reader.
    pub fn new(minor: i32) -> Script {
        let version = Version { major: 4, minor };
        Script {
            version,
            takes_older: false,
            slots: 16,
            name_size: wire::NAME_SIZE,
            readers: 1,
            violations: 0,
            answers_every_stop: false,
            trick: None,
        }
    }
}

struct Shared {
    script: Script,
    world: Mutex<World>,
    connections: AtomicUsize,
    rounds: AtomicUsize,
    violations: AtomicUsize,
    open: Mutex<Vec<UnixStream>>,
}

/// A running scripted daemon. Dropping it ends it, with its connections.
pub struct Scripted {
    shared: Arc<Shared>,
    listener: UnixListener,
    path: PathBuf,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Scripted {
    /// Starts a daemon that listens at `path`, whose folder must exist.
    ///
    /// # Panics
    /// Where it cannot listen.
    pub fn start(path: &Path, script: Script) -> Scripted {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("a socket for the scripted daemon");
        let readers = (0..script.slots.max(script.readers))
            .map(|slot| {
                if slot < script.readers {
                    reader(slot)
                } else {
                    Reader::default()
                }
            })
            .collect();
        let shared = Arc::new(Shared {
            violations: AtomicUsize::new(script.violations),
            script,
            world: Mutex::new(World {
                readers,
                events: 1,
                waiting: Vec::new(),
            }),
            connections: AtomicUsize::new(0),
            rounds: AtomicUsize::new(0),
            open: Mutex::default(),
        });
        let (accepting, acceptor) = (listener.try_clone().expect("a second descriptor"), shared.clone());
        let thread = std::thread::spawn(move || {
            let mut threads = Vec::new();
            while let Ok((stream, _)) = accepting.accept() {
                acceptor.connections.fetch_add(1, Ordering::SeqCst);
                lock(&acceptor.open).push(stream.try_clone().expect("a second descriptor"));
                let shared = acceptor.clone();
                threads.push(std::thread::spawn(move || {
                    Connection::new(shared, stream).serve();
                }));
            }
            threads
                .into_iter()
                .for_each(|thread| thread.join().expect("a connection's thread"));
        });
        Scripted {
            shared,
            listener,
            path: path.to_owned(),
            thread: Some(thread),
        }
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many connections it accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The number of round trips: how often a client has sent something after an answer.
    pub fn rounds(&self) -> usize {
        self.shared.rounds.load(Ordering::SeqCst)
    }

    /// Whether some client waits for an event.
    pub fn has_waiter(&self) -> bool {
        lock(&self.shared.world).waiting.iter().any(|out| lock(out).waits)
    }

    /// Changes the readers, and sends the event to clients that wait.
    pub fn change(&self, change: impl FnOnce(&mut Vec<Reader>)) {
        let mut world = lock(&self.shared.world);
        let count = |readers: &[Reader]| readers.iter().filter(|reader| !reader.name.is_empty()).count();
        let before = count(&world.readers);
        change(&mut world.readers);
        if count(&world.readers) != before {
            world.events += 1;
        }
        for out in std::mem::take(&mut world.waiting) {
            let mut out = lock(&out);
            if std::mem::take(&mut out.waits) {
                let _ = out.stream.write_all(&[0; wire::EVENT_SIZE]);
            }
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        // Ends accept().
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        lock(&self.shared.open)
            .iter()
            .for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            // A connection accepted in between.
            lock(&self.shared.open)
                .iter()
                .for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
            if !std::thread::panicking() {
                ended.expect("the daemon's thread");
            }
        }
    }
}

/// The reader of a slot, with a card.
pub fn reader(slot: usize) -> Reader {
    Reader {
        name: format!("Scripted {slot:02}"),
        event_counter: 1,
        atr: vec![0x3B, 0x80, 0x01, 0x81],
        sharing: 0,
    }
}

/// Longer than any wait should take. A test that waits this long fails instead of hanging.
pub const LONG: std::time::Duration = std::time::Duration::from_secs(20);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Connection {
    shared: Arc<Shared>,
    out: Arc<Mutex<Out>>,
    input: UnixStream,
    buffer: Vec<u8>,
    has_answered: bool,
    context: u32,
    card: i32,
    old_ways: Option<Version>,
}

impl Connection {
    fn new(shared: Arc<Shared>, stream: UnixStream) -> Connection {
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
            old_ways: None,
        }
    }

    fn serve(&mut self) {
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
        B::parse(&bytes)
    }

    /// Serves one request; `None` ends the connection.
    fn serve_one(&mut self) -> Option<()> {
        let bytes = self.take(Header::SIZE)?;
        let header = Header::parse(&bytes)?;
        let command = Command::from_code(header.command)?;
        let mut answer = self.answer(command, header.size as usize)?;
        let mut closes = false;
        let shared = self.shared.clone();
        if let Some(trick) = &shared.script.trick {
            let mut waits = lock(&self.out).waits;
            let before = waits;
            match trick(command, answer, &mut waits) {
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
        self.old_ways.unwrap_or(self.shared.script.version)
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
                let state = ReaderState {
                    name: reader.name.as_bytes(),
                    event_counter: reader.event_counter,
                    state: status,
                    sharing: reader.sharing,
                    atr: &reader.atr,
                    protocol: 2,
                }
                .to_bytes();
                let (name, rest) = state.split_at(wire::NAME_SIZE);
                [&name[..self.shared.script.name_size], rest].concat()
            })
            .collect()
    }

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

    fn answer(&mut self, command: Command, size: usize) -> Option<Vec<u8>> {
        fn bytes<B: Body>(body: B) -> Option<Vec<u8>> {
            let mut bytes = vec![0; B::SIZE];
            body.emit(&mut bytes);
            Some(bytes)
        }
        let slots = self.shared.script.slots;
        match command {
            Command::Version => {
                let asked: wire::VersionExchange = self.body()?;
                let own = self.shared.script.version;
                let is_older = asked.major == own.major && (4..own.minor).contains(&asked.minor);
                let rv = if asked.version() == own {
                    0
                } else if self.shared.script.takes_older && is_older {
                    self.old_ways = Some(asked.version());
                    0
                } else if own.minor <= 3 {
                    Error::NoService.code()
                } else {
                    Error::ServiceStopped.code()
                };
                bytes(wire::VersionExchange {
                    major: own.major,
                    minor: own.minor,
                    rv,
                })
            }
            Command::EstablishContext => {
                let mut body: wire::Establish = self.body()?;
                self.context = 0x1234;
                body.context = self.context;
                bytes(body)
            }
            Command::ReleaseContext => bytes(wire::Release {
                rv: 0,
                ..self.body()?
            }),
            Command::Connect => {
                let mut body: wire::Connect = self.body()?;
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
                bytes(body)
            }
            Command::Reconnect => {
                let mut body: wire::Reconnect = self.body()?;
                self.own(body.card)?;
                (body.active, body.rv) = (2, self.violation());
                bytes(body)
            }
            Command::Disconnect => {
                let body: wire::Disconnect = self.body()?;
                self.own(body.card)?;
                self.card = 0;
                bytes(wire::Disconnect { rv: 0, ..body })
            }
            Command::BeginTransaction => {
                let body: wire::BeginTransaction = self.body()?;
                self.own(body.card)?;
                bytes(wire::BeginTransaction {
                    rv: self.violation(),
                    ..body
                })
            }
            Command::EndTransaction => {
                let body: wire::EndTransaction = self.body()?;
                self.own(body.card)?;
                bytes(wire::EndTransaction { rv: 0, ..body })
            }
            Command::Transmit => {
                let mut body: wire::Transmit = self.body()?;
                let data = self.take(body.send_length as usize)?;
                self.own(body.card)?;
                body.rv = self.violation();
                if body.rv == 0 && data.len() > body.receive_length as usize {
                    body.rv = Error::InsufficientBuffer.code();
                }
                body.receive_length = data.len() as u32;
                let mut answer = bytes(body)?;
                if body.rv == 0 {
                    answer.extend(data);
                }
                Some(answer)
            }
            Command::Control => {
                let mut body: wire::Control = self.body()?;
                let data = self.take(body.send_length as usize)?;
                self.own(body.card)?;
                body.returned = data.len() as u32;
                Some([bytes(body)?, data].concat())
            }
            Command::Status => {
                let body: wire::Status = self.body()?;
                self.own(body.card)?;
                bytes(wire::Status {
                    rv: self.violation(),
                    ..body
                })
            }
            Command::GetAttrib => {
                let mut body: wire::Attribute = self.body()?;
                self.own(body.card)?;
                body.value[..4].copy_from_slice(b"ATTR");
                body.length = 4;
                bytes(body)
            }
            Command::SetAttrib => {
                let body: wire::Attribute = self.body()?;
                self.own(body.card)?;
                bytes(wire::Attribute { rv: 0, ..body })
            }
            Command::Cancel => bytes(wire::Cancel {
                rv: 0,
                ..self.body()?
            }),
            Command::GetReadersState => Some(self.states(&lock(&self.shared.world), slots)),
            Command::GetReadersStateSize if self.version().tells_table_size() => Some(
                (lock(&self.shared.world).readers.len() as i32)
                    .to_ne_bytes()
                    .to_vec(),
            ),
            Command::GetReadersStateArray if self.version().tells_table_size() => {
                let world = lock(&self.shared.world);
                Some(self.states(&world, world.readers.len()))
            }
            Command::GetReaderEvents if self.version().counts_reader_events() => bytes(wire::ReaderEvents {
                events: lock(&self.shared.world).events,
                rv: 0,
            }),
            Command::WaitReaderStateChange => {
                self.take(size)?;
                let mut world = lock(&self.shared.world);
                lock(&self.out).waits = true;
                world.waiting.push(self.out.clone());
                let silent = self.version().waits_with_body() || self.version().tells_table_size();
                Some(if silent {
                    Vec::new()
                } else {
                    self.states(&world, slots)
                })
            }
            Command::StopWaitingReaderStateChange => {
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
