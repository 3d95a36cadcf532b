//! Standard output: text for people or JSON for programs, both from the same data. Standard error: messages.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::environment::variable;
use crate::problem::Problem;

/// Data that a command prints.
pub trait Show: Serialize {
    /// Writes the data for people.
    fn text(&self, to: &mut dyn Write, style: Style) -> io::Result<()>;
}

/// How text is emphasized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// With the colours of a terminal.
    pub has_colour: bool,
}

impl Style {
    /// With colours in a terminal, unless `NO_COLOR` is set or the terminal has none.
    pub fn of(out: &impl IsTerminal) -> Style {
        let is_dumb = variable("TERM").is_none_or(|term| term == "dumb");
        Style {
            has_colour: out.is_terminal() && variable("NO_COLOR").is_none() && !is_dumb,
        }
    }

    /// The text in bold type.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// The text of what is good.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// The text of what is wrong.
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// The text of what matters less.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.has_colour {
            true => format!("\x1B[{code}m{text}\x1B[0m"),
            false => text.to_owned(),
        }
    }
}

/// Standard output.
#[derive(Debug)]
pub struct Output {
    is_json: bool,
    style: Style,
    out: io::Stdout,
}

impl Output {
    /// JSON, or text.
    pub fn new(is_json: bool) -> Output {
        let out = io::stdout();
        Output {
            is_json,
            style: Style::of(&out),
            out,
        }
    }

    /// Prints the whole answer of a command. JSON takes several lines.
    pub fn whole(&mut self, data: &impl Show) -> Result<(), Problem> {
        self.print(data, true).map_err(Problem::output)
    }

    /// Prints one of several answers. JSON takes one line for each (JSON Lines).
    pub fn part(&mut self, data: &impl Show) -> Result<(), Problem> {
        self.print(data, false).map_err(Problem::output)
    }

    fn print(&mut self, data: &impl Show, is_whole: bool) -> io::Result<()> {
        let mut out = self.out.lock();
        match (self.is_json, is_whole) {
            (false, _) => data.text(&mut out, self.style)?,
            (true, true) => serde_json::to_writer_pretty(&mut out, data)?,
            (true, false) => serde_json::to_writer(&mut out, data)?,
        }
        if self.is_json {
            writeln!(out)?;
        }
        out.flush()
    }
}

/// Writes a line to standard error. An error is ignored: there is no other place to report it, and the
/// command goes on.
pub fn message(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "pcsc: {text}");
}

/// Writes a warning to standard error.
pub fn warn(text: impl std::fmt::Display) {
    message(format_args!("warning: {text}"));
}

/// Text of a device or a card, without control characters, which could do anything to a terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '.' } else { c })
        .collect()
}
