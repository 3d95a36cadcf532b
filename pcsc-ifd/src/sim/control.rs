//! A socket that moves the cards of simulated readers: one command a line, one answer a line, `ok` or `error`
//! and why.
//!
//! `N` is the reader's number, or `N/S` a slot of it.
//!
//! | command | effect |
//! |---|---|
//! | `insert N CARD` | puts a [card](super::cards) in |
//! | `remove N` | takes the card out |
//! | `unplug N`, `plug N` | pulls the reader out, puts it back with empty slots |
//! | `settle N MS` | answers when pcscd has handled all of the above |
//! | `busy N MS` | answers when an answer is being delayed |
//! | `mute N on\|off` | cards do not answer a reset |
//! | `fail N on\|off` | cards do not answer commands |

#![forbid(unsafe_code)]

use super::sim_reader::SimReader;
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

type SimReaders = HashMap<u8, Weak<SimReader>>;

/// The listening sockets, each with its readers.
static SOCKETS: Mutex<Option<HashMap<PathBuf, Arc<Mutex<SimReaders>>>>> = Mutex::new(None);

/// Adds a reader to the socket, which is created for root alone.
pub fn listen(path: &Path, number: u8, reader: &Arc<SimReader>) -> io::Result<()> {
    let mut sockets = SOCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    let sockets = sockets.get_or_insert_with(HashMap::new);
    let readers = match sockets.get(path) {
        Some(readers) => readers.clone(),
        None => {
            let readers: Arc<Mutex<SimReaders>> = Arc::default();
            start(path, readers.clone())?;
            sockets.insert(path.to_owned(), readers.clone());
            readers
        }
    };
    readers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(number, Arc::downgrade(reader));
    Ok(())
}

fn start(path: &Path, readers: Arc<Mutex<SimReaders>>) -> io::Result<()> {
    // A socket that an earlier pcscd has left; nothing else.
    if path
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.file_type().is_socket())
    {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    thread::Builder::new()
        .name("pcsc-ccid sim".into())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                let readers = readers.clone();
                // A thread each, as `settle` blocks. Where none can be had, the closed connection says so.
                let _ = thread::Builder::new()
                    .name("pcsc-ccid sim".into())
                    .spawn(move || serve(stream, &readers));
            }
        })?;
    Ok(())
}

fn serve(stream: UnixStream, readers: &Mutex<SimReaders>) -> io::Result<()> {
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    while input.by_ref().take(MAX_LINE).read_line(&mut line)? > 0 {
        let answer = match execute(line.trim_end(), readers) {
            Ok(()) => "ok\n".to_owned(),
            Err(reason) => format!("error {reason}\n"),
        };
        output.write_all(answer.as_bytes())?;
        line.clear();
    }
    Ok(())
}

fn execute(line: &str, readers: &Mutex<SimReaders>) -> Result<(), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [command, place, arguments @ ..] = words.as_slice() else {
        return Err("a command has a name and a reader's number".into());
    };
    let (number, slot) = place.split_once('/').unwrap_or((place, "0"));
    let wrong = |_| format!("no reader {place}");
    let (number, slot) = (
        number.parse::<u8>().map_err(wrong)?,
        slot.parse::<u8>().map_err(wrong)?,
    );
    let reader = readers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&number)
        .and_then(Weak::upgrade)
        .ok_or_else(|| format!("no reader {place}"))?;
    match (*command, arguments) {
        ("insert", [card]) => reader.insert(slot, card),
        ("remove", []) => {
            reader.remove(slot);
            Ok(())
        }
        ("unplug", []) => {
            reader.unplug();
            Ok(())
        }
        ("plug", []) => reader.plug(),
        ("settle", [ms]) => match reader.settle(slot, time(ms)?) {
            true => Ok(()),
            false => Err(format!("not settled in {ms} ms")),
        },
        ("busy", [ms]) => match reader.is_busy(time(ms)?) {
            true => Ok(()),
            false => Err(format!("not busy in {ms} ms")),
        },
        ("mute", [value]) => {
            reader.switches().set_mute(switch(value)?);
            Ok(())
        }
        ("fail", [value]) => {
            reader.switches().set_fails(switch(value)?);
            Ok(())
        }
        _ => Err(format!("unknown: {command} with {} arguments", arguments.len())),
    }
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
