//! The calls that the library records where `PCSCLITE_SPY` names a file, and their forms for people and
//! programs. `pcsc-sys-shim/RECORDING.md` describes the lines.

pub mod call_record;
mod names;
mod pcapng;
mod text;

use std::collections::HashMap;
use std::io::{self, Write};

use pcsc_sim::masked::{self, Masked};
use serde::Deserialize;
use serde_json::{Map, Value};

pub use pcapng::Pcapng;
pub use text::Text;

/// The newest version of the lines that can be read.
const FORMAT: u32 = 1;
/// `SCARD_S_SUCCESS`, as it is recorded.
const SUCCESS: &str = "0x00000000";

/// A line of a recording.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    /// The number of the process.
    pub process: u32,
    /// The kernel's number of the thread.
    pub thread: u32,
    /// The time, in microseconds since 1970.
    pub microseconds: u64,
    /// Lines of the process that could not be written before this one.
    #[serde(default)]
    pub lost: u32,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The content of a line.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// A process makes its first call.
    Process {
        format: u32,
        program: Option<String>,
        pins: String,
    },
    /// A call begins.
    Call {
        call: u32,
        function: String,
        arguments: Map<String, Value>,
    },
    /// A call returns.
    Return {
        call: u32,
        function: String,
        result: String,
        results: Map<String, Value>,
    },
}

impl Line {
    /// Reads a line; `None` for what is none, such as the first part of a line for which the disk had no
    /// room.
    pub fn parse(text: &[u8]) -> Option<Line> {
        let line: Line = serde_json::from_slice(text).ok()?;
        match line.event {
            Event::Process { format, .. } if format > FORMAT => None,
            _ => Some(line),
        }
    }
}

/// A form that a recording is written in.
pub trait RecordWriter {
    /// Writes what comes before all lines, if anything.
    fn begin(&mut self, _to: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Writes a line; `None` for one that cannot be read.
    fn line(&mut self, line: Option<&Line>, text: &[u8], to: &mut dyn Write) -> io::Result<()>;
}

/// JSON Lines, as the library writes them.
#[derive(Debug)]
pub struct Json;

impl RecordWriter for Json {
    fn line(&mut self, line: Option<&Line>, text: &[u8], to: &mut dyn Write) -> io::Result<()> {
        match line {
            Some(_) => to.write_all(&[text, b"\n"].concat()),
            None => Ok(()),
        }
    }
}

/// A call that has returned.
#[derive(Debug)]
pub struct Call<'a> {
    /// The function's name.
    pub function: &'a str,
    /// When it began, in microseconds since 1970.
    pub microseconds: u64,
    /// What it was given.
    pub arguments: Map<String, Value>,
    /// The return code.
    pub result: &'a str,
    /// What it has given.
    pub results: &'a Map<String, Value>,
    /// The reader of the connection that it was made on.
    pub reader: Option<String>,
}

/// The calls of a recording that have not returned, and the connections.
#[derive(Debug, Default)]
pub struct Calls {
    /// By process and number.
    begun: HashMap<(u32, u32), Begun>,
    /// The readers of connections, by process and handle.
    readers: HashMap<(u32, String), String>,
}

#[derive(Debug)]
struct Begun {
    microseconds: u64,
    arguments: Map<String, Value>,
    /// That of the connection.
    reader: Option<String>,
}

impl Calls {
    /// Notes a line. Returns the call that returns with it; `None` where its beginning was not recorded.
    pub fn note<'a>(&mut self, line: &'a Line) -> Option<Call<'a>> {
        let connection = |fields: &Map<String, Value>| Some((line.process, fields.get("card")?.to_string()));
        match &line.event {
            Event::Process { .. } => None,
            Event::Call { call, arguments, .. } => {
                let begun = Begun {
                    microseconds: line.microseconds,
                    arguments: arguments.clone(),
                    reader: connection(arguments).and_then(|card| self.readers.get(&card).cloned()),
                };
                self.begun.insert((line.process, *call), begun);
                None
            }
            Event::Return {
                call,
                function,
                result,
                results,
            } => {
                let Begun {
                    microseconds,
                    arguments,
                    reader,
                } = self.begun.remove(&(line.process, *call))?;
                if function == "SCardConnect" {
                    let connected = connection(results).zip(text(&arguments, "reader"));
                    self.readers
                        .extend(connected.map(|(card, reader)| (card, reader.to_owned())));
                } else if function == "SCardDisconnect" && result == SUCCESS {
                    connection(&arguments).and_then(|card| self.readers.remove(&card));
                }
                Some(Call {
                    function,
                    microseconds,
                    arguments,
                    result,
                    results,
                    reader,
                })
            }
        }
    }
}

impl Call<'_> {
    /// What `SCardGetStatusChange` was given for each reader, and what it gave for it.
    fn watched(&self) -> impl Iterator<Item = (&Map<String, Value>, &Map<String, Value>)> {
        let objects = |fields| match Map::get(fields, "readers") {
            Some(Value::Array(readers)) => readers.as_slice(),
            _ => &[],
        };
        let pairs = objects(&self.arguments).iter().zip(objects(self.results));
        pairs.filter_map(|(known, now)| known.as_object().zip(now.as_object()))
    }
}

/// The text of a field.
fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

/// The bytes of a field, if it is made of pairs of digits; `None` for each that is hidden, as `**`.
fn bytes(fields: &Map<String, Value>, name: &str) -> Option<Masked> {
    masked::parse(text(fields, name).unwrap_or_default()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_other_formats_and_parts_of_lines_are_not_read() {
        let process = |format| {
            format!(
                r#"{{"event":"process","process":1,"thread":1,"microseconds":2,"format":{format},
                    "program":null,"version":"0.1.0","pins":"hidden","lost":3}}"#
            )
        };
        assert_eq!(Line::parse(process(1).as_bytes()).map(|line| line.lost), Some(3));
        for wrong in [
            &process(2)[..],
            &process(1)[..60],
            "{}",
            "",
            "[]",
            "{\"event\":\"else\"}",
        ] {
            assert!(Line::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn readers_are_known_as_long_as_they_are_connected() {
        let mut calls = Calls::default();
        let mut call = |number: u32, function: &str, arguments: &str, result: &str, results: &str| {
            let head =
                format!(r#""process":1,"thread":1,"microseconds":2,"call":{number},"function":"{function}""#);
            for text in [
                format!(r#"{{"event":"call",{head},"arguments":{{{arguments}}}}}"#),
                format!(r#"{{"event":"return",{head},"result":"{result}","results":{{{results}}}}}"#),
            ] {
                calls.note(&Line::parse(text.as_bytes()).unwrap());
            }
            calls.readers.len()
        };
        let connect = r#""context":1,"reader":"R","share_mode":2,"protocols":3"#;
        assert_eq!(
            call(1, "SCardConnect", connect, SUCCESS, r#""card":7,"protocol":2"#),
            1
        );
        let disconnect = r#""card":7,"disposition":0"#;
        assert_eq!(call(2, "SCardDisconnect", disconnect, "0x80100017", ""), 1);
        assert_eq!(call(3, "SCardDisconnect", disconnect, SUCCESS, ""), 0);
    }
}
