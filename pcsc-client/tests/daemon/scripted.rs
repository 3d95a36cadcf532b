//! A daemon that answers from a script.

use std::ffi::CStr;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pcsc_client::{Context, Error};
use pcsc_wire::{self as wire, Body, Endian, EventBody, Header, RequestCode, Version, VersionBody};

pub const READER: &CStr = c"Scripted 00 00";
pub const CARD: i32 = 0x0123_4567;
pub const CONTEXT: u32 = 0x89AB;
pub const ATR: &[u8] = b"\x3B\x80\x01\x81";
/// The count of changes in the reader's state, and that of readers that came or went.
pub const CHANGES: u32 = 7;
pub const READER_EVENTS: u32 = 3;
const SLOTS: usize = 16;
pub const LONG: Duration = Duration::from_secs(60);

/// A request as the daemon has received it.
#[derive(Debug, PartialEq)]
pub struct Request {
    pub command: RequestCode,
    pub body: Vec<u8>,
    pub data: Vec<u8>,
}

impl Request {
    fn parsed<B: Body>(&self, endian: Endian) -> B {
        B::parse(&self.body, endian).unwrap()
    }
}

/// How the daemon answers.
#[derive(Clone, Copy)]
pub struct Script {
    pub version: Version,
    pub endian: Endian,
    /// How often the begin of a transaction meets another one.
    pub busy: usize,
    /// The answer to what follows the handshake is a failure with this code.
    pub failure: u32,
    /// The card goes when the client registers for an event, which is sent at once.
    pub is_removed: bool,
    /// Commands to cards have no answer.
    pub is_silent: bool,
}

/// What tests do to a daemon that runs.
struct World {
    connections: AtomicU32,
    has_reader: AtomicBool,
    has_card: AtomicBool,
    /// The last connection.
    stream: Mutex<Option<UnixStream>>,
}

/// A daemon at a path of its own, and the requests that have come to it.
pub struct Daemon {
    pub script: Script,
    world: Arc<World>,
    folder: PathBuf,
    requests: Receiver<Request>,
}

