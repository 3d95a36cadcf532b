//! The control socket of simulated readers: a program plugs readers in and moves cards in another process.
//!
//! A client sends one command a line and gets one line for each: `ok`, with a value where the command has
//! one, or `error` and the reason. `N` is a reader's number, or `N/S` one of its slots. `MS` is a time in
//! milliseconds.
//!
//! | command | effect |
//! |---|---|
//! | `insert N CARD` | inserts a card, in place of any other: a name or an ATR in hexadecimal, as the reader knows them |
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

use std::collections::HashMap;
use std::fs::Permissions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// The longest command, in bytes.
const MAX_LINE: u64 = 1000;

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
    fn is_busy(&self, limit: Duration) -> Result<bool, String> {
        let _ = limit;
        unsupported()
    }

    /// How long each exchange takes.
    fn set_exchange_time(&self, time: Duration) -> Result<(), String> {
        let _ = time;
        unsupported()
    }

    /// How long each power-up and reset takes.
    fn set_power_time(&self, time: Duration) -> Result<(), String> {
        let _ = time;
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

type Readers = HashMap<u8, Weak<dyn ControlledReader>>;

/// The sockets that this process listens on, each with its readers.
static SOCKETS: Mutex<Option<HashMap<PathBuf, Arc<Mutex<Readers>>>>> = Mutex::new(None);

/// From now on the socket at `path`, which only this user may use, controls this reader too. Listens there at
/// the first call with this path, and replaces a socket that an earlier process left behind.
pub fn listen(path: &Path, number: u8, reader: Weak<dyn ControlledReader>) -> io::Result<()> {
    let mut sockets = SOCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    let sockets = sockets.get_or_insert_with(HashMap::new);
    let readers = match sockets.get(path) {
        Some(readers) => readers.clone(),
        None => {
            let readers: Arc<Mutex<Readers>> = Arc::default();
            start(path, readers.clone())?;
            sockets.insert(path.to_owned(), readers.clone());
            readers
        }
    };
    let mut readers = readers.lock().unwrap_or_else(PoisonError::into_inner);
    readers.insert(number, reader);
    Ok(())
}

fn start(path: &Path, readers: Arc<Mutex<Readers>>) -> io::Result<()> {
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
        for stream in listener.incoming().flatten() {
            let readers = readers.clone();
            // A thread each, because `settle` blocks. If none can be had, the client sees the closed
            // connection.
            let _ = thread().spawn(move || serve(stream, &readers));
        }
    })?;
    Ok(())
}

fn serve(stream: UnixStream, readers: &Mutex<Readers>) -> io::Result<()> {
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    while input.by_ref().take(MAX_LINE).read_line(&mut line)? > 0 {
        let answer = match execute(line.trim_end(), readers) {
            Ok(value) if value.is_empty() => "ok\n".to_owned(),
            Ok(value) => format!("ok {value}\n"),
            Err(reason) => format!("error {reason}\n"),
        };
        output.write_all(answer.as_bytes())?;
        line.clear();
    }
    Ok(())
}

/// Executes a line; its value.
fn execute(line: &str, readers: &Mutex<Readers>) -> Result<String, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [command, place, arguments @ ..] = words.as_slice() else {
        return Err("a command has a name and a reader's number".into());
    };
    let missing = || format!("no reader {place}");
    let (number, slot) = place.split_once('/').unwrap_or((place, "0"));
    let number: u8 = number.parse().map_err(|_| missing())?;
    let slot: u8 = slot.parse().map_err(|_| missing())?;
    let reader = readers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&number)
        .and_then(Weak::upgrade)
        .ok_or_else(missing)?;
    match (*command, arguments) {
        ("insert", [card]) => reader.insert(slot, card)?,
        ("remove", []) => reader.remove(slot),
        ("unplug", []) => reader.unplug(),
        ("plug", []) => reader.plug()?,
        ("settle", [ms]) if !reader.settle(slot, time(ms)?) => return Err(format!("not settled in {ms} ms")),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down what it is told.
    #[derive(Default)]
    struct Recorder(Mutex<Vec<String>>);

    impl Recorder {
        fn note(&self, text: String) {
            self.0.lock().unwrap().push(text);
        }
    }

    impl ControlledReader for Recorder {
        fn insert(&self, slot: u8, card: &str) -> Result<(), String> {
            self.note(format!("insert {slot} {card}"));
            if card == "none" {
                return Err("no card none".into());
            }
            Ok(())
        }

        fn remove(&self, slot: u8) {
            self.note(format!("remove {slot}"));
        }

        fn unplug(&self) {
            self.note("unplug".into());
        }

        fn plug(&self) -> Result<(), String> {
            self.note("plug".into());
            Ok(())
        }

        fn settle(&self, slot: u8, limit: Duration) -> bool {
            self.note(format!("settle {slot} {limit:?}"));
            slot == 0
        }

        fn set_mute(&self, is_mute: bool) {
            self.note(format!("mute {is_mute}"));
        }

        fn set_failing(&self, is_failing: bool) {
            self.note(format!("fail {is_failing}"));
        }

        fn protocol(&self) -> Result<u32, String> {
            Ok(2)
        }
    }

    #[test]
    fn each_command_reaches_the_reader_with_its_number() {
        let recorder = Arc::new(Recorder::default());
        let as_reader: Arc<dyn ControlledReader> = recorder.clone();
        let readers = Mutex::new(Readers::from([(3, Arc::downgrade(&as_reader))]));
        for (line, answer) in [
            ("insert 3 t1", Ok("")),
            ("insert 3/1 none", Err("no card none")),
            ("remove 3/2", Ok("")),
            ("unplug 3", Ok("")),
            ("plug 3", Ok("")),
            ("settle 3 5", Ok("")),
            ("settle 3/1 5", Err("not settled in 5 ms")),
            ("mute 3 on", Ok("")),
            ("fail 3 off", Ok("")),
            ("protocol 3", Ok("2")),
            ("counts 3", Err("the reader has no such command")),
            ("busy 3 5", Err("the reader has no such command")),
            ("mute 3 perhaps", Err("neither on nor off: perhaps")),
            ("settle 3 soon", Err("no time: soon")),
            ("remove 4", Err("no reader 4")),
            ("remove 300", Err("no reader 300")),
            ("remove 3/x", Err("no reader 3/x")),
            ("remove 3 now", Err("unknown: remove with 1 arguments")),
            ("jump 3", Err("unknown: jump with 0 arguments")),
            ("remove", Err("a command has a name and a reader's number")),
            ("", Err("a command has a name and a reader's number")),
        ] {
            let wanted = answer.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(execute(line, &readers), wanted, "{line}");
        }
        let noted = recorder.0.lock().unwrap().join(", ");
        assert_eq!(
            noted,
            "insert 0 t1, insert 1 none, remove 2, unplug, plug, settle 0 5ms, settle 1 5ms, mute true, fail false"
        );
        drop((recorder, as_reader));
        assert_eq!(execute("remove 3", &readers), Err("no reader 3".into()));
    }
}
