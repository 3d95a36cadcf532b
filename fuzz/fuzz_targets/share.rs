//! The server against clients that send anything, several at a time, with the manager and simulated readers
//! behind it: it answers a further client afterwards, and ends, so no call hangs. A list of actions: which
//! client, what it does, and the fields of its request. Handles and contexts are right where the input wants
//! them. A request may be cut anywhere: other clients send theirs, or the client ends, before the rest of it
//! comes.
#![no_main]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pcsc_fuzz::Input;
use pcsc_share::socket::Socket;
use pcsc_share::{Joined, ManagerSource, Server, ServerOptions, Source};
use pcsc_wire::{
    AttributeBody, BeginTransactionBody, Body, CancelBody, ConnectBody, ControlBody, DisconnectBody,
    EndTransactionBody, Endian, EstablishBody, EventBody, Header, ReconnectBody, ReleaseBody, RequestCode,
    StatusBody, TransmitBody, Version, VersionBody, NAME_SIZE,
};

/// At the TPDU level, and at the APDU level.
const MODELS: &str = "gempc-express,omnikey-3x21";
const READERS: [&[u8]; 3] = [
    b"Gemalto GemPC Express 00 00",
    b"HID Global OMNIKEY 3x21 Smart Card Reader [OMNIKEY 3x21 Smart Card Reader] 01 00",
    b"none",
];
const CLIENTS: usize = 3;
const APDUS: [&[u8]; 3] = [
    &[0; 4],
    &[0x00, 0xB0, 0x00, 0x00, 0x00],
    b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01",
];

/// The listener that all inputs use, and its path.
fn listener() -> &'static (UnixListener, PathBuf) {
    static LISTENER: OnceLock<(UnixListener, PathBuf)> = OnceLock::new();
    LISTENER.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("pcsc-fuzz-{}", std::process::id()));
        // That of an earlier process with this number.
        let _ = std::fs::remove_file(&path);
        (UnixListener::bind(&path).expect("a socket"), path)
    })
}

/// A client, with the answers that it has received.
struct Client {
    stream: UnixStream,
    context: u32,
    card: i32,
    /// How much of the next request is sent at once; `None` for all.
    cut: Option<usize>,
    /// The rest of a request that was cut.
    rest: Vec<u8>,
}

