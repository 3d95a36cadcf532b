//! `pcsc sim replay`: runs a program on a reader that does what was recorded.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use pcsc_manager::{environment, replayed, OfferedReader, SessionReplay};
use pcsc_sim::usb_record::{UsbRecord, UsbReplay};
use pcsc_sim::Mismatch;

use crate::args::{Global, SimReplay};
use crate::commands::offer;
use crate::output::{message, warn};
use crate::problem::{Exit, Problem};
use crate::recording::session::{readers, OfReader};

/// Runs the command. Returns the exit code.
pub fn run(global: &Global, arguments: &SimReplay) -> Result<u8, Problem> {
    global.refuse("pcsc sim replay", &["--json", "--backend", "--socket"])?;
    let file = arguments.file.display();
    let usage = |reason: String| Problem::because(Exit::Usage, &file, reason);
    let text = std::fs::read(&arguments.file)
        .map_err(|error| Problem::because(Exit::Usage, format_args!("{file} cannot be read"), error))?;
    let (found, outcome): (_, Box<dyn Fn() -> Result<(), Mismatch>>) = match UsbRecord::is_one(&text) {
        true => {
            global.refuse("pcsc sim replay of a record of transfers", &["--reader"])?;
            let record = UsbRecord::parse(&text).map_err(|error| usage(error.to_string()))?;
            let replay = UsbReplay::new(record);
            let options = environment::options(|name| std::env::var(name).unwrap_or_default());
            (replayed(&replay, options), Box::new(move || replay.outcome()))
        }
        false => {
            let all = readers(&text).map_err(|damage| usage(damage.to_string()))?;
            let reader = global.reader.as_deref();
            let (name, chosen) = chosen(all, reader).ok_or_else(|| {
                let place = reader.map_or(String::new(), |reader| format!(" in {reader}"));
                Problem::new(Exit::Usage, format!("{file} has no exchange with a card{place}."))
            })?;
            if chosen.hidden > 0 {
                warn(format_args!(
                    "{} bytes of answers were hidden when they were recorded; 00 is in their place",
                    chosen.hidden
                ));
            }
            let replay = SessionReplay::new(chosen.session(&name));
            (replay.found(), Box::new(move || replay.outcome()))
        }
    };
    let code = offer::run(global, Arc::new(OfferedReader::new(found)), &arguments.command)?;
    match outcome() {
        Err(mismatch) => {
            message(format_args!("{file}: {mismatch}."));
            Ok(if code == 0 { Exit::Unexpected as u8 } else { code })
        }
        Ok(()) => Ok(code),
    }
}

/// The reader with the most exchanges, of those that have this name or a part of it.
fn chosen(readers: HashMap<String, OfReader>, wanted: Option<&str>) -> Option<(String, OfReader)> {
    let is_meant = |name: &str| wanted.is_none_or(|part| name.contains(part));
    readers
        .into_iter()
        .filter(|(name, reader)| is_meant(name) && reader.exchanges() > 0)
        .max_by_key(|(name, reader)| (reader.exchanges(), Reverse(name.clone())))
}
