//! Clients that take too much, send nonsense or are slow, and what the others notice.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use pcsc_constants::{
    SCARD_ATTR_DEVICE_SYSTEM_NAME, SCARD_E_INSUFFICIENT_BUFFER, SCARD_E_NO_MEMORY, SCARD_SHARE_SHARED,
};
use pcsc_share::socket::{Access, Socket};
use pcsc_share::{Joined, Limits, ManagerSource, Server, ServerOptions, Source};
use pcsc_tests::{Share, WireClient};
use pcsc_wire::{
    AttributeBody, Body, ControlBody, DisconnectBody, Endian, Header, RequestCode, TransmitBody,
};

const READER: &str = "pcsc-rs Simulated Reader 00 00";

/// A server in this process, with the bundled reader.
struct Served {
    socket: PathBuf,
    _folder: tempfile::TempDir,
    ender: Option<UnixStream>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Served {
    fn start(limits: Limits) -> Served {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pcscd.comm");
        let socket = Socket::bind(&path, Access::new(0o600)).expect("a socket");
        let source: Arc<dyn Source> = Arc::new(ManagerSource::simulated("").expect("a reader"));
        let mut options = ServerOptions::default();
        options.limits = limits;
        let (ender, end) = UnixStream::pair().expect("a pair");
        let thread = std::thread::spawn(move || {
            Server::start(Joined::numbered([source]), options)?.run(socket, &end, None)
        });
        Served {
            socket: path,
            _folder: folder,
            ender: Some(ender),
            thread: Some(thread),
        }
    }

    /// A client with a connection to the card.
    fn connected(&self) -> (WireClient, i32) {
        let mut client = WireClient::connect(&self.socket, 4);
        let context = client.establish();
        let connected = client.connect_card(context, READER, SCARD_SHARE_SHARED);
        assert_eq!(connected.rv, 0);
        (client, connected.card)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.ender.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended
                .expect("a thread")
                .expect("no panic")
                .expect("the server ends");
        }
    }
}

#[test]
fn nonsense_ends_the_connection_of_its_client_alone() {
    let served = Served::start(Limits::default());
    let (mut bystander, bystanders) = served.connected();
    let raw = |size: u32, command: u32| Header { size, command }.to_bytes(Endian::NATIVE);
    for header in [
        raw(u32::MAX, RequestCode::EstablishContext as u32),
        raw(11, RequestCode::EstablishContext as u32),
        raw(0, RequestCode::Transmit as u32),
        raw(12, 0),
        raw(12, 0x18),
        raw(u32::MAX, u32::MAX),
    ] {
        let mut client = WireClient::connect(&served.socket, 4);
        client.send(&header).expect("the connection stands");
        assert!(client.is_closed(), "{header:?}");
    }
    for send_length in [65_549, u32::MAX] {
        let (mut client, card) = served.connected();
        let body = TransmitBody {
            card,
            send_protocol: 2,
            send_pci_length: 16,
            send_length,
            receive_protocol: 0,
            receive_pci_length: 16,
            receive_length: u32::MAX,
            rv: 0,
        };
        client.ask(RequestCode::Transmit, body);
        assert!(client.is_closed(), "transmit of {send_length}");
        let (mut client, card) = served.connected();
        let body = ControlBody {
            card,
            code: 1,
            send_length,
            receive_length: u32::MAX,
            returned: 0,
            rv: 0,
        };
        client.ask(RequestCode::Control, body);
        assert!(client.is_closed(), "control of {send_length}");
    }
    for command in [RequestCode::GetAttrib, RequestCode::SetAttrib] {
        let (mut client, card) = served.connected();
        let body = AttributeBody {
            card,
            id: 0,
            value: [0; 264],
            length: 265,
            rv: 0,
        };
        client.ask(command, body);
        assert!(client.is_closed(), "{command:?}");
    }
    assert_eq!(bystander.transmit(bystanders, &[0; 4]).0, 0);
}

#[test]
fn an_attribute_that_does_not_fit_has_a_length() {
    let served = Served::start(Limits::default());
    let (mut client, card) = served.connected();
    let needed = READER.len() as u32 + 1;
    for (length, rv) in [
        (0, SCARD_E_INSUFFICIENT_BUFFER),
        (needed - 1, SCARD_E_INSUFFICIENT_BUFFER),
        (needed, 0),
    ] {
        let body = AttributeBody {
            card,
            id: SCARD_ATTR_DEVICE_SYSTEM_NAME,
            value: [0; 264],
            length,
            rv: 0,
        };
        let got = client.call(RequestCode::GetAttrib, body);
        assert_eq!((got.rv, got.length), (rv, needed), "room for {length}");
    }
}

