//! A client of pcscd's protocol that sends what a test wants, in any version.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use pcsc_wire::{
    Body, ConnectBody, Endian, EstablishBody, EventBody, Header, RequestCode, TransmitBody, Version,
    VersionBody, NAME_SIZE, READER_STATE_SIZE,
};

use rustix::event::{poll, PollFd, PollFlags, Timespec};

/// How long an answer may take. A test that waits this long fails instead of hanging.
const LIMIT: Duration = Duration::from_secs(120);

/// A connection to a daemon.
///
/// Its methods panic where the daemon closes the connection or does not answer, unless they return a result.
#[derive(Debug)]
pub struct WireClient {
    stream: UnixStream,
    version: Version,
    endian: Endian,
}

impl WireClient {
    /// A connection on which nothing was sent.
    ///
    /// # Panics
    /// If there is no daemon.
    #[track_caller]
    pub fn open(socket: &Path) -> WireClient {
        let stream = UnixStream::connect(socket).expect("a daemon at the socket");
        stream.set_read_timeout(Some(LIMIT)).expect("a socket");
        WireClient {
            stream,
            version: Version::NEWEST,
            endian: Endian::NATIVE,
        }
    }

    /// A connection that speaks version 4.`minor`.
    ///
    /// # Panics
    /// If the daemon does not answer with this version.
    #[track_caller]
    pub fn connect(socket: &Path, minor: i32) -> WireClient {
        let mut client = WireClient::open(socket);
        client.greet(minor);
        client
    }

    #[track_caller]
    fn greet(&mut self, minor: i32) {
        self.version = Version { major: 4, minor };
        let asked = VersionBody::new(self.version);
        assert_eq!(self.call(RequestCode::Version, asked), asked);
    }

    /// A connection of a client on a machine of the other byte order.
    ///
    /// # Panics
    /// As [`WireClient::connect`].
    #[track_caller]
    pub fn connect_swapped(socket: &Path, minor: i32) -> WireClient {
        let mut client = WireClient::open(socket);
        client.endian = Endian::NATIVE.other();
        client.greet(minor);
        client
    }

    /// The byte order.
    pub fn endian(&self) -> Endian {
        self.endian
    }

