//! The socket of simulated readers: other programs use the readers, move their cards and plug readers in.
//!
//! A client sends one command a line and gets one line for each: `ok`, with a value where the command has
//! one, or `error` and the reason. `N` is a reader's number, or `N/S` one of its slots. `MS` is a time in
//! milliseconds.
//!
//! | command | effect |
//! |---|---|
//! | `insert N CARD` | inserts a card, in place of any other: a name or an ATR in hexadecimal |
//! | `remove N` | removes the card |
//! | `unplug N`, `plug N` | unplugs the reader, plugs it in with empty slots |
//! | `settle N MS` | answers when the reader's user has seen all of the above |
//! | `busy N MS` | answers when a command is in progress |
//! | `mute N on\|off` | cards do not answer a reset |
//! | `fail N on\|off` | exchanges fail |
//! | `delay N MS` | each exchange takes this long |
//! | `slow N MS` | each power-up and reset takes this long |
//! | `counts N` | how often the reader was asked for what |
//! | `protocol N` | the protocol in use as an `SCARD_PROTOCOL_*` bit, 0 for none |
//!
//! A reader need not have the commands from `busy` on; see [`ControlledReader`].
//!
//! Programs use the readers that [`serve`] was called for. Each of these lines gives a connection its purpose
//! until its end:
//!
//! | line | purpose |
//! |---|---|
//! | `readers` | a line `N SLOTS NAME` for each reader that is there, an empty line, and then a line for each reader that is plugged in |
//! | `slot N/S` | a slot: [requests](SlotRequest) and answers. The connection is the claim on the slot |
//! | `watch N/S` | its card: a byte asks, and a byte answers when there may be [something new](SlotChange). The connection ends when the reader is unplugged |
//!
//! A request is an operation (one byte), an argument and a length (four bytes each, the lowest first), and so
//! many bytes of data; an answer is a result (one byte: 0, or a [`RequestError`]), a length, and data.

mod client;
mod message;
mod send;
mod served;
#[cfg(test)]
mod tests;

pub use client::{order, watch, ListedReader, ReaderList, SlotClient, Stopper};
pub use message::{CardPresence, RequestError, SlotChange, SlotRequest, MAX_DATA};
pub use send::send_all;
pub use served::ServedReader;

use std::collections::HashMap;
use std::fs::Permissions;
use std::io::{self, BufRead, BufReader, Read};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use pcsc_ccid::internals::lock;

use message::MAX_LINE;
use served::{connection, Served};

/// How long a client may take to receive the announcement of a reader. No other reader can be plugged in or
/// unplugged meanwhile.
const ANNOUNCEMENT_LIMIT: Duration = Duration::from_secs(1);
/// When to accept again after a failure, for lack of a file descriptor.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A reader that the socket controls. Errors are texts for the client.
pub trait ControlledReader: Send + Sync {
    /// Inserts a card.
    fn insert(&self, slot: u8, card: &str) -> Result<(), String>;
    /// Removes the card.
    fn remove(&self, slot: u8);
    /// Unplugs the reader.
    fn unplug(&self);
    /// Plugs the reader in, with empty slots.
    fn plug(&self) -> Result<(), String>;
    /// Waits until the reader's user has seen all changes. `false` if it has not within `limit`.
    fn settle(&self, slot: u8, limit: Duration) -> bool;
    /// Whether cards do not answer a reset.
    fn set_mute(&self, is_mute: bool);
    /// Whether exchanges fail.
    fn set_failing(&self, is_failing: bool);

    /// Waits for a command in progress. `false` if there is none within `limit`.
    fn is_busy(&self, _limit: Duration) -> Result<bool, String> {
        unsupported()
    }

    /// How long each exchange takes.
    fn set_exchange_time(&self, _time: Duration) -> Result<(), String> {
        unsupported()
    }

    /// How long each power-up and reset takes.
    fn set_power_time(&self, _time: Duration) -> Result<(), String> {
        unsupported()
    }

    /// How often the reader was asked for what, as a text.
    fn counts(&self) -> Result<String, String> {
        unsupported()
    }

    /// The protocol in use.
    fn protocol(&self) -> Result<u32, String> {
        unsupported()
    }
}

fn unsupported<T>() -> Result<T, String> {
    Err("the reader has no such command".into())
}

/// A reader of a socket.
struct SocketReader {
    controlled: Weak<dyn ControlledReader>,
    served: Option<Arc<Served>>,
}

