//! A client and a source for tests: what the client's calls come to at its sessions, and what it is answered.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use pcsc_constants as codes;
use pcsc_process::wait::ChangeCounter;
use pcsc_process::Yields;
use pcsc_wire::{
    Body, ConnectBody, Endian, EstablishBody, Header, ReaderStateRecord, RequestCode, MAX_PAYLOAD, NAME_SIZE,
};

use super::requests::{ClientEnd, Requests};
use super::Client;
use crate::buffers::Buffers;
use crate::contexts::Contexts;
use crate::joined::Joined;
use crate::limits::Limits;
use crate::policy::{AccessPolicy, Rights};
use crate::readers::Readers;
use crate::shared::Shared;
use crate::source::{Connected, Failed, Source, SourceSession, Transmitted};
use crate::sync::lock;
use crate::waiters::Waiters;

/// A name as long as clients take.
pub const LONG: [u8; NAME_SIZE - 1] = [b'x'; NAME_SIZE - 1];

/// What the source calls the connections.
pub const CARD: i32 = 70;

/// The protocol that a connection gets.
pub const PROTOCOL: u32 = codes::SCARD_PROTOCOL_T1;

/// What sessions are asked for, and whether they refuse it.
#[derive(Default)]
pub struct Script {
    calls: Mutex<Vec<String>>,
    refusal: Mutex<Option<Failed>>,
    are_readers_gone: AtomicBool,
}

impl Script {
    fn call<T>(&self, call: String, result: T) -> Result<T, Failed> {
        lock(&self.calls).push(call);
        lock(&self.refusal).map_or(Ok(result), Err)
    }

    /// The calls of the sessions since the last time.
    #[track_caller]
    pub fn expect(&self, calls: &[&str]) {
        assert_eq!(std::mem::take(&mut *lock(&self.calls)), calls);
    }

    /// Lets all calls fail from now on, or none.
    pub fn refuse(&self, refusal: impl Into<Option<Failed>>) {
        *lock(&self.refusal) = refusal.into();
    }

    /// Takes the readers away.
    pub fn hide_readers(&self) {
        self.are_readers_gone.store(true, Ordering::SeqCst);
    }
}

/// The same bytes back, as many as there is room for.
fn echo(data: &[u8], answer: &mut [u8]) -> usize {
    let length = data.len().min(answer.len());
    answer[..length].copy_from_slice(&data[..length]);
    data.len()
}

#[derive(Default)]
struct ScriptedSource {
    script: Arc<Script>,
    changes: ChangeCounter,
}

impl Source for ScriptedSource {
    fn each_reader(&self, look: &mut dyn FnMut(ReaderStateRecord<'_>)) {
        if !self.script.are_readers_gone.load(Ordering::SeqCst) {
            look(ReaderStateRecord {
                name: b"Reader 00 00",
                event_counter: 0,
                state: 0,
                sharing: 0,
                atr: &[],
                protocol: 0,
            });
        }
    }

    fn each_name(&self, look: &mut dyn FnMut(&[u8])) {
        look(b"Reader 00 00");
        look(&LONG);
    }

    fn reader_events(&self) -> u32 {
        1
    }

    fn changes(&self) -> &ChangeCounter {
        &self.changes
    }

    fn session(&self) -> Result<Box<dyn SourceSession>, Failed> {
        Ok(Box::new(ScriptedSession(self.script.clone())))
    }
}

struct ScriptedSession(Arc<Script>);

impl SourceSession for ScriptedSession {
    fn connect(&self, reader: &[u8], share: u32, protocols: u32) -> Result<Connected, Failed> {
        let reader = reader.escape_ascii();
        let connected = Connected {
            handle: CARD,
            protocol: PROTOCOL,
        };
        self.0
            .call(format!("connect {reader} {share} {protocols}"), connected)
    }

    fn reconnect(&self, card: i32, share: u32, protocols: u32, initialization: u32) -> Result<u32, Failed> {
        self.0.call(
            format!("reconnect {card} {share} {protocols} {initialization}"),
            PROTOCOL,
        )
    }

    fn disconnect(&self, card: i32, disposition: u32) -> Result<(), Failed> {
        self.0.call(format!("disconnect {card} {disposition}"), ())
    }

    fn begin_transaction(&self, card: i32) -> Result<(), Failed> {
        self.0.call(format!("begin {card}"), ())
    }

    fn end_transaction(&self, card: i32, disposition: u32) -> Result<(), Failed> {
        self.0.call(format!("end {card} {disposition}"), ())
    }

    fn status(&self, card: i32) -> Result<(), Failed> {
        self.0.call(format!("status {card}"), ())
    }

    fn transmit(
        &self,
        card: i32,
        protocol: u32,
        command: &[u8],
        response: &mut [u8],
    ) -> Result<Transmitted, Failed> {
        let transmitted = Transmitted {
            length: echo(command, response),
            protocol: 1,
        };
        let (sent, room) = (command.len(), response.len());
        self.0.call(
            format!("transmit {card} {protocol}: {sent} bytes, room for {room}"),
            transmitted,
        )
    }

