//! `pcsc sim`: records what a program does with a card, and replays the card.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use pcsc_client::sim::{Replay, VirtualCard};

use crate::args::{Form, Global, Sim, SimRecord, SimReplay, Spy};
use crate::commands::child::{self, Signals};
use crate::commands::{play, spy, with};
use crate::output::{message, warn, Output};
use crate::problem::{Exit, Problem};
use crate::recording::session::{sessions, Session};

/// How often the program is looked for that waits for a card.
const INTERVAL: Duration = Duration::from_millis(2);

/// Runs the command. Returns the exit code.
pub fn run(global: &Global, arguments: &Sim) -> Result<u8, Problem> {
    match arguments {
        Sim::Record(arguments) => record(global, arguments),
        Sim::Replay(arguments) => replay(global, arguments),
        Sim::Play(arguments) => play::run(global, arguments, &mut Output::new(global.json)),
    }
}

fn record(global: &Global, arguments: &SimRecord) -> Result<u8, Problem> {
    global.refuse("pcsc sim record", &["--reader", "--json"])?;
    let spy = Spy {
        output: Some(arguments.file.clone()),
        format: Form::Json,
        show_pins: false,
        read: None,
        java: false,
        command: arguments.command.clone(),
    };
    spy::run(global, &spy)
}

fn replay(global: &Global, arguments: &SimReplay) -> Result<u8, Problem> {
    global.refuse("pcsc sim replay", &["--json", "--backend", "--socket"])?;
    let file = arguments.file.display();
    let text = std::fs::read(&arguments.file)
        .map_err(|error| Problem::new(Exit::Usage, format!("{file} cannot be read: {error}.")))?;
    let reader = global.reader.as_deref();
    let session = chosen(sessions(&text), reader).ok_or_else(|| {
        let place = reader.map_or(String::new(), |reader| format!(" in {reader}"));
        Problem::new(Exit::Usage, format!("{file} has no exchange with a card{place}."))
    })?;
    if session.hidden > 0 {
        warn(format_args!(
            "{} bytes of responses were hidden when they were recorded; the card gives 00 in their place",
            session.hidden
        ));
    }
    let atr = match session.atr.is_empty() {
        // T=1 and no historical bytes.
        true => vec![0x3B, 0x80, 0x01, 0x81],
        false => session.atr,
    };
    let card = Replay::new(atr, session.exchanges);
    let port = free_port()?;
    let mut command = with::command(global, &arguments.command, false)?;
    command
        .env("PCSCLITE_BACKEND", "simulated")
        .env("PCSCLITE_SIMULATED", format!("vpcd:{port}"));
    let is_over = Arc::new(AtomicBool::new(false));
    let player = std::thread::spawn({
        let (is_over, mut card) = (is_over.clone(), card.clone());
        move || play(port, &mut card, &is_over)
    });
    let signals = Signals::catch()?;
    let program = command
        .spawn()
        .map_err(|error| with::cannot_run(&arguments.command, &error))?;
    let status = signals.wait(program)?;
    is_over.store(true, Ordering::Relaxed);
    // The program has ended, and its connection with it.
    let _ = player.join();
    let code = child::code(status);
    match card.outcome() {
        Err(mismatch) => {
            message(format_args!("{file}: {mismatch}."));
            Ok(if code == 0 { Exit::Unexpected as u8 } else { code })
        }
        Ok(()) => Ok(code),
    }
}

/// The session with the most exchanges, of the readers that have this name or a part of it.
fn chosen(sessions: impl IntoIterator<Item = (String, Session)>, reader: Option<&str>) -> Option<Session> {
    let is_meant = |name: &str| reader.is_none_or(|part| name.contains(part));
    sessions
        .into_iter()
        .filter(|(name, session)| is_meant(name) && !session.exchanges.is_empty())
        .max_by_key(|(name, session)| (session.exchanges.len(), std::cmp::Reverse(name.clone())))
        .map(|(_, session)| session)
}

/// A port on which nothing listens now.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Plays the card for each process that listens at the port, until the command has ended.
fn play(port: u16, card: &mut Replay, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            // The end of a connection is the end of a process.
            Ok(stream) => drop(serve(stream, card, is_over)),
            Err(_) => std::thread::sleep(INTERVAL),
        }
    }
}

/// Answers on one connection. A message of vsmartcard's protocol has its length before it; one byte is an
/// order.
fn serve(mut stream: TcpStream, card: &mut Replay, is_over: &AtomicBool) -> io::Result<()> {
    const RESET: [u8; 1] = [2];
    const ATR: [u8; 1] = [4];
    // A child of the command may keep the connection open.
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    stream.set_nodelay(true)?;
    loop {
        let message = match read_message(&mut stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !is_over.load(Ordering::Relaxed) => {
                continue;
            }
            message => message?,
        };
        let answer = match <[u8; 1]>::try_from(&message[..]) {
            Ok(ATR) => card.atr(),
            Ok(order) => {
                if order == RESET {
                    card.reset();
                }
                continue;
            }
            Err(_) => card.transmit(&message),
        };
        // No response of two status words and 65,536 bytes fits into a message.
        let (length, answer) = match u16::try_from(answer.len()) {
            Ok(length) => (length, answer),
            Err(_) => (2, vec![0x6F, 0x00]),
        };
        stream.write_all(&[&length.to_be_bytes(), &answer[..]].concat())?;
    }
}

/// Reads a message. `WouldBlock` if none has begun within the time limit.
fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    read_whole(stream, &mut length, true)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    read_whole(stream, &mut message, false)?;
    Ok(message)
}

fn read_whole(stream: &mut TcpStream, buffer: &mut [u8], may_stop: bool) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && (filled > 0 || !may_stop) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
