//! The calls that the library records where `PCSCLITE_SPY` names a file, and their forms for people and
//! programs. `pcsc-sys-shim/RECORDING.md` describes the lines.

mod names;
mod pcapng;
pub mod session;
mod text;

use std::collections::HashMap;
use std::io::{self, Write};

use serde::Deserialize;
use serde_json::{Map, Value};

pub use pcapng::Pcapng;
pub use text::Text;

/// The newest version of the lines that can be read.
const FORMAT: u32 = 1;

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

/// What a line tells.
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
pub trait Form {
    /// Writes what comes before all lines.
    fn begin(&mut self, to: &mut dyn Write) -> io::Result<()>;

    /// Writes a line; `None` for one that cannot be read.
    fn line(&mut self, line: Option<&Line>, text: &[u8], to: &mut dyn Write) -> io::Result<()>;
}

/// JSON Lines, as the library writes them.
#[derive(Debug)]
pub struct Json;

impl Form for Json {
    fn begin(&mut self, _to: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn line(&mut self, line: Option<&Line>, text: &[u8], to: &mut dyn Write) -> io::Result<()> {
        match line {
            Some(_) => to.write_all(&[text, b"\n"].concat()),
            None => Ok(()),
        }
    }
}

/// A call that has not returned.
#[derive(Debug)]
pub struct Begun {
    /// When it began, in microseconds since 1970.
    pub microseconds: u64,
    /// What it was given.
    pub arguments: Map<String, Value>,
}

/// The calls that have not returned, by process and number.
#[derive(Debug, Default)]
pub struct Calls(HashMap<(u32, u32), Begun>);

impl Calls {
    /// A call begins.
    pub fn begin(&mut self, line: &Line, call: u32, arguments: &Map<String, Value>) {
        let begun = Begun {
            microseconds: line.microseconds,
            arguments: arguments.clone(),
        };
        self.0.insert((line.process, call), begun);
    }

    /// A call returns; `None` where its beginning was not recorded.
    pub fn end(&mut self, line: &Line, call: u32) -> Option<Begun> {
        self.0.remove(&(line.process, call))
    }
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
}