/// A socket that this process listens on.
#[derive(Default)]
struct Socket {
    /// By number.
    readers: Mutex<HashMap<u8, SocketReader>>,
    /// The connections to which readers that are plugged in are announced. Locked while one is plugged in or
    /// unplugged, before `readers`.
    lists: Mutex<HashMap<usize, UnixStream>>,
}

/// The sockets of this process.
static SOCKETS: Mutex<Option<HashMap<PathBuf, Arc<Socket>>>> = Mutex::new(None);

/// From now on the socket at `path`, which only this user may use, controls this reader too. Listens there at
/// the first call with this path, and replaces a socket that an earlier process left behind.
///
/// # Errors
/// If it cannot listen.
pub fn listen(path: &Path, number: u8, reader: Weak<dyn ControlledReader>) -> io::Result<()> {
    add(path, number, reader, None)
}

/// The same, and programs use the reader over the socket, as long as this process lives.
///
/// # Errors
/// If it cannot listen, or cannot start a thread.
pub fn serve(
    path: &Path,
    number: u8,
    controlled: Weak<dyn ControlledReader>,
    served: Arc<dyn ServedReader>,
) -> io::Result<()> {
    let served = Served::start(number, served)?;
    add(path, number, controlled, Some(served))
}

fn add(
    path: &Path,
    number: u8,
    controlled: Weak<dyn ControlledReader>,
    served: Option<Arc<Served>>,
) -> io::Result<()> {
    let socket = socket(path)?;
    lock(&socket.readers).insert(number, SocketReader { controlled, served });
    Ok(())
}

/// Listens on the socket at `path`, which has no readers yet. [`listen`] and [`serve`] do it too.
///
/// # Errors
/// If it cannot listen.
pub fn start(path: &Path) -> io::Result<()> {
    socket(path).map(|_| ())
}

fn socket(path: &Path) -> io::Result<Arc<Socket>> {
    let mut sockets = lock(&SOCKETS);
    let sockets = sockets.get_or_insert_with(HashMap::new);
    if let Some(socket) = sockets.get(path) {
        return Ok(socket.clone());
    }
    let socket: Arc<Socket> = Arc::default();
    accept(path, socket.clone())?;
    sockets.insert(path.to_owned(), socket.clone());
    Ok(socket)
}

fn accept(path: &Path, socket: Arc<Socket>) -> io::Result<()> {
    if path
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.file_type().is_socket())
    {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    let thread = || thread::Builder::new().name("pcsc-sim control".into());
    thread().spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                thread::sleep(ACCEPT_AGAIN);
                continue;
            };
            let socket = socket.clone();
            // A thread each, because `settle` blocks. If none can be had, the client sees the closed
            // connection.
            let _ = thread().spawn(move || socket.serve(stream));
        }
    })?;
    Ok(())
}

