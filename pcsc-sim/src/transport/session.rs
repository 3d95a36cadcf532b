//! Sessions with a reader as text: [`RecordTransport`] writes one, [`ReplayTransport`] plays the device in
//! it.
//!
//! A line a call, its fields parted by spaces: the time in microseconds after the call, what was called, what
//! it was called with, and what came of it: data in hexadecimal ("-" for none), or "!" and the error.
//!
//! ```text
//! 0 control-in 03 0000 1024 !stall
//! 0 out 65000000000000000000 ok
//! 12 in 271 81000000000000018101
//! 12 clear-halt ok
//! 250012 pause 250000 ok
//! ```
//!
//! Lines that begin with "#" are comments. What looks like a PIN in a command to a card is written as "..",
//! which stands for any byte when the session is played.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Duration;

use super::secrets::Secrets;
use pcsc_ccid::message::HEADER_SIZE;
use pcsc_ccid::transport::{Error, Transport};

/// PC_to_RDR_XfrBlock, and the request of the same name (ICCD 1.0, clause 6).
const XFR_BLOCK: u8 = 0x6F;
const ICCD_XFR_BLOCK: u8 = 0x65;
/// RDR_to_PC_DataBlock.
const DATA_BLOCK: u8 = 0x80;
const ERRORS: [(Error, &str); 5] = [
    (Error::Timeout, "timeout"),
    (Error::Cancelled, "cancelled"),
    (Error::Stall, "stall"),
    (Error::Gone, "gone"),
    (Error::Fault, "fault"),
];

/// A decorator that writes down what goes by.
pub struct RecordTransport<T, W> {
    inner: T,
    out: W,
    secrets: Secrets,
}

impl<T: Transport, W: Write> RecordTransport<T, W> {
    /// Writes to `out` what goes over `inner`. Where writing fails, lines are missing.
    pub fn new(inner: T, out: W) -> Self {
        RecordTransport {
            inner,
            out,
            secrets: Secrets::default(),
        }
    }

    /// The transport beneath.
    pub fn inner(&mut self) -> &mut T {
        &mut self.inner
    }

    /// What was written to.
    pub fn output(&self) -> &W {
        &self.out
    }

    fn note(&mut self, call: &str, outcome: &str) {
        let now = self.inner.now().as_micros();
        let _ = writeln!(self.out, "{now} {call} {outcome}");
    }
}

fn outcome(result: Result<(), Error>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => failure(error),
    }
}

fn failure(error: Error) -> String {
    let name = ERRORS.iter().find(|(other, _)| *other == error);
    format!("!{}", name.map_or("fault", |(_, name)| name))
}

/// Bytes in hexadecimal; those of a range that is a PIN as dots.
fn hex(bytes: &[u8], secret: std::ops::Range<usize>) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    let mut text = String::with_capacity(2 * bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        let _ = match secret.contains(&at) {
            true => text.write_str(".."),
            false => write!(text, "{byte:02X}"),
        };
    }
    text
}

impl<T: Transport, W: Write + Send> Transport for RecordTransport<T, W> {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), Error> {
        let result = self.inner.send(message, timeout);
        let secret = match message.split_at_checked(HEADER_SIZE) {
            Some((&[XFR_BLOCK, .., low, high], data)) if !data.is_empty() => {
                let secret = self.secrets.in_command(data, u16::from_le_bytes([low, high]));
                HEADER_SIZE + secret.start..HEADER_SIZE + secret.end
            }
            _ => 0..0,
        };
        let call = format!("out {}", hex(message, secret));
        self.note(&call, &outcome(result));
        result
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, Error> {
        let result = self.inner.receive(buffer, timeout);
        if let Some([DATA_BLOCK, rest @ ..]) = result.ok().and_then(|length| buffer.get(..length)) {
            self.secrets
                .on_answer(rest.get(HEADER_SIZE - 1..).unwrap_or_default());
        }
        let text = match result {
            Ok(length) => hex(buffer.get(..length).unwrap_or(buffer), 0..0),
            Err(error) => failure(error),
        };
        let call = format!("in {}", buffer.len());
        self.note(&call, &text);
        result
    }