    fn control(&self, card: i32, code: u32, data: &[u8], answer: &mut [u8]) -> Result<usize, Failed> {
        let length = echo(data, answer);
        let (sent, room) = (data.len(), answer.len());
        self.0.call(
            format!("control {card} {code}: {sent} bytes, room for {room}"),
            length,
        )
    }

    fn get_attribute(&self, card: i32, id: u32, value: &mut [u8]) -> Result<usize, Failed> {
        let length = echo(b"Reader 00 00", value);
        self.0.call(format!("get {card} {id}"), length)
    }

    fn set_attribute(&self, card: i32, id: u32, value: &[u8]) -> Result<(), Failed> {
        self.0.call(format!("set {card} {id}: {} bytes", value.len()), ())
    }

    fn interrupt(&self) {
        let _ = self.0.call("interrupt".into(), ());
    }

    fn release(&self) {
        let _ = self.0.call("release".into(), ());
    }
}

/// What the clients of a server share whose sources are two of this script.
pub fn shared(script: &Arc<Script>) -> Shared {
    let source = || {
        Arc::new(ScriptedSource {
            script: script.clone(),
            changes: ChangeCounter::default(),
        }) as Arc<_>
    };
    Shared {
        readers: Readers::new(Joined::numbered([source(), source()]), AccessPolicy::default()),
        waiters: Waiters::default(),
        contexts: Contexts::default(),
        buffers: Buffers::default(),
        limits: Limits {
            cards: 2,
            ..Limits::default()
        },
        yields: Yields::default(),
        last_card: AtomicU32::new(0),
    }
}

/// A client and the server's side of it.
pub struct Caller<'a> {
    pub stream: UnixStream,
    pub requests: Requests<'a>,
    pub script: &'a Script,
    pub context: u32,
}

/// A client with these rights, which is known by its stream.
fn client(shared: &Shared, rights: Rights) -> (UnixStream, Client) {
    let (stream, server) = UnixStream::pair().unwrap();
    // An answer is there once its request was served.
    stream.set_nonblocking(true).unwrap();
    (stream, Client::new(7, String::new(), rights, server, shared))
}

impl<'a> Caller<'a> {
    /// A client that has established a context.
    fn new(stream: UnixStream, client: &'a Client, shared: &'a Shared, script: &'a Script) -> Caller<'a> {
        let mut caller = Caller {
            stream,
            requests: Requests::new(client, shared),
            script,
            context: 0,
        };
        let body = EstablishBody {
            scope: codes::SCARD_SCOPE_SYSTEM,
            context: 0,
            rv: 1,
        };
        caller.context = caller.call(RequestCode::EstablishContext, body, &[]).0.context;
        caller
    }

    /// The answer to a request, and what follows it.
    pub fn try_call<B: Body>(
        &mut self,
        command: RequestCode,
        body: B,
        payload: &[u8],
    ) -> Result<(B, Vec<u8>), ClientEnd> {
        let mut request = vec![0; Header::SIZE + B::SIZE];
        body.emit_request(command, Endian::NATIVE, &mut request);
        self.stream.write_all(&[&request, payload].concat()).unwrap();
        self.requests.serve_one()?;
        let mut answer = vec![0; B::SIZE + MAX_PAYLOAD + 1];
        let length = self.stream.read(&mut answer).expect("an answer");
        let body = B::parse(&answer[..length], Endian::NATIVE).expect("a whole answer");
        Ok((body, answer[B::SIZE..length].to_vec()))
    }

    pub fn call<B: Body>(&mut self, command: RequestCode, body: B, payload: &[u8]) -> (B, Vec<u8>) {
        self.try_call(command, body, payload).unwrap()
    }

    pub fn connect(&mut self, name: &[u8]) -> ConnectBody {
        let mut reader = [0; NAME_SIZE];
        reader[..name.len()].copy_from_slice(name);
        let body = ConnectBody {
            context: self.context,
            reader,
            share: codes::SCARD_SHARE_SHARED,
            protocols: 3,
            card: 1,
            active: 9,
            rv: 1,
        };
        self.call(RequestCode::Connect, body, &[]).0
    }
}

/// Runs a test with a client that has established a context.
pub fn with_client(rights: Rights, test: impl FnOnce(&mut Caller<'_>)) {
    let script = Arc::default();
    let shared = shared(&script);
    let (stream, client) = client(&shared, rights);
    test(&mut Caller::new(stream, &client, &shared, &script));
}

pub fn with_card(test: impl FnOnce(&mut Caller<'_>, i32)) {
    with_client(Rights::Full, |caller| {
        let connected = caller.connect(b"Reader (source 2) 00 00");
        caller.script.expect(&["connect Reader 00 00 2 3"]);
        test(caller, connected.card);
    });
}