impl Socket {
    fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let output = stream.try_clone()?;
        let mut input = BufReader::new(stream);
        let mut line = String::new();
        while input.by_ref().take(MAX_LINE).read_line(&mut line)? > 0 {
            match line.trim_end().split_once(' ') {
                None if line.trim_end() == "readers" => return self.serve_list(input, output),
                Some(("slot", place)) => {
                    let (served, slot) = self.served(place)?;
                    return served.serve_slot(slot, input, output);
                }
                Some(("watch", place)) => {
                    let (served, slot) = self.served(place)?;
                    return served.serve_watch(slot, input, output);
                }
                _ => (),
            }
            let answer = match self.execute(line.trim_end()) {
                Ok(value) if value.is_empty() => "ok\n".to_owned(),
                Ok(value) => format!("ok {value}\n"),
                Err(reason) => format!("error {reason}\n"),
            };
            send_all(&output, answer.as_bytes())?;
            line.clear();
        }
        Ok(())
    }

    /// Lists the readers, and announces new ones until the client ends the connection.
    fn serve_list(&self, mut input: impl Read, output: UnixStream) -> io::Result<()> {
        let connection = connection();
        output.set_write_timeout(Some(ANNOUNCEMENT_LIMIT))?;
        {
            // No reader is announced before the list is out.
            let mut lists = lock(&self.lists);
            let mut listed: Vec<ListedReader> = lock(&self.readers)
                .values()
                .filter_map(|entry| entry.served.as_ref())
                .filter(|served| served.reader.is_present())
                .map(|served| served.listed())
                .collect();
            listed.sort_by_key(|reader| reader.number);
            let text: String = listed.iter().map(ListedReader::line).collect();
            send_all(&output, format!("{text}\n").as_bytes())?;
            lists.insert(connection, output);
        }
        let end = io::copy(&mut input, &mut io::sink());
        lock(&self.lists).remove(&connection);
        end.map(|_| ())
    }

    /// Plugs a reader in. Its users' claims were on another one.
    fn plug(&self, reader: &dyn ControlledReader, served: Option<&Served>) -> Result<(), String> {
        // Held over all of it, so that the reader is either in a client's list or announced to it.
        let mut lists = lock(&self.lists);
        let served = served.filter(|served| !served.reader.is_present());
        reader.plug()?;
        let Some(served) = served else { return Ok(()) };
        served.forget_users();
        let line = served.listed().line();
        lists.retain(|_, stream| {
            let is_told = send_all(stream, line.as_bytes()).is_ok();
            if !is_told {
                // The client has gone or does not read. It must not take an incomplete list for a whole one,
                // so the connection ends.
                let _ = stream.shutdown(Shutdown::Both);
            }
            is_told
        });
        Ok(())
    }

    fn unplug(&self, reader: &dyn ControlledReader, served: Option<&Served>) {
        let _lists = lock(&self.lists);
        reader.unplug();
        if let Some(served) = served.filter(|served| !served.reader.is_present()) {
            served.forget_users();
        }
    }

    /// The served reader and the slot that `N/S` means.
    fn served(&self, place: &str) -> io::Result<(Arc<Served>, u8)> {
        let (number, slot) = parse_place(place).ok_or(io::ErrorKind::InvalidInput)?;
        let served = lock(&self.readers)
            .get(&number)
            .and_then(|entry| entry.served.clone());
        Ok((served.ok_or(io::ErrorKind::NotFound)?, slot))
    }

    /// Executes a line; its value.
    fn execute(&self, line: &str) -> Result<String, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [command, place, arguments @ ..] = words.as_slice() else {
            return Err("a command has a name and a reader's number".into());
        };
        let missing = || format!("no reader {place}");
        let (number, slot) = parse_place(place).ok_or_else(missing)?;
        let found = lock(&self.readers)
            .get(&number)
            .map(|entry| (entry.controlled.upgrade(), entry.served.clone()));
        let (reader, served) = found.ok_or_else(missing)?;
        let reader = reader.ok_or_else(missing)?;
        match (*command, arguments) {
            ("insert", [card]) => reader.insert(slot, card)?,
            ("remove", []) => reader.remove(slot),
            ("unplug", []) => self.unplug(&*reader, served.as_deref()),
            ("plug", []) => self.plug(&*reader, served.as_deref())?,
            // No program uses the slot, so that none has a change to see.
            ("settle", [_]) if served.is_some_and(|served| !served.is_in_use(slot)) => (),
            ("settle", [ms]) if !reader.settle(slot, time(ms)?) => {
                return Err(format!("not settled in {ms} ms"));
            }
            ("busy", [ms]) if !reader.is_busy(time(ms)?)? => return Err(format!("not busy in {ms} ms")),
            ("settle" | "busy", [_]) => (),
            ("mute", [value]) => reader.set_mute(switch(value)?),
            ("fail", [value]) => reader.set_failing(switch(value)?),
            ("delay", [ms]) => reader.set_exchange_time(time(ms)?)?,
            ("slow", [ms]) => reader.set_power_time(time(ms)?)?,
            ("counts", []) => return reader.counts(),
            ("protocol", []) => return reader.protocol().map(|protocol| protocol.to_string()),
            _ => return Err(format!("unknown: {command} with {} arguments", arguments.len())),
        }
        Ok(String::new())
    }
}

/// The numbers of a reader and of its slot.
fn parse_place(place: &str) -> Option<(u8, u8)> {
    let (number, slot) = place.split_once('/').unwrap_or((place, "0"));
    Some((number.parse().ok()?, slot.parse().ok()?))
}

fn time(ms: &str) -> Result<Duration, String> {
    let ms = ms.parse().map_err(|_| format!("no time: {ms}"))?;
    Ok(Duration::from_millis(ms))
}

fn switch(value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("neither on nor off: {value}")),
    }
}
