//! The control socket: one command a line, one answer a line, `ok …` or `error …`.
//!
//! `N` is the reader's number, `MS` milliseconds.
//!
//! | command | effect |
//! |---|---|
//! | `insert N ATR` | puts a card with this ATR (hexadecimal) in |
//! | `remove N` | takes the card out |
//! | `unplug N`, `plug N` | takes the reader away (every call answers IFD_NO_SUCH_DEVICE), brings it back empty |
//! | `settle N MS` | answers when pcscd has dealt with all of the above |
//! | `mute N on\|off` | power-up and reset fail |
//! | `fail N on\|off` | every exchange fails (IFD_COMMUNICATION_ERROR) |
//! | `delay N MS` | every exchange takes this long |
//! | `slow N MS` | every power-up and reset takes this long |
//! | `counts N` | `ok` and the five numbers of [`Counts`](crate::Counts) |
//! | `protocol N` | `ok` and the `SCARD_PROTOCOL_*` bit selected since the last power-up, 0 for none |

#![forbid(unsafe_code)]

use crate::reader::Reader;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

static LISTENING: Mutex<bool> = Mutex::new(false);

/// Listens on `path` from now on, once in a process.
pub fn listen(path: &Path) -> io::Result<()> {
    let mut listening = LISTENING.lock().unwrap_or_else(PoisonError::into_inner);
    if *listening {
        return Ok(());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    thread::Builder::new().name("control".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // A thread each: `settle` blocks. If none can be had, the closed connection tells the test.
            let _ = thread::Builder::new()
                .name("control".into())
                .spawn(move || serve(stream));
        }
    })?;
    *listening = true;
    Ok(())
}

fn serve(stream: UnixStream) -> io::Result<()> {
    let mut output = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        let answer = match execute(&line?) {
            Ok(text) if text.is_empty() => "ok\n".to_owned(),
            Ok(text) => format!("ok {text}\n"),
            Err(text) => format!("error {text}\n"),
        };
        output.write_all(answer.as_bytes())?;
    }
    Ok(())
}

fn execute(line: &str) -> Result<String, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [command, number, argument @ ..] = words.as_slice() else {
        return Err(format!("no command and reader in {line:?}"));
    };
    let reader = number
        .parse()
        .ok()
        .and_then(crate::reader)
        .ok_or_else(|| format!("no reader {number}"))?;
    run(reader, command, argument)
}

fn run(reader: &Reader, command: &str, argument: &[&str]) -> Result<String, String> {
    match (command, argument) {
        ("insert", [atr]) => reader.insert(hex(atr)?),
        ("remove", []) => reader.remove(),
        ("unplug", []) => reader.set_unplugged(true),
        ("plug", []) => reader.set_unplugged(false),
        ("settle", [ms]) => {
            if !reader.settle(time(ms)?) {
                return Err(format!("pcscd has not dealt with the change in {ms} ms"));
            }
        }
        ("mute", [value]) => {
            let mute = switch(value)?;
            reader.behave(|behaviour| behaviour.mute = mute);
        }
        ("fail", [value]) => {
            let fail = switch(value)?;
            reader.behave(|behaviour| behaviour.fail = fail);
        }
        ("delay", [ms]) => {
            let delay = time(ms)?;
            reader.behave(|behaviour| behaviour.transmit_delay = delay);
        }
        ("slow", [ms]) => {
            let delay = time(ms)?;
            reader.behave(|behaviour| behaviour.power_delay = delay);
        }
        ("counts", []) => return Ok(reader.counts().to_string()),
        ("protocol", []) => return Ok(reader.protocol().unwrap_or(0).to_string()),
        _ => return Err(format!("unknown: {command} with {} arguments", argument.len())),
    }
    Ok(String::new())
}

fn switch(value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("neither on nor off: {value}")),
    }
}

fn time(ms: &str) -> Result<Duration, String> {
    ms.parse()
        .map(Duration::from_millis)
        .map_err(|error| format!("{ms}: {error}"))
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    match digits {
        Some(digits) if digits.len() % 2 == 0 && digits.len() <= 66 => {
            Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        }
        _ => Err(format!("not up to 33 bytes in hexadecimal: {text}")),
    }
}
