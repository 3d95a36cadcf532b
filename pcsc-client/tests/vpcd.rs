//! Virtual cards that connect over TCP, as they do to vsmartcard's driver: good ones, and ones that break the
//! protocol.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use pcsc_client::sim::{CardPort, Simulation};
use pcsc_client::{Attribute, Card, Context, Disposition, Error, Protocols, ReaderState, ShareMode, State};

const ATR: &[u8] = b"\x3B\x80\x01\x81";
const COMMAND: &[u8] = b"\x00\xB0\x00\x00\x00";
const OK: &[u8] = b"\x90\x00";
/// Generous: many tests share few processors.
const LIMIT: Duration = Duration::from_secs(60);

struct Stage {
    _bus: Simulation,
    port: CardPort,
    context: Context,
}

impl Stage {
    fn start() -> Stage {
        let bus = Simulation::new();
        let port = bus.listen((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let context = bus.context().unwrap();
        Stage {
            _bus: bus,
            port,
            context,
        }
    }

    /// A card's end of a connection.
    fn insert(&self) -> VirtualCard {
        let stream = TcpStream::connect(self.port.address()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        VirtualCard { stream }
    }

    /// Waits until the reader's state has all of these bits.
    fn wait_for(&self, state: State) {
        let mut states = [ReaderState::new(self.port.name(), State::UNAWARE)];
        let deadline = Instant::now() + LIMIT;
        loop {
            self.context
                .get_status_change(deadline.saturating_duration_since(Instant::now()), &mut states)
                .unwrap_or_else(|error| panic!("no {state:?}: {error}"));
            if states[0].event_state().contains(state) {
                return;
            }
            states[0].sync_current_state();
        }
    }

    fn connect(&self) -> Result<Card, Error> {
        self.context
            .connect(self.port.name(), ShareMode::Shared, Protocols::ANY)
    }

    /// A card that answers all that it is asked.
    fn insert_good_card(&self) -> Program {
        let card = self.insert();
        Program {
            stream: card.stream.try_clone().unwrap(),
            thread: thread::spawn(move || card.serve()),
        }
    }

    /// The same, and a connection to it.
    fn with_good_card(&self) -> (Card, Program) {
        let program = self.insert_good_card();
        self.wait_for(State::PRESENT);
        (self.connect().unwrap(), program)
    }
}

/// A card in a thread of its own.
struct Program {
    stream: TcpStream,
    thread: thread::JoinHandle<Vec<Vec<u8>>>,
}

impl Program {
    /// Removes the card. Returns what it was asked.
    fn end(self) -> Vec<Vec<u8>> {
        self.stream.shutdown(Shutdown::Both).unwrap();
        self.thread.join().unwrap()
    }
}

/// A card that a test plays.
struct VirtualCard {
    stream: TcpStream,
}

impl VirtualCard {
    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 2];
        self.stream.read_exact(&mut length)?;
        let mut message = vec![0; u16::from_be_bytes(length).into()];
        self.stream.read_exact(&mut message)?;
        Ok(message)
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let length = (message.len() as u16).to_be_bytes();
        self.stream.write_all(&[&length, message].concat())
    }

    /// Answers requests for the ATR until there is another one, which it returns.
    fn power(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match &self.receive()?[..] {
                [4] => self.send(ATR)?,
                [0..=2] => (),
                other => return Ok(other.to_vec()),
            }
        }
    }

    /// Answers all commands with their own bytes. Returns what it was asked.
    fn serve(mut self) -> Vec<Vec<u8>> {
        let mut asked = Vec::new();
        while let Ok(message) = self.receive() {
            let answer = match &message[..] {
                [4] => ATR,
                [_] => &[],
                command => command,
            };
            if !answer.is_empty() && self.send(answer).is_err() {
                break;
            }
            asked.push(message);
        }
        asked
    }
}

fn exchange(card: &Card, command: &[u8]) -> Result<Vec<u8>, Error> {
    let mut response = vec![0; 70_000];
    Ok(card.transmit(command, &mut response)?.to_vec())
}

