//! The readers of the test's IFD handler, without pcscd: `readers CONTROL SOCKET COUNT alone|shared` serves
//! them on SOCKET to libraries that PCSCLITE_SIMULATED leads there, and takes orders on CONTROL as the
//! handler does. What a library asks is said in pcsc-client's `backend/standalone/remote.rs`.

use pcsc_test_ifd::{abi, card, control, reader, Reader};
use std::collections::HashMap;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::time::Duration;

/// The watch is asked again after this time at the latest.
const LONG: Duration = Duration::from_secs(3600);

/// Which connection, of how many so far, has each reader open. A reader has one user, as a device on the USB
/// has.
static OPEN: Mutex<[Option<usize>; pcsc_test_ifd::MAX_READERS]> =
    Mutex::new([None; pcsc_test_ifd::MAX_READERS]);
/// Whether more than one may.
static SHARED: AtomicBool = AtomicBool::new(false);
static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [control, socket, count, sharing] = arguments.as_slice() else {
        return Err("usage: readers CONTROL SOCKET COUNT alone|shared".into());
    };
    SHARED.store(sharing == "shared", Ordering::Relaxed);
    let count: usize = count.parse()?;
    control::listen(Path::new(control))?;
    let listener = UnixListener::bind(socket)?;
    for number in 0..count {
        let reader = reader(number).ok_or("too many readers")?;
        std::thread::spawn(move || watch(number, reader));
    }
    // The test reads this line when the sockets are there.
    println!("ready");
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || serve(stream, count));
    }
    Ok(())
}

fn serve(stream: UnixStream, count: usize) -> io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    input.read_line(&mut line)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |word: &str| {
        let number: usize = word.parse().map_err(io::Error::other)?;
        let reader = reader(number).filter(|_| number < count);
        Ok::<_, io::Error>((number, reader.ok_or(io::ErrorKind::NotFound)?))
    };
    match words[..] {
        ["list"] => {
            let names = format!("{}\n", pcsc_tests::FRIENDLY_NAME).repeat(count);
            (&stream).write_all(names.as_bytes())
        }
        ["slot", word] => {
            let (number, reader) = number(word)?;
            let connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
            let end = serve_slot(input, stream, number, reader, connection);
            let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
            if open[number].take_if(|user| *user == connection).is_some() {
                reader.close();
            }
            end
        }
        ["watch", word] => serve_watch(input, stream, number(word)?.0),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Opens the reader for this connection, if no other has it.
fn claim(number: usize, reader: &Reader, connection: usize) -> Result<(), u8> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    match open[number] {
        Some(user) if user != connection && !SHARED.load(Ordering::Relaxed) => return Err(BUSY),
        Some(_) => (),
        None => {
            // An unplugged reader refuses, and says so at every request.
            if reader.open() == abi::SUCCESS {
                open[number] = Some(connection);
            }
        }
    }
    Ok(())
}

/// Those who watch a reader: each with its connection while it waits for an answer.
#[derive(Default)]
struct Watchers {
    waiting: Mutex<HashMap<usize, Option<UnixStream>>>,
    changed: Condvar,
}

static WATCHERS: LazyLock<Vec<Watchers>> = LazyLock::new(|| {
    (0..pcsc_test_ifd::MAX_READERS)
        .map(|_| Watchers::default())
        .collect()
});

/// Each byte that comes is answered when the card has moved.
fn serve_watch(input: BufReader<UnixStream>, output: UnixStream, number: usize) -> io::Result<()> {
    let watchers = &WATCHERS[number];
    let connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    let change = |waiting| {
        let mut map = watchers.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting {
            Some(stream) => drop(map.insert(connection, stream)),
            None => drop(map.remove(&connection)),
        }
        watchers.changed.notify_all();
    };
    for byte in input.bytes() {
        match byte.and_then(|_| output.try_clone()) {
            Ok(stream) => change(Some(Some(stream))),
            Err(_) => break,
        }
    }
    change(None);
    Ok(())
}

