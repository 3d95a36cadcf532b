//! A socket that moves the cards of simulated readers: one command a line, one answer a line, `ok` or `error` and why.
//!
//! `N` is the reader's number, or `N/S` a slot of it.
//!
//! | command | effect |
//! |---|---|
//! | `insert N CARD` | puts a [card](super::cards) in |
//! | `remove N` | takes the card out |
//! | `unplug N`, `plug N` | pulls the reader out, puts it back with empty slots |
//! | `settle N MS` | answers when pcscd has dealt with all of the above |
//! | `busy N MS` | answers when a command is taking its time |
//! | `mute N on\|off` | cards do not answer a reset |
//! | `fail N on\|off` | cards do not answer commands |

#![forbid(unsafe_code)]

use super::station::Station;
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

type Stations = HashMap<u8, Weak<Station>>;

/// The sockets that are listened on, each with its readers.
static SOCKETS: Mutex<Option<HashMap<PathBuf, Arc<Mutex<Stations>>>>> = Mutex::new(None);

/// From now on the socket, for root alone, controls this reader too.
pub fn listen(path: &Path, number: u8, station: &Arc<Station>) -> io::Result<()> {
    let mut sockets = SOCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    let sockets = sockets.get_or_insert_with(HashMap::new);
    let stations = match sockets.get(path) {
        Some(stations) => stations.clone(),
        None => {
            let stations: Arc<Mutex<Stations>> = Arc::default();
            start(path, stations.clone())?;
            sockets.insert(path.to_owned(), stations.clone());
            stations
        }
    };
    stations
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(number, Arc::downgrade(station));
    Ok(())
}

fn start(path: &Path, stations: Arc<Mutex<Stations>>) -> io::Result<()> {
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
                let stations = stations.clone();
                // A thread each, as `settle` blocks. Where none can be had, the closed connection says so.
                let _ = thread::Builder::new()
                    .name("pcsc-ccid sim".into())
                    .spawn(move || serve(stream, &stations));
            }
        })?;
    Ok(())
}

fn serve(stream: UnixStream, stations: &Mutex<Stations>) -> io::Result<()> {
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    while input.by_ref().take(MAX_LINE).read_line(&mut line)? > 0 {
        let answer = match execute(line.trim_end(), stations) {
            Ok(()) => "ok\n".to_owned(),
            Err(reason) => format!("error {reason}\n"),
        };
        output.write_all(answer.as_bytes())?;
        line.clear();
    }
    Ok(())
}

fn execute(line: &str, stations: &Mutex<Stations>) -> Result<(), String> {
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
    let station = stations
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&number)
        .and_then(Weak::upgrade)
        .ok_or_else(|| format!("no reader {place}"))?;
    match (*command, arguments) {
        ("insert", [card]) => station.insert(slot, card),
        ("remove", []) => {
            station.remove(slot);
            Ok(())
        }
        ("unplug", []) => {
            station.unplug();
            Ok(())
        }
        ("plug", []) => station.plug(),
        ("settle", [ms]) => match station.settle(slot, time(ms)?) {
            true => Ok(()),
            false => Err(format!("not settled in {ms} ms")),
        },
        ("busy", [ms]) => match station.is_busy(time(ms)?) {
            true => Ok(()),
            false => Err(format!("not busy in {ms} ms")),
        },
        ("mute", [value]) => {
            station.switches().set_mute(switch(value)?);
            Ok(())
        }
        ("fail", [value]) => {
            station.switches().set_fails(switch(value)?);
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