impl Client {
    fn new() -> Client {
        let stream = UnixStream::connect(&listener().1).expect("the server listens");
        // An answer that does not come, such as to a connect that waits for another client, is not waited
        // for.
        let timeout = Some(Duration::from_millis(2));
        stream.set_read_timeout(timeout).expect("a socket");
        stream.set_nonblocking(false).expect("a socket");
        Client {
            stream,
            context: 0,
            card: 0,
            cut: None,
            rest: Vec::new(),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        let cut = self.cut.take().unwrap_or(bytes.len()).min(bytes.len());
        let (now, later) = bytes.split_at(cut);
        self.send_now(now);
        self.rest.extend_from_slice(later);
    }

    /// Sends the rest of a request that was cut.
    fn send_rest(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        self.send_now(&rest);
    }

    fn send_now(&mut self, bytes: &[u8]) {
        self.stream.set_nonblocking(true).expect("a socket");
        // The server may have closed the connection, or its buffer may be full.
        let _ = self.stream.write(bytes);
        self.stream.set_nonblocking(false).expect("a socket");
    }

    fn ask<B: Body>(&mut self, command: RequestCode, body: B, payload: &[u8]) {
        let mut bytes = vec![0; Header::SIZE + B::SIZE];
        body.emit_request(command, Endian::NATIVE, &mut bytes);
        bytes.extend_from_slice(payload);
        self.send(&bytes);
    }

    fn answer<B: Body>(&mut self) -> Option<B> {
        if !self.rest.is_empty() {
            return None;
        }
        let mut bytes = vec![0; B::SIZE];
        self.stream.read_exact(&mut bytes).ok()?;
        B::parse(&bytes, Endian::NATIVE)
    }

    /// Reads what there is.
    fn drain(&mut self) {
        self.stream.set_nonblocking(true).expect("a socket");
        let mut bytes = [0; 4096];
        while matches!(self.stream.read(&mut bytes), Ok(1..)) {}
        self.stream.set_nonblocking(false).expect("a socket");
    }

    fn establish(&mut self) {
        // What is read next is the answer.
        self.drain();
        let body = EstablishBody {
            scope: 2,
            context: 0,
            rv: 0,
        };
        self.ask(RequestCode::EstablishContext, body, &[]);
        self.context = self.answer::<EstablishBody>().map_or(0, |body| body.context);
    }

    fn connect(&mut self, share: u32, protocols: u32) {
        self.drain();
        let mut reader = [0; NAME_SIZE];
        let name = READERS[protocols as usize / 8 % READERS.len()];
        reader[..name.len()].copy_from_slice(name);
        let protocols = protocols % 8;
        let (context, card) = (self.context, 0);
        let body = ConnectBody {
            context,
            reader,
            share,
            protocols,
            card,
            active: 0,
            rv: 0,
        };
        self.ask(RequestCode::Connect, body, &[]);
        if let Some(body) = self.answer::<ConnectBody>().filter(|body| body.rv == 0) {
            self.card = body.card;
        }
    }

    fn act(&mut self, input: &mut Input<'_>) {
        let (kind, one, other) = (input.byte(), u32::from(input.byte()), u32::from(input.byte()));
        let (card, rv) = (self.card, 0);
        match kind % 20 {
            0 => {
                let version = Version {
                    major: 4,
                    minor: (one % 8) as i32,
                };
                self.ask(RequestCode::Version, VersionBody::new(version), &[]);
            }
            1 => self.establish(),
            2 => self.connect(one % 5, other),
            3 => {
                let initialization = one / 8 % 4;
                let body = ReconnectBody {
                    card,
                    share: one % 5,
                    protocols: other % 8,
                    initialization,
                    active: 0,
                    rv,
                };
                self.ask(RequestCode::Reconnect, body, &[]);
            }
            4 => self.ask(
                RequestCode::Disconnect,
                DisconnectBody {
                    card,
                    disposition: one % 5,
                    rv,
                },
                &[],
            ),
            5 => self.ask(
                RequestCode::BeginTransaction,
                BeginTransactionBody { card, rv },
                &[],
            ),
            6 => self.ask(
                RequestCode::EndTransaction,
                EndTransactionBody {
                    card,
                    disposition: one % 5,
                    rv,
                },
                &[],
            ),
            7 | 8 => {
                let apdu = if kind % 20 == 7 {
                    APDUS[one as usize % 3]
                } else {
                    input.piece()
                };
                let body = TransmitBody {
                    card,
                    send_protocol: other % 5,
                    send_pci_length: one,
                    send_length: apdu.len() as u32,
                    receive_protocol: one,
                    receive_pci_length: other,
                    receive_length: other * 300,
                    rv,
                };
                self.ask(RequestCode::Transmit, body, apdu);
            }
            9 => {
                let data = input.piece();
                let (send_length, receive_length) = (data.len() as u32, other * 300);
                let code = 0x4200_0000 + if one < 200 { one * 16 } else { one };
                let body = ControlBody {
                    card,
                    code,
                    send_length,
                    receive_length,
                    returned: 0,
                    rv,
                };
                self.ask(RequestCode::Control, body, data);
            }
            10 => self.ask(RequestCode::Status, StatusBody { card, rv }, &[]),
            11 | 12 => {
                let command = if kind % 20 == 11 {
                    RequestCode::GetAttrib
                } else {
                    RequestCode::SetAttrib
                };
                let body = AttributeBody {
                    card,
                    id: one << 16 | other,
                    value: [1; 264],
                    length: one * 2,
                    rv,
                };
                self.ask(command, body, &[]);
            }
            13 => self.ask(
                RequestCode::ReleaseContext,
                ReleaseBody {
                    context: self.context,
                    rv,
                },
                &[],
            ),
            14 => self.ask(
                RequestCode::Cancel,
                CancelBody {
                    context: self.context as i32,
                    rv,
                },
                &[],
            ),
            15 => {
                let command = [
                    RequestCode::WaitReaderStateChange,
                    RequestCode::StopWaitingReaderStateChange,
                ];
                let command = command[one as usize % 2];
                if other % 2 == 0 {
                    self.send(&Header::new(command, 0).to_bytes(Endian::NATIVE));
                } else {
                    self.ask(command, EventBody { timeout: 0, rv }, &[]);
                }
            }
            16 => {
                let command = RequestCode::from_code(0x12 + one % 6).unwrap_or(RequestCode::GetReadersState);
                self.send(&Header::new(command, 0).to_bytes(Endian::NATIVE));
            }
            17 => self.drain(),
            18 => self.send(input.piece()),
            // The client is gone, and another one comes.
            _ => *self = Client::new(),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let source: Arc<dyn Source> = Arc::new(ManagerSource::simulated(MODELS).expect("readers"));
    let mut options = ServerOptions::default();
    options.limits.clients = 64;
    options.limits.cards = 4;
    let server = Server::start(Joined::numbered([source]), options).expect("a server");
    let socket = Socket::inherited(listener().0.try_clone().expect("a descriptor"));
    let (ender, end) = UnixStream::pair().expect("a pair");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| server.run(socket, &end, None));
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::new()).collect();
        let mut input = Input(data);
        for _ in 0..64 {
            if input.0.is_empty() {
                break;
            }
            let choice = input.byte();
            let client = &mut clients[usize::from(choice) % CLIENTS];
            client.send_rest();
            client.cut = (choice >= 0xC0).then(|| usize::from(input.byte()));
            client.act(&mut input);
        }
        let mut last = Client::new();
        last.stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a socket");
        last.establish();
        assert_ne!(last.context, 0, "the server does not serve a further client");
        drop(ender);
        match thread.join().expect("no panic") {
            Err(error) if error.kind() == ErrorKind::TimedOut => panic!("a call does not end"),
            ended => ended.expect("the server ends"),
        }
    });
});