/// Whether a client is closed before its message is complete, whose bytes come one after another, each in
/// less than the patience of 300 ms. The whole message takes half a minute.
fn is_closed_while_it_drips(served: &Served) -> bool {
    let header = Header::new(RequestCode::SetAttrib, AttributeBody::SIZE).to_bytes(Endian::NATIVE);
    let mut client = WireClient::connect(&served.socket, 4);
    let interval = Some(Duration::from_millis(100));
    client.stream().set_read_timeout(interval).expect("a socket");
    let message = header.into_iter().chain([0; AttributeBody::SIZE]);
    message.into_iter().any(|byte| {
        let is_sent = client.send(&[byte]).is_ok();
        // A read that times out is the pause before the next byte.
        !is_sent || matches!(client.stream().read(&mut [0]), Ok(0))
    })
}

#[test]
fn slow_clients_are_closed_and_keep_nobody_waiting() {
    let mut limits = Limits::default();
    limits.patience = Duration::from_millis(300);
    let served = Served::start(limits);
    let (mut bystander, bystanders) = served.connected();
    let mut half = WireClient::connect(&served.socket, 4);
    half.send(&[12, 0]).expect("the connection stands");
    // As many requests as there is room for, and no answer is read.
    let mut greedy = WireClient::connect(&served.socket, 4);
    let request = Header::new(RequestCode::GetReadersState, 0).to_bytes(Endian::NATIVE);
    greedy.stream().set_nonblocking(true).expect("a socket");
    loop {
        match greedy.send(&request) {
            Ok(()) => (),
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::BrokenPipe),
                    "{error}"
                );
                break;
            }
        }
    }
    greedy.stream().set_nonblocking(false).expect("a socket");
    assert_eq!(bystander.transmit(bystanders, &[0; 4]).0, 0);
    assert!(half.is_closed());
    assert!(
        is_closed_while_it_drips(&served),
        "a byte renews the time of its message"
    );
    // Without reading, which would make room.
    assert!(greedy.hangs_up());
    // One that is silent between messages is left alone.
    assert_eq!(bystander.transmit(bystanders, &[0; 4]).0, 0);
}

#[test]
fn clients_and_connections_are_limited() {
    let mut limits = Limits::default();
    (limits.clients, limits.cards) = (2, 2);
    let served = Served::start(limits);
    let (mut one, first) = served.connected();
    let _two = WireClient::connect(&served.socket, 4);
    assert!(WireClient::open(&served.socket).is_closed());
    let context = one.establish();
    assert_eq!(one.connect_card(context, READER, SCARD_SHARE_SHARED).rv, 0);
    for _ in 0..3 {
        assert_eq!(
            one.connect_card(context, READER, SCARD_SHARE_SHARED).rv,
            SCARD_E_NO_MEMORY
        );
    }
    let body = DisconnectBody {
        card: first,
        disposition: 0,
        rv: 0,
    };
    assert_eq!(one.call(RequestCode::Disconnect, body).rv, 0);
    assert_eq!(one.connect_card(context, READER, SCARD_SHARE_SHARED).rv, 0);
}

#[test]
fn the_log_names_the_client_that_finds_no_place() {
    let (user, process) = (rustix::process::getuid().as_raw(), std::process::id());
    let share = Share::start_with(&["--max-clients", "2", "sim:"]);
    // A client from the start of the server may still have a place. Three of these have none at once.
    let _clients = [(); 3].map(|()| WireClient::open(&share.socket()));
    // The user who runs the server may take all places.
    share.wait_for_log(&format!(
        "pcsc: error: a client is refused: user {user} (process {process}): there are 2 clients already, or \
         2 of user {user}"
    ));
}

#[test]
fn the_log_names_the_client_that_has_all_its_connections() {
    let (user, process) = (rustix::process::getuid().as_raw(), std::process::id());
    let share = Share::start_with(&["--max-cards", "2", "sim:"]);
    let mut client = WireClient::connect(&share.socket(), 4);
    let context = client.establish();
    let connected = [(); 3].map(|()| client.connect_card(context, READER, SCARD_SHARE_SHARED).rv);
    assert_eq!(connected, [0, 0, SCARD_E_NO_MEMORY]);
    // The number depends on how many clients the start of the server took.
    let log = share.log();
    let line = log.lines().find(|line| line.starts_with("pcsc: warn: client "));
    let who = line.and_then(|line| line.split_once(" of "));
    let expected = format!("user {user} (process {process}): it has 2 connections to cards already");
    assert_eq!(who.map(|(_, who)| who), Some(expected.as_str()), "{log}");
}