/// Waits for a reader's card on behalf of all that watch it, once they all wait.
fn watch(number: usize, reader: &Reader) {
    let watchers = &WATCHERS[number];
    loop {
        let map = watchers.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all_wait = |map: &mut HashMap<usize, Option<UnixStream>>| {
            map.is_empty() || map.values().any(Option::is_none)
        };
        drop(
            watchers
                .changed
                .wait_while(map, all_wait)
                .unwrap_or_else(PoisonError::into_inner),
        );
        reader.poll(LONG);
        let mut map = watchers.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in map.values_mut() {
            if let Some(mut stream) = stream.take() {
                // A library that has gone is taken out by its own thread.
                let _ = stream.write_all(&[1]);
            }
        }
    }
}

fn serve_slot(
    mut input: impl Read,
    mut output: impl Write,
    number: usize,
    reader: &Reader,
    connection: usize,
) -> io::Result<()> {
    loop {
        let mut head = [0; 9];
        match input.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let [operation, head @ ..] = head;
        let word = |at: usize| [0, 1, 2, 3].map(|byte| head[at + byte]);
        let argument = u32::from_le_bytes(word(0));
        let mut data = vec![0; u32::from_le_bytes(word(4)) as usize];
        input.read_exact(&mut data)?;
        let (result, data) = match claim(number, reader, connection)
            .and_then(|()| answer(reader, number, operation, argument, &data))
        {
            Ok(data) => (0, data),
            Err(result) => (result, Vec::new()),
        };
        let length = (data.len() as u32).to_le_bytes();
        output.write_all(&[&[result], &length[..], &data].concat())?;
    }
}

const NO_DEVICE: u8 = 1;
const NO_CARD: u8 = 2;
const MUTE: u8 = 3;
const PROTOCOL_UNSUPPORTED: u8 = 4;
const UNSUPPORTED: u8 = 5;
const BUSY: u8 = 7;
const COMMUNICATION: u8 = 9;

fn result(code: abi::ResponseCode) -> u8 {
    match code {
        abi::NO_SUCH_DEVICE => NO_DEVICE,
        abi::ICC_NOT_PRESENT => NO_CARD,
        abi::ERROR_POWER_ACTION => MUTE,
        abi::PROTOCOL_NOT_SUPPORTED => PROTOCOL_UNSUPPORTED,
        abi::ERROR_NOT_SUPPORTED | abi::NOT_SUPPORTED | abi::ERROR_TAG => UNSUPPORTED,
        _ => COMMUNICATION,
    }
}

fn answer(reader: &Reader, number: usize, operation: u8, argument: u32, data: &[u8]) -> Result<Vec<u8>, u8> {
    let done = |code| match code {
        abi::SUCCESS => Ok(Vec::new()),
        code => Err(result(code)),
    };
    // As pcscd does, before it asks for power.
    let power = |action| match reader.presence() {
        abi::ICC_PRESENT => reader.power(action).map_err(result),
        code => Err(result(code)),
    };
    let argument_word = abi::Dword::from(argument);
    match operation {
        0 => match reader.presence() {
            abi::ICC_PRESENT => Ok(vec![1]),
            abi::ICC_NOT_PRESENT => Ok(vec![0]),
            code => Err(result(code)),
        },
        1 => {
            let atr = power(if argument == 1 { abi::RESET } else { abi::POWER_UP })?;
            let offered = card::protocols(&atr) as u8;
            // The lowest bit is the first protocol: no card of the tests has it otherwise.
            let first = offered & offered.wrapping_neg();
            Ok([&[offered, first], &atr[..]].concat())
        }
        2 => power(abi::POWER_DOWN).map(|_| Vec::new()),
        3 => done(reader.set_protocol(argument_word)),
        4 => reader.transmit(data).map_err(result),
        5 => reader.control(argument_word, data).map_err(result),
        6 => reader.attribute(number, argument_word).ok_or(UNSUPPORTED),
        7 => done(reader.set_attribute(number, argument_word, data)),
        _ => Err(UNSUPPORTED),
    }
}
