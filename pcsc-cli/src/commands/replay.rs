//! `pcsc sim replay`: runs a program on a reader that does what was recorded.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use pcsc_manager::{environment, replayed_reader, CallReplay, OfferedReader};
use pcsc_sim::usb_record::{UsbRecord, UsbReplay};
use pcsc_sim::Mismatch;

use crate::args::{Global, SimReplay};
use crate::commands::offer;
use crate::output::{message, warn};
use crate::problem::{Exit, Problem};
use crate::recording::call_record::{readers, ReaderCalls};
use crate::select::has_part;

/// Runs the command. Returns the exit code.
pub fn run(global: &Global, arguments: &SimReplay) -> Result<u8, Problem> {
    let file = arguments.file.display();
    let report = {
        let file = arguments.file.clone();
        move |mismatch: &Mismatch| message(format_args!("{}: {mismatch}.", file.display()))
    };
    let usage = |reason: String| Problem::because(Exit::Usage, &file, reason);
    let text = std::fs::read(&arguments.file).map_err(|error| Problem::unreadable(&arguments.file, error))?;
    let (found, outcome): (_, Box<dyn Fn() -> Result<(), Mismatch>>) = match UsbRecord::is_one(&text) {
        true => {
            global.refuse("pcsc sim replay of a record of transfers", &["reader"])?;
            let record = UsbRecord::parse(&text).map_err(|error| usage(error.to_string()))?;
            let replay = UsbReplay::reporting(record, report.clone());
            let options = environment::options(|name| std::env::var(name).unwrap_or_default());
            (
                replayed_reader(&replay, options),
                Box::new(move || replay.outcome()),
            )
        }
        false => {
            let all = readers(&text).map_err(|error| usage(error.to_string()))?;
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
            let replay = CallReplay::new(chosen.into_record(&name), report.clone());
            (replay.found(), Box::new(move || replay.outcome()))
        }
    };
    let code = offer::run(global, Arc::new(OfferedReader::new(found)), &arguments.command)?;
    match outcome() {
        Err(mismatch) => {
            // What came instead was reported when it came.
            if mismatch.found.is_none() {
                report(&mismatch);
            }
            Ok(if code == 0 { Exit::Unexpected as u8 } else { code })
        }
        Ok(()) => Ok(code),
    }
}

/// The reader with the most exchanges, of those that have this name or a part of it.
fn chosen(readers: HashMap<String, ReaderCalls>, wanted: Option<&str>) -> Option<(String, ReaderCalls)> {
    let is_meant = |name: &str| wanted.is_none_or(|part| has_part(name, part));
    readers
        .into_iter()
        .filter(|(name, reader)| is_meant(name) && reader.exchanges() > 0)
        .max_by_key(|(name, reader)| (reader.exchanges(), Reverse(name.clone())))
}
