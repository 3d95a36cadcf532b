//! A recording for people.

use std::collections::HashMap;
use std::io::{self, Write};

use serde_json::{Map, Value};

use super::{names, Calls, Event, Line, RecordWriter};
use crate::hex;
use crate::output::{printable, Style};
use crate::status_words;
use crate::time;

/// The fields in the order in which they are shown. Others follow.
const ORDER: [&str; 16] = [
    "context",
    "card",
    "scope",
    "reader",
    "share_mode",
    "protocols",
    "protocol",
    "initialization",
    "disposition",
    "control_code",
    "attribute",
    "timeout",
    "state",
    "groups",
    "readers",
    "room",
];
/// The fields that are bytes. Each has a line of its own.
const BYTES: [&str; 6] = ["command", "response", "data", "answer", "value", "atr"];

/// A recording, for people: what a call is given when it begins, and what it gives when it returns.
#[derive(Debug)]
pub struct Text {
    style: Style,
    calls: Calls,
    /// The number of a process among those of the recording, and the threads of it in the same way.
    processes: HashMap<u32, (usize, HashMap<u32, usize>)>,
}

impl Text {
    /// With or without colours.
    pub fn new(style: Style) -> Text {
        Text {
            style,
            calls: Calls::default(),
            processes: HashMap::new(),
        }
    }

    /// The process and the thread of a line: 1.1, 1.2, 2.1.
    fn label(&mut self, line: &Line) -> String {
        let next = self.processes.len() + 1;
        let (process, threads) = self
            .processes
            .entry(line.process)
            .or_insert_with(|| (next, HashMap::new()));
        let next = threads.len() + 1;
        let thread = threads.entry(line.thread).or_insert(next);
        format!("{process}.{thread}")
    }
}

impl RecordWriter for Text {
    fn line(&mut self, line: Option<&Line>, _text: &[u8], to: &mut dyn Write) -> io::Result<()> {
        let Some(line) = line else {
            return writeln!(to, "{}", self.style.bad("(a line that cannot be read)"));
        };
        let label = self.label(line);
        if line.lost > 0 {
            let lost = format!(
                "(process {}: {} lines could not be written)",
                line.process, line.lost
            );
            writeln!(to, "{}", self.style.bad(&lost))?;
        }
        let at = self
            .style
            .dim(&format!("{} {label}", time::of_day(line.microseconds)));
        let call = self.calls.note(line);
        match &line.event {
            Event::Process { program, pins, .. } => {
                let program = printable(program.as_deref().unwrap_or("a program"));
                let pins = printable(pins);
                writeln!(
                    to,
                    "{at} process {}: {program}, PINs and keys are {pins}",
                    line.process
                )
            }
            Event::Call {
                function, arguments, ..
            } => {
                let name = self.style.bold(&printable(function));
                writeln!(to, "{at} {name}{}", shown(function, arguments))?;
                bytes(arguments, to)
            }
            Event::Return {
                function,
                result,
                results,
                ..
            } => {
                let took = call.map_or(String::new(), |begun| {
                    let microseconds = line.microseconds.saturating_sub(begun.microseconds);
                    format!(", {}.{:03} ms", microseconds / 1000, microseconds % 1000)
                });
                let function = printable(function);
                let result = match printable(&names::result(result)) {
                    success if success.ends_with("_S_SUCCESS") => self.style.good(&success),
                    error => self.style.bad(&error),
                };
                writeln!(
                    to,
                    "{at} {function} = {result}{took}{}",
                    shown(&function, results)
                )?;
                bytes(results, to)
            }
        }
    }
}

/// The fields that are no bytes, for a terminal.
fn shown(function: &str, of: &Map<String, Value>) -> String {
    printable(&fields(function, of))
}

/// The fields that are no bytes.
fn fields(function: &str, fields: &Map<String, Value>) -> String {
    let place = |name: &str| {
        ORDER
            .iter()
            .position(|known| *known == name)
            .unwrap_or(ORDER.len())
    };
    let mut names: Vec<&String> = fields
        .keys()
        .filter(|name| !BYTES.contains(&name.as_str()))
        .collect();
    names.sort_by_key(|name| place(name));
    let shown = names
        .into_iter()
        .map(|name| format!(" {name}={}", list(function, name, &fields[name])));
    shown.collect()
}

/// A value, or the objects of an array, each in brackets.
fn list(function: &str, name: &str, value: &Value) -> String {
    let Value::Array(items) = value else {
        return names::shown(function, name, value);
    };
    let item = |item: &Value| match item {
        Value::Object(object) => {
            let inner = fields(function, object);
            let atr = object
                .get("atr")
                .and_then(Value::as_str)
                .filter(|atr| !atr.is_empty());
            let atr = atr.map_or(String::new(), |atr| format!(" atr={atr}"));
            format!("{{{}{atr}}}", inner.trim_start())
        }
        other => other.to_string(),
    };
    format!("[{}]", items.iter().map(item).collect::<Vec<_>>().join(", "))
}

/// The fields that are bytes, with `>` before what goes to the card or the reader and `<` before what comes.
fn bytes(fields: &Map<String, Value>, to: &mut dyn Write) -> io::Result<()> {
    for name in BYTES {
        let digits = fields.get(name).and_then(Value::as_str).unwrap_or_default();
        if digits.is_empty() {
            continue;
        }
        let is_sent = matches!(name, "command" | "data") || (name == "value" && fields.contains_key("card"));
        let meaning = match (name, digits.len().checked_sub(4).and_then(|at| digits.get(at..))) {
            ("response", Some(words)) => u16::from_str_radix(words, 16).ok(),
            _ => None,
        };
        let meaning = meaning.map_or(String::new(), |words| {
            let [sw1, sw2] = words.to_be_bytes();
            format!(" ({})", status_words::meaning(sw1, sw2))
        });
        let direction = if is_sent { '>' } else { '<' };
        writeln!(
            to,
            "    {direction} {name} {}{meaning}",
            printable(&hex::pairs(digits))
        )?;
    }
    Ok(())
}
