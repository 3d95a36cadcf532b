//! A client of pcscd's protocol that sends what a test wants, in any version.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use pcsc_wire::{
    Body, ConnectBody, Endian, EstablishBody, EventBody, Header, Progress, RequestCode, StateBatch,
    TransmitBody, Version, VersionBody, NAME_SIZE, READER_STATE_SIZE,
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
    /// An event that came with the answer to a registration.
    early: Option<EventBody>,
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
            early: None,
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

    /// Registers for the next event, and returns the states: in versions 4.4 and 4.5 they are the answer, in
    /// the others they are requested behind the registration.
    ///
    /// An event that comes before the states, or between their parts, is kept for
    /// [`event`](WireClient::event).
    #[track_caller]
    pub fn wait(&mut self) -> Vec<u8> {
        let batch = StateBatch {
            endian: self.endian,
            version: self.version,
            answered: self.version,
            slots: (!self.version.sends_table_size()).then_some(16),
            wait: true,
            events: false,
        };
        let mut requests = [0; StateBatch::MAX_SIZE];
        let length = batch.emit(&mut requests);
        self.send(&requests[..length]).expect("the connection stands");
        let mut replies = Vec::new();
        loop {
            match batch.parse(&replies) {
                Progress::More(missing) => replies.extend(self.try_receive(missing).expect("an answer")),
                Progress::Done(parsed) => {
                    self.early = parsed.event;
                    return replies[parsed.states].to_vec();
                }
                Progress::OutOfStep(why) => panic!("{why}"),
            }
        }
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
        self.early.take().unwrap_or_else(|| self.receive()).rv
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

#[cfg(test)]
mod tests {
    use super::*;
    use pcsc_wire::{ReaderStateRecord, EVENT_SIZE};

    #[test]
    fn an_event_before_or_behind_the_states_is_kept() {
        const RV: u32 = 7;
        let endian = Endian::NATIVE;
        let reader = ReaderStateRecord {
            name: b"Reader",
            event_counter: 1,
            state: 4,
            sharing: 0,
            atr: b"\x3B\x00",
            protocol: 2,
        };
        let mut states = vec![0; 16 * READER_STATE_SIZE];
        states[..READER_STATE_SIZE].copy_from_slice(&reader.to_bytes(endian));
        let mut event = [0; EVENT_SIZE];
        EventBody { timeout: 0, rv: RV }.emit(endian, &mut event);
        for minor in 2..=6 {
            let version = Version { major: 4, minor };
            let mut size = vec![0; if version.sends_table_size() { 4 } else { 0 }];
            if let Some(size) = size.first_chunk_mut::<4>() {
                endian.write_u32(size, 16);
            }
            let anchor = VersionBody::new(version).to_bytes(endian);
            for parts in [[&event[..], &states], [&states, &event]] {
                let (stream, mut daemon) = UnixStream::pair().unwrap();
                let mut client = WireClient {
                    stream,
                    version,
                    endian,
                    early: None,
                };
                daemon
                    .write_all(&[&size, parts[0], parts[1], &anchor].concat())
                    .unwrap();
                // A read of more fails at once.
                daemon.shutdown(std::net::Shutdown::Write).unwrap();
                assert!(client.wait() == states, "4.{minor}");
                assert_eq!(client.event(), RV, "4.{minor}");
            }
        }
    }
}