impl Daemon {
    pub fn start(script: Script) -> Daemon {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("pcsc-daemon-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let listener = UnixListener::bind(folder.join("comm")).unwrap();
        let (sender, requests) = channel();
        let world = Arc::new(World {
            connections: AtomicU32::new(0),
            has_reader: AtomicBool::new(true),
            has_card: AtomicBool::new(true),
            stream: Mutex::default(),
        });
        let of_daemon = world.clone();
        // It ends with the test's process at the latest.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                of_daemon.connections.fetch_add(1, Ordering::SeqCst);
                *of_daemon.stream.lock().unwrap() = Some(stream.try_clone().unwrap());
                // A connection ends when the client closes it.
                let _ = serve(stream, script, &of_daemon, &sender);
                of_daemon.stream.lock().unwrap().take();
            }
        });
        Daemon {
            script,
            world,
            folder,
            requests,
        }
    }

    pub fn of_version(minor: i32) -> Daemon {
        Daemon::start(script(minor))
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("comm")
    }

    pub fn context(&self) -> Context {
        let builder = Context::builder().socket_path(self.socket());
        builder.answer_limit(LONG).establish().unwrap()
    }

    /// How often a client has connected.
    pub fn connections(&self) -> u32 {
        self.world.connections.load(Ordering::SeqCst)
    }

    /// Connects the reader, or disconnects it, of which no client learns.
    pub fn set_reader(&self, is_there: bool) {
        self.world.has_reader.store(is_there, Ordering::SeqCst);
    }

    /// Puts a card in, or takes it away, of which no client learns.
    pub fn set_card(&self, is_there: bool) {
        self.world.has_card.store(is_there, Ordering::SeqCst);
    }

    /// Takes the card away, and sends the event to a client that waits.
    pub fn remove_card(&self) {
        self.set_card(false);
        let event = bytes(EventBody { timeout: 0, rv: 0 }, self.script);
        let stream = self.world.stream.lock().unwrap();
        stream.as_ref().unwrap().write_all(&event).unwrap();
    }

    /// Closes the connection.
    pub fn end_connection(&self) {
        let stream = self.world.stream.lock().unwrap();
        stream.as_ref().unwrap().shutdown(Shutdown::Both).unwrap();
    }

    /// Waits for a request.
    pub fn wait_for(&self, command: RequestCode) {
        while self.requests.recv_timeout(LONG).unwrap().command != command {}
    }

    /// The commands since the last look.
    pub fn commands(&self) -> Vec<RequestCode> {
        self.requests.try_iter().map(|request| request.command).collect()
    }

    /// The only request since the last look.
    pub fn request<B: Body>(&self, command: RequestCode) -> (B, Vec<u8>) {
        let requests: Vec<Request> = self.requests.try_iter().collect();
        let [request] = &requests[..] else {
            panic!("{requests:?}");
        };
        assert_eq!(request.command, command);
        (request.parsed(self.script.endian), request.data.clone())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub fn script(minor: i32) -> Script {
    Script {
        version: Version { major: 4, minor },
        endian: Endian::NATIVE,
        busy: 0,
        failure: 0,
        is_removed: false,
        is_silent: false,
    }
}

/// Reads requests and answers them until the client closes the connection.
fn serve(
    mut stream: UnixStream,
    mut script: Script,
    world: &World,
    sender: &Sender<Request>,
) -> std::io::Result<()> {
    let endian = script.endian;
    let mut is_registered = false;
    loop {
        let mut header = [0; Header::SIZE];
        stream.read_exact(&mut header)?;
        let header = Header::parse(&header, endian).unwrap();
        // The command is unknown to a daemon of the other byte order, which closes the connection.
        let Some(command) = RequestCode::from_code(header.command) else {
            return Ok(());
        };
        let mut body = vec![0; header.size as usize];
        stream.read_exact(&mut body)?;
        let length = match command {
            RequestCode::Transmit => wire::TransmitBody::parse(&body, endian).unwrap().send_length,
            RequestCode::Control => wire::ControlBody::parse(&body, endian).unwrap().send_length,
            _ => 0,
        };
        let mut data = vec![0; length as usize];
        stream.read_exact(&mut data)?;
        let request = Request { command, body, data };
        let answer = answer(&request, &mut script, world, &mut is_registered);
        // An event does not precede the answer.
        let _sending = world.stream.lock().unwrap();
        // Before the answer: a test that has received the answer finds the request.
        let _ = sender.send(request);
        stream.write_all(&answer)?;
    }
}

fn states(script: Script, world: &World, slots: usize) -> Vec<u8> {
    let has_card = world.has_card.load(Ordering::SeqCst);
    let state = wire::ReaderStateRecord {
        name: READER.to_bytes(),
        event_counter: CHANGES,
        state: if has_card { 0x34 } else { 2 },
        sharing: 2,
        atr: if has_card { ATR } else { b"" },
        protocol: 2,
    };
    let mut states = state.to_bytes(script.endian).to_vec();
    if !world.has_reader.load(Ordering::SeqCst) {
        states.clear();
    }
    states.resize(slots * wire::READER_STATE_SIZE, 0);
    states
}

fn bytes<B: Body>(body: B, script: Script) -> Vec<u8> {
    let mut bytes = vec![0; B::SIZE];
    body.emit(script.endian, &mut bytes);
    bytes
}

/// The bytes of an answer. An exchange gives its data back in reverse.
fn answer(request: &Request, script: &mut Script, world: &World, is_registered: &mut bool) -> Vec<u8> {
    let (endian, version, rv) = (script.endian, script.version, script.failure);
    let mut reversed = request.data.clone();
    reversed.reverse();
    match request.command {
        RequestCode::Version => {
            let asked: VersionBody = request.parsed(endian);
            let is_ours = asked.version() == version;
            let rv = if is_ours { 0 } else { Error::ServiceStopped.code() };
            let ours = VersionBody::new(version);
            bytes(VersionBody { rv, ..ours }, *script)
        }
        RequestCode::EstablishContext => {
            let body: wire::EstablishBody = request.parsed(endian);
            let context = CONTEXT;
            bytes(wire::EstablishBody { context, ..body }, *script)
        }
        RequestCode::ReleaseContext => bytes(request.parsed::<wire::ReleaseBody>(endian), *script),
        RequestCode::GetReadersState => states(*script, world, SLOTS),
        RequestCode::GetReadersStateSize => {
            let mut size = [0; 4];
            endian.write_u32(&mut size, 1);
            size.to_vec()
        }
        RequestCode::GetReadersStateArray => states(*script, world, 1),
        RequestCode::GetReaderEvents => {
            let events = READER_EVENTS;
            bytes(wire::ReaderEventsBody { events, rv: 0 }, *script)
        }
        RequestCode::WaitReaderStateChange => {
            let mut answer = match version.waits_with_body() || version.sends_table_size() {
                true => Vec::new(),
                false => states(*script, world, SLOTS),
            };
            *is_registered = !std::mem::take(&mut script.is_removed);
            if !*is_registered {
                world.has_card.store(false, Ordering::SeqCst);
                answer.extend(bytes(EventBody { timeout: 0, rv: 0 }, *script));
            }
            answer
        }
        RequestCode::StopWaitingReaderStateChange => {
            assert!(std::mem::take(is_registered), "it has not registered");
            bytes(EventBody { timeout: 0, rv: 0 }, *script)
        }
        RequestCode::Connect => {
            let body: wire::ConnectBody = request.parsed(endian);
            let (card, active) = (CARD, 2);
            bytes(
                wire::ConnectBody {
                    card,
                    active,
                    rv,
                    ..body
                },
                *script,
            )
        }
        RequestCode::Reconnect => {
            let body: wire::ReconnectBody = request.parsed(endian);
            bytes(
                wire::ReconnectBody {
                    active: 1,
                    rv,
                    ..body
                },
                *script,
            )
        }
        RequestCode::Disconnect => {
            let body: wire::DisconnectBody = request.parsed(endian);
            bytes(wire::DisconnectBody { rv, ..body }, *script)
        }
        RequestCode::BeginTransaction => {
            let body: wire::BeginTransactionBody = request.parsed(endian);
            let is_busy = script.busy > 0;
            script.busy = script.busy.saturating_sub(1);
            let rv = if is_busy {
                Error::SharingViolation.code()
            } else {
                rv
            };
            bytes(wire::BeginTransactionBody { rv, ..body }, *script)
        }
        RequestCode::EndTransaction => {
            let body: wire::EndTransactionBody = request.parsed(endian);
            bytes(wire::EndTransactionBody { rv, ..body }, *script)
        }
        RequestCode::Status => {
            let body: wire::StatusBody = request.parsed(endian);
            bytes(wire::StatusBody { rv, ..body }, *script)
        }
        RequestCode::Transmit if script.is_silent => Vec::new(),
        RequestCode::Transmit => {
            let body: wire::TransmitBody = request.parsed(endian);
            let length = body.send_length;
            let fits = length <= body.receive_length;
            let short = if fits { 0 } else { Error::InsufficientBuffer.code() };
            let rv = if rv == 0 { short } else { rv };
            let body = wire::TransmitBody {
                receive_length: length,
                rv,
                ..body
            };
            let response = if rv == 0 { reversed } else { Vec::new() };
            [bytes(body, *script), response].concat()
        }
        RequestCode::Control => {
            let body: wire::ControlBody = request.parsed(endian);
            let returned = body.send_length;
            let answer = if rv == 0 { reversed } else { Vec::new() };
            [bytes(wire::ControlBody { returned, rv, ..body }, *script), answer].concat()
        }
        RequestCode::GetAttrib => {
            let mut body: wire::AttributeBody = request.parsed(endian);
            body.value[..4].copy_from_slice(b"\x01\x02\x03\x04");
            bytes(
                wire::AttributeBody {
                    length: 4,
                    rv,
                    ..body
                },
                *script,
            )
        }
        RequestCode::SetAttrib => {
            let body: wire::AttributeBody = request.parsed(endian);
            bytes(wire::AttributeBody { rv, ..body }, *script)
        }
        RequestCode::Cancel => panic!("our client does not send it"),
    }
}
