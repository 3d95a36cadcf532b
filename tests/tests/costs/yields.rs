//! Who receives the first piece of a message yields the processor before it sleeps: the sender, which it has
//! interrupted, then sends the rest. Both ends are threads of one process under strace.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use pcsc_client::{Context, Protocols, ShareMode};
use pcsc_share::{socket, Joined, Server, ServerOptions};
use pcsc_tests::scripted::{Script, Scripted};
use pcsc_tests::{run, WireClient};
use pcsc_wire::{Body, EstablishBody, Header, RequestCode, TransmitBody};

/// Whether messages are sent in pieces, in the process under strace.
const IN_PIECES: &str = "PCSC_TESTS_IN_PIECES";

/// The name of the threads that receive.
const RECEIVER: &str = "pcsc-client";

/// How a message is sent.
#[derive(Clone, Copy)]
enum Sent {
    Whole,
    InPieces,
}

impl Sent {
    /// How the process under strace is to send. `None` in the test's own process.
    fn of_this_process() -> Option<Sent> {
        match env::var(IN_PIECES).ok()?.as_str() {
            "no" => Some(Sent::Whole),
            _ => Some(Sent::InPieces),
        }
    }

    /// Sends a message. Its second piece begins behind `at` bytes, and follows when the other end has
    /// received the first one, which so needs another system call.
    fn send(self, stream: &mut UnixStream, message: &[u8], at: usize) {
        let first = match self {
            Sent::Whole => message.len(),
            Sent::InPieces => at.min(message.len()),
        };
        stream.write_all(&message[..first]).unwrap();
        while first < message.len() && unread(stream) > 0 {
            // Not a yield, which the trace would show.
            std::hint::spin_loop();
        }
        stream.write_all(&message[first..]).unwrap();
    }
}

/// What of the bytes sent the other end has not yet received. Its unit is the kernel's own.
fn unread(stream: &UnixStream) -> libc::c_int {
    let mut count = 0;
    // SAFETY: TIOCOUTQ (on a socket SIOCOUTQ) writes an int.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &mut count) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    count
}

/// The number of yields of the receivers in the test of this name.
fn yields(test: &str, in_pieces: &str) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "--decode-pids=comm", "-e", "trace=sched_yield", "-o"])
        .arg(&trace)
        .arg(env::current_exe().unwrap())
        .args(["--exact", test])
        .env(IN_PIECES, in_pieces);
    run(&mut command, Duration::from_secs(120)).stdout();
    let trace = fs::read_to_string(trace).unwrap();
    let is_receiver = |line: &&str| line.contains(RECEIVER) && line.contains("sched_yield()");
    trace.lines().filter(is_receiver).count()
}

/// A yield that takes long is the last one for a second, and under strace each may: so there is one, or more.
#[track_caller]
fn only_pieces_cost_a_yield(test: &str) {
    assert_eq!(yields(test, "no"), 0, "messages are sent whole");
    assert!(yields(test, "yes") > 0, "messages are sent in pieces");
}

/// Passes on what a client and a daemon send each other: what follows the body of an answer
/// to SCardTransmit is a piece of its own.
fn relay(listener: &UnixListener, daemon: &Path, sent: Sent) {
    let (mut client, _) = listener.accept().unwrap();
    let mut daemon = UnixStream::connect(daemon).unwrap();
    let (mut from, mut to) = (client.try_clone().unwrap(), daemon.try_clone().unwrap());
    let requests = thread::spawn(move || {
        std::io::copy(&mut from, &mut to).unwrap();
        to.shutdown(Shutdown::Both).unwrap();
    });
    let mut bytes = [0; 65_536];
    loop {
        let got = daemon.read(&mut bytes).unwrap();
        if got == 0 {
            break;
        }
        sent.send(&mut client, &bytes[..got], TransmitBody::SIZE);
    }
    requests.join().unwrap();
}

#[test]
fn a_client_yields_for_an_answer_in_pieces() {
    let Some(sent) = Sent::of_this_process() else {
        return only_pieces_cost_a_yield("yields::a_client_yields_for_an_answer_in_pieces");
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("comm");
    let listener = UnixListener::bind(&path).unwrap();
    let daemon = Scripted::start(Script::new(4));
    let scripted = daemon.path().to_owned();
    let relay = thread::spawn(move || relay(&listener, &scripted, sent));
    let transmit = move || {
        let context = Context::builder().socket_path(&path).establish()?;
        let card = context.connect(c"Scripted 00", ShareMode::Shared, Protocols::ANY)?;
        let response = card
            .transmit(&[0x00, 0xA4, 0x04, 0x00], &mut [0; 258])
            .map(|response| response.len());
        assert!(response? > 0);
        Ok::<(), Box<dyn Error + Send + Sync>>(())
    };
    let client = thread::Builder::new().name(RECEIVER.into()).spawn(transmit);
    client.unwrap().join().unwrap().unwrap();
    relay.join().unwrap();
}

#[test]
fn a_server_yields_for_a_request_in_pieces() {
    let Some(sent) = Sent::of_this_process() else {
        return only_pieces_cost_a_yield("yields::a_server_yields_for_a_request_in_pieces");
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("comm");
    let server = Server::start(Joined::numbered([]), ServerOptions::default()).unwrap();
    let socket = socket::Socket::bind(&path, socket::Access::new(0o600)).unwrap();
    let (ender, end) = UnixStream::pair().unwrap();
    let server = thread::spawn(move || server.run(socket, &end, None));
    ask(&path, sent);
    (&ender).write_all(&[0]).unwrap();
    server.join().unwrap().unwrap();
}

/// Establishes a context.
fn ask(socket: &Path, sent: Sent) {
    let mut client = WireClient::connect(socket, 4);
    let body = EstablishBody {
        scope: 2,
        context: 0,
        rv: 0,
    };
    let mut request = [0; Header::SIZE + EstablishBody::SIZE];
    body.emit_request(RequestCode::EstablishContext, client.endian(), &mut request);
    sent.send(client.stream(), &request, Header::SIZE);
    let answer: EstablishBody = client.receive();
    assert_eq!(answer.rv, 0);
}