#[test]
fn a_program_is_a_card_while_it_is_connected() {
    let stage = Stage::start();
    assert_eq!(stage.port.name(), c"Virtual PCD 00 00");
    assert!(stage.port.address().ip().is_loopback());
    assert_eq!(stage.connect().err(), Some(Error::NoSmartcard));
    // No wait for the card precedes the connection: it asks for the card itself.
    let program = stage.insert_good_card();
    let mut card = stage.connect().unwrap();
    assert_eq!(card.get_attribute_owned(Attribute::AtrString).unwrap(), ATR);
    for length in [2, 5, 261, 4096, 0xFFFF] {
        let command: Vec<u8> = (0..length).map(|at| at as u8).collect();
        assert_eq!(exchange(&card, &command), Ok(command));
    }
    // What is no command, or does not fit, is not sent.
    for command in [&[][..], &[0], &[4], &[0; 0x1_0000]] {
        let failed = exchange(&card, command);
        assert!(failed.is_err(), "{} bytes: {failed:?}", command.len());
    }
    card.reconnect(ShareMode::Shared, Protocols::ANY, Disposition::ResetCard)
        .unwrap();
    card.disconnect(Disposition::UnpowerCard).unwrap();
    drop(stage);
    let asked = program.thread.join().unwrap();
    // The reader's thread powers a new card up, and a card that is not used off again: it may have done so
    // before the connection, on a machine that is busy.
    let (before, asked) = asked.split_at(asked.len() - 10);
    assert!(
        before.chunks(3).all(|unused| unused == [[1], [4], [0]]),
        "{before:?}"
    );
    let lengths: Vec<usize> = asked.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1, 1, 2, 5, 261, 4096, 0xFFFF, 1, 1, 1]);
    let controls: Vec<u8> = asked.iter().filter(|m| m.len() == 1).map(|m| m[0]).collect();
    // On and ATR, reset and ATR, off.
    assert_eq!(controls, [1, 4, 2, 4, 0]);
}

#[test]
fn a_card_that_ends_in_the_middle_of_a_command_is_removed() {
    let stage = Stage::start();
    // Without an answer, with a part of its length, with a part of the answer.
    for part in [&[][..], &[0], &[0, 9], &[0, 9, 1, 2]] {
        let mut program = stage.insert();
        let program = thread::spawn(move || {
            assert_eq!(program.power().unwrap(), COMMAND);
            program.stream.write_all(part).unwrap();
        });
        stage.wait_for(State::PRESENT);
        let card = stage.connect().unwrap();
        assert_eq!(exchange(&card, COMMAND), Err(Error::NotTransacted));
        program.join().unwrap();
        stage.wait_for(State::EMPTY);
        assert_eq!(exchange(&card, COMMAND), Err(Error::RemovedCard));
        // The next card is as good as any.
        let (card, program) = stage.with_good_card();
        assert_eq!(exchange(&card, COMMAND), Ok(COMMAND.to_vec()));
        program.end();
        stage.wait_for(State::EMPTY);
    }
}

#[test]
fn a_card_that_breaks_the_protocol_is_thrown_out() {
    let stage = Stage::start();
    let wrong: [&[u8]; 5] = [
        // An empty answer, two answers, an answer and a part of another one.
        &[0, 0],
        &[0, 2, 0x90, 0, 0, 2, 0x90, 0],
        &[0, 2, 0x90, 0, 0],
        // More and fewer bytes than announced.
        &[0, 2, 0x90, 0, 0x90],
        &[0xFF, 0xFF, 1],
    ];
    for answer in wrong {
        let mut program = stage.insert();
        let program = thread::spawn(move || {
            assert_eq!(program.power().unwrap(), COMMAND);
            program.stream.write_all(answer).unwrap();
            if answer.starts_with(&[0xFF]) {
                program.stream.shutdown(Shutdown::Write).unwrap();
            }
            program.receive().map_err(|error| error.kind())
        });
        stage.wait_for(State::PRESENT);
        let card = stage.connect().unwrap();
        assert_eq!(exchange(&card, COMMAND), Err(Error::NotTransacted), "{answer:?}");
        stage.wait_for(State::EMPTY);
        let end = program.join().unwrap();
        assert!(end.is_err(), "{answer:?}: {end:?}");
    }

    // Bytes that were not asked for are not taken for an answer.
    let mut program = stage.insert();
    let (go, may_go) = std::sync::mpsc::channel();
    let (sent, was_sent) = std::sync::mpsc::channel();
    let program = thread::spawn(move || {
        assert_eq!(program.power().unwrap(), COMMAND);
        program.send(OK).unwrap();
        may_go.recv().unwrap();
        program.send(b"\x90\x01").unwrap();
        // Loopback has delivered them when the call returns.
        sent.send(()).unwrap();
        program.receive().map_err(|error| error.kind())
    });
    stage.wait_for(State::PRESENT);
    let card = stage.connect().unwrap();
    assert_eq!(exchange(&card, COMMAND), Ok(OK.to_vec()));
    go.send(()).unwrap();
    was_sent.recv().unwrap();
    assert_eq!(exchange(&card, COMMAND), Err(Error::NotTransacted));
    let end = program.join().unwrap();
    assert!(end.is_err(), "{end:?}");
}