    fn control_out(&mut self, request: u8, value: u16, data: &[u8], timeout: Duration) -> Result<(), Error> {
        let result = self.inner.control_out(request, value, data, timeout);
        let secret = match request {
            ICCD_XFR_BLOCK if !data.is_empty() => self.secrets.in_command(data, value >> 8),
            _ => 0..0,
        };
        let call = format!("control-out {request:02X} {value:04X} {}", hex(data, secret));
        self.note(&call, &outcome(result));
        result
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, Error> {
        let result = self.inner.control_in(request, value, buffer, timeout);
        let text = match result {
            Ok(length) => hex(buffer.get(..length).unwrap_or(buffer), 0..0),
            Err(error) => failure(error),
        };
        let call = format!("control-in {request:02X} {value:04X} {}", buffer.len());
        self.note(&call, &text);
        result
    }

    fn clear_halt(&mut self) -> Result<(), Error> {
        let result = self.inner.clear_halt();
        self.note("clear-halt", &outcome(result));
        result
    }

    fn pause(&mut self, time: Duration) -> Result<(), Error> {
        let result = self.inner.pause(time);
        let call = format!("pause {}", time.as_micros());
        self.note(&call, &outcome(result));
        result
    }

    fn now(&self) -> Duration {
        self.inner.now()
    }
}

/// A device out of a written session: it answers as it did then, as long as the host does as it did then.
pub struct ReplayTransport {
    lines: VecDeque<String>,
    now: Duration,
    departure: Option<String>,
}

impl ReplayTransport {
    /// Plays this session.
    pub fn new(session: &str) -> Self {
        ReplayTransport {
            lines: session
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(str::to_owned)
                .collect(),
            now: Duration::ZERO,
            departure: None,
        }
    }

    /// How many calls are left.
    pub fn left(&self) -> usize {
        self.lines.len()
    }

    /// Where the host did something else, or the session cannot be read: the line, and what the host did.
    pub fn departure(&self) -> Option<&str> {
        self.departure.as_deref()
    }

    /// What came of a call then. A call that was not made then fails, and so does every call after it.
    fn play(&mut self, call: &str) -> Result<String, Error> {
        if self.departure.is_some() {
            return Err(Error::Fault);
        }
        let line = self.lines.pop_front().unwrap_or_else(|| "the end".to_owned());
        let fields = line.split_once(' ').and_then(|(time, rest)| {
            let (written, outcome) = rest.rsplit_once(' ')?;
            Some((time.parse().ok()?, written, outcome))
        });
        match fields {
            Some((micros, written, outcome)) if is_same(written, call) => {
                self.now = Duration::from_micros(micros);
                match outcome.strip_prefix('!') {
                    None => Ok(outcome.to_owned()),
                    Some(name) => Err(ERRORS
                        .iter()
                        .find(|(_, other)| *other == name)
                        .map_or(Error::Fault, |(error, _)| *error)),
                }
            }
            _ => {
                self.departure = Some(format!("at \"{line}\" the host did \"{call}\""));
                Err(Error::Fault)
            }
        }
    }

    fn play_data(&mut self, call: &str, buffer: &mut [u8]) -> Result<usize, Error> {
        let text = self.play(call)?;
        if text == "-" {
            return Ok(0);
        }
        let mut length = 0;
        for pair in text.as_bytes().chunks(2) {
            let byte = core::str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok());
            match (byte, buffer.get_mut(length)) {
                (Some(byte), Some(place)) => *place = byte,
                _ => {
                    self.departure = Some(format!("\"{text}\" cannot be played"));
                    return Err(Error::Fault);
                }
            }
            length += 1;
        }
        Ok(length)
    }
}

/// Whether a call is the written one; dots stand for any digit.
fn is_same(written: &str, call: &str) -> bool {
    written.len() == call.len()
        && written
            .bytes()
            .zip(call.bytes())
            .all(|(written, called)| written == called || written == b'.')
}

impl Transport for ReplayTransport {
    fn send(&mut self, message: &[u8], _timeout: Duration) -> Result<(), Error> {
        self.play(&format!("out {}", hex(message, 0..0))).map(drop)
    }

    fn receive(&mut self, buffer: &mut [u8], _timeout: Duration) -> Result<usize, Error> {
        self.play_data(&format!("in {}", buffer.len()), buffer)
    }

    fn control_out(&mut self, request: u8, value: u16, data: &[u8], _timeout: Duration) -> Result<(), Error> {
        self.play(&format!(
            "control-out {request:02X} {value:04X} {}",
            hex(data, 0..0)
        ))
        .map(drop)
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        _timeout: Duration,
    ) -> Result<usize, Error> {
        let call = format!("control-in {request:02X} {value:04X} {}", buffer.len());
        self.play_data(&call, buffer)
    }

    fn clear_halt(&mut self) -> Result<(), Error> {
        self.play("clear-halt").map(drop)
    }

    fn pause(&mut self, time: Duration) -> Result<(), Error> {
        self.play(&format!("pause {}", time.as_micros())).map(drop)
    }

    fn now(&self) -> Duration {
        self.now
    }
}