    /// The socket.
    pub fn stream(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The system's, where the connection has ended.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a request without a body.
    #[track_caller]
    pub fn request(&mut self, command: RequestCode) {
        let header = Header::new(command, 0).to_bytes(self.endian);
        self.send(&header).expect("the connection stands");
    }

    /// Sends a request.
    #[track_caller]
    pub fn ask<B: Body>(&mut self, command: RequestCode, body: B) {
        let mut bytes = vec![0; Header::SIZE + B::SIZE];
        body.emit_request(command, self.endian, &mut bytes);
        self.send(&bytes).expect("the connection stands");
    }

    /// Receives this number of bytes.
    ///
    /// # Errors
    /// The system's, where the connection has ended.
    pub fn try_receive(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Receives the body of an answer.
    #[track_caller]
    pub fn receive<B: Body>(&mut self) -> B {
        let bytes = self.try_receive(B::SIZE).expect("an answer");
        B::parse(&bytes, self.endian).expect("a whole body")
    }

    /// Makes a call whose answer is a body.
    #[track_caller]
    pub fn call<B: Body>(&mut self, command: RequestCode, body: B) -> B {
        self.ask(command, body);
        self.receive()
    }

    /// Establishes a context, and returns its number.
    #[track_caller]
    pub fn establish(&mut self) -> u32 {
        let answer = self.call(
            RequestCode::EstablishContext,
            EstablishBody {
                scope: 2,
                context: 0,
                rv: 0,
            },
        );
        assert_eq!(answer.rv, 0);
        answer.context
    }

    /// Connects to a card with these terms. Returns the answer, whatever its code is.
    #[track_caller]
    pub fn connect_card(&mut self, context: u32, reader: &str, share: u32) -> ConnectBody {
        let mut name = [0; NAME_SIZE];
        name[..reader.len()].copy_from_slice(reader.as_bytes());
        self.call(
            RequestCode::Connect,
            ConnectBody {
                context,
                reader: name,
                share,
                protocols: 3,
                card: 0,
                active: 0,
                rv: 0,
            },
        )
    }

    /// Sends an APDU over T=1. Returns the code and the response.
    #[track_caller]
    pub fn transmit(&mut self, card: i32, command: &[u8]) -> (u32, Vec<u8>) {
        self.ask_transmit(card, command);
        self.transmitted()
    }

    /// Sends an APDU over T=1, and does not wait for the response.
    #[track_caller]
    pub fn ask_transmit(&mut self, card: i32, command: &[u8]) {
        let body = TransmitBody {
            card,
            send_protocol: 2,
            send_pci_length: 16,
            send_length: command.len() as u32,
            receive_protocol: 3,
            receive_pci_length: 16,
            receive_length: 300,
            rv: 0,
        };
        // In one write: a test may limit the time of a message to less than a pause between two writes.
        let mut bytes = vec![0; Header::SIZE + TransmitBody::SIZE];
        body.emit_request(RequestCode::Transmit, self.endian, &mut bytes);
        bytes.extend_from_slice(command);
        self.send(&bytes).expect("the connection stands");
    }

    /// Receives the answer to [`ask_transmit`](WireClient::ask_transmit).
    #[track_caller]
    pub fn transmitted(&mut self) -> (u32, Vec<u8>) {
        let answer: TransmitBody = self.receive();
        let length = if answer.rv == 0 { answer.receive_length } else { 0 };
        let response = self.try_receive(length as usize).expect("a response");
        (answer.rv, response)
    }

    /// The reader states, in the way of the version.
    #[track_caller]
    pub fn states(&mut self) -> Vec<u8> {
        let count = if self.version.sends_table_size() {
            self.request(RequestCode::GetReadersStateSize);
            let size = self.try_receive(4).expect("a size");
            self.request(RequestCode::GetReadersStateArray);
            self.endian.read_u32(&size) as usize
        } else {
            self.request(RequestCode::GetReadersState);
            16
        };
        self.try_receive(count * READER_STATE_SIZE)
            .expect("reader states")
    }

    /// Registers for the next event. Returns the states, which are in the answer in versions 4.4 and 4.5.
    #[track_caller]
    pub fn wait(&mut self) -> Vec<u8> {
        if self.version.waits_with_body() {
            self.ask(
                RequestCode::WaitReaderStateChange,
                EventBody { timeout: 0, rv: 0 },
            );
            return self.states();
        }
        self.request(RequestCode::WaitReaderStateChange);
        if self.version.sends_table_size() {
            return self.states();
        }
        self.try_receive(16 * READER_STATE_SIZE).expect("reader states")
    }

    /// Ends a registration. One event follows in any case.
    #[track_caller]
    pub fn stop(&mut self) {
        if self.version.waits_with_body() {
            self.ask(
                RequestCode::StopWaitingReaderStateChange,
                EventBody { timeout: 0, rv: 0 },
            );
        } else {
            self.request(RequestCode::StopWaitingReaderStateChange);
        }
    }

    /// Receives an event, and returns its code.
    #[track_caller]
    pub fn event(&mut self) -> u32 {
        self.receive::<EventBody>().rv
    }

    /// Checks that the daemon has sent nothing else: the answer to a further request follows.
    #[track_caller]
    pub fn is_in_step(&mut self) {
        let asked = VersionBody::new(self.version);
        assert_eq!(self.call(RequestCode::Version, asked), asked, "out of step");
    }

    /// Waits until the daemon has closed the connection, and returns whether it did in time. Answers that
    /// come before are skipped.
    pub fn is_closed(&mut self) -> bool {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => (),
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }

    /// Waits until the daemon has closed the connection, and reads nothing. Returns whether it did in time.
    pub fn hangs_up(&self) -> bool {
        let timeout = Timespec::try_from(LIMIT).expect("a short time");
        let mut polled = [PollFd::new(&self.stream, PollFlags::empty())];
        matches!(poll(&mut polled, Some(&timeout)), Ok(1))
    }
}