#[test]
fn an_atr_that_is_none_makes_a_mute_card() {
    for atr in [&[0x3B; 34][..], &[0x3B; 1000]] {
        let stage = Stage::start();
        let mut program = stage.insert();
        let program = thread::spawn(move || {
            while let Ok(message) = program.receive() {
                if message == [4] {
                    let _ = program.send(atr);
                }
            }
        });
        stage.wait_for(State::MUTE);
        assert!(stage.connect().is_err());
        drop(stage);
        program.join().unwrap();
    }
}

#[test]
fn a_new_connection_meets_the_card_that_is_there_now() {
    let stage = Stage::start();
    for _ in 0..200 {
        let program = stage.insert_good_card();
        let card = stage.connect().unwrap();
        assert_eq!(exchange(&card, COMMAND), Ok(COMMAND.to_vec()));
        program.end();
        assert_eq!(stage.connect().err(), Some(Error::NoSmartcard));
    }
}

#[test]
fn two_cards_at_one_port_take_turns() {
    let stage = Stage::start();
    let (card, first) = stage.with_good_card();
    let mut second = stage.insert();
    assert_eq!(exchange(&card, COMMAND), Ok(COMMAND.to_vec()));
    // Nothing was asked of the second one.
    second.stream.set_nonblocking(true).unwrap();
    assert_eq!(
        second.receive().map_err(|e| e.kind()),
        Err(io::ErrorKind::WouldBlock)
    );
    second.stream.set_nonblocking(false).unwrap();
    // A third one gives up while it waits.
    let third = stage.insert();
    drop(third);
    let second = thread::spawn(move || second.serve());
    first.end();
    drop(card);
    // The second one's turn.
    let deadline = Instant::now() + LIMIT;
    let card = loop {
        match stage.connect() {
            Ok(card) => break card,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        stage.wait_for(State::PRESENT);
    };
    assert_eq!(exchange(&card, COMMAND), Ok(COMMAND.to_vec()));
    drop(card);
    drop(stage);
    assert!(second.join().unwrap().contains(&COMMAND.to_vec()));
}

#[test]
fn a_thousand_cards_come_and_go() {
    let stage = Stage::start();
    let files = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let mut before = 0;
    for round in 0..1000 {
        let (card, program) = stage.with_good_card();
        let command = [0, 0xB0, (round >> 8) as u8, round as u8, 0];
        assert_eq!(exchange(&card, &command), Ok(command.to_vec()), "{round}");
        program.end();
        stage.wait_for(State::EMPTY);
        if round == 10 {
            before = files();
        }
    }
    // Other tests of this process have files of their own, but not a thousand.
    assert!(files() < before + 500, "{before} files, then {}", files());
}

#[test]
fn a_late_answer_is_not_taken_for_the_next_one() {
    let stage = Stage::start();
    let mut program = stage.insert();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let program = thread::spawn(move || {
        assert_eq!(program.power().unwrap(), COMMAND);
        wait.recv().unwrap();
        program.send(b"\x01\x90\x00").unwrap();
        assert_eq!(program.power().unwrap(), COMMAND);
        program.send(b"\x02\x90\x00").unwrap();
        let _ = program.power();
    });
    stage.wait_for(State::PRESENT);
    let card = stage.connect().unwrap();
    let mut response = [0; 300];
    let mut fails = || {
        let sent = card.transmit_timeout(COMMAND, &mut response, Duration::from_millis(50));
        sent.unwrap_err().error()
    };
    assert_eq!(fails(), Error::Timeout);
    // On a busy machine the time may be over before the command is sent. Then the card is not reset.
    let deadline = Instant::now() + LIMIT;
    let after = loop {
        match fails() {
            Error::Timeout => assert!(Instant::now() < deadline, "the card is never reset"),
            error => break error,
        }
    };
    assert_eq!(after, Error::ResetCard);
    go.send(()).unwrap();
    drop(card);
    let deadline = Instant::now() + LIMIT;
    let card = loop {
        match stage.connect() {
            Ok(card) => break card,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    assert_eq!(exchange(&card, COMMAND), Ok(b"\x02\x90\x00".to_vec()));
    drop(card);
    drop(stage);
    program.join().unwrap();
}

#[test]
fn a_port_of_another_process_is_an_error_with_its_cause() {
    let other = Stage::start();
    let failure = Simulation::new().listen(other.port.address()).unwrap_err();
    assert_eq!(failure.error(), Error::NoService);
    assert!(failure.to_string().contains("in use"), "{failure}");
}
