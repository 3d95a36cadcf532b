//! Reads a record.

use std::time::Duration;

use pcsc_ccid::descriptor::{interfaces, Interface};
use pcsc_ccid::transport::TransportError;

use super::line::{bytes, shown, Setup, Transfer};
use super::RecordedDevice;
use crate::masked::Masked;
use crate::{RecordError, UsbIdentity};

/// The first field of a record, and the version that is read and written.
pub(super) const FORMAT: &str = "pcsc-usb-record";
pub(super) const VERSION: u32 = 1;
/// The longest line. The longest CCID message, in digits, is shorter.
const MAX_LINE: usize = 1 << 18;

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsbRecord {
    /// The reader.
    pub device: RecordedDevice,
    pub(super) exchanges: Vec<RecordedExchange>,
    pub(super) interrupts: Vec<Interrupt>,
}

/// A message to the reader, with what follows it up to the next message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordedExchange {
    /// Its line in the record.
    pub line: usize,
    pub setup: Option<Setup>,
    pub message: Message,
    /// What follows, each with the time since the transfer before it.
    pub answers: Vec<(Duration, RecordedAnswer)>,
}

/// What is sent to the reader, or asked of it over the control pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Out(Masked, Result<(), TransportError>),
    /// A class request, with its outcome.
    In(Result<Vec<u8>, TransportError>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RecordedAnswer {
    In(Result<Vec<u8>, TransportError>),
    ClearHalt(Result<(), TransportError>),
}

/// A message of the interrupt pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interrupt {
    /// How many exchanges begin before it.
    pub after: usize,
    /// The time since the transfer before it.
    pub delay: Duration,
    pub result: Result<Vec<u8>, TransportError>,
}

impl UsbRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// [`RecordError`] for the first line that is wrong.
    pub fn parse(text: &[u8]) -> Result<UsbRecord, RecordError> {
        let mut reading = Reading::default();
        let mut number = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            number += 1;
            let read = whole_line(line).and_then(|line| reading.line(number, line));
            read.map_err(|reason| RecordError::new(number, reason))?;
        }
        reading
            .end()
            .map_err(|reason| RecordError::new(number + 1, reason))
    }

    /// Whether a file begins as a record does, of whatever version.
    pub fn is_one(text: &[u8]) -> bool {
        text.starts_with(FORMAT.as_bytes())
    }
}

fn whole_line(line: &[u8]) -> Result<&str, String> {
    if line.len() > MAX_LINE {
        return Err(format!("the line has {} bytes, more than {MAX_LINE}", line.len()));
    }
    let line = line
        .strip_suffix(b"\n")
        .ok_or("the line has no end: the file is cut")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    std::str::from_utf8(line).map_err(|error| format!("byte {} is no UTF-8", error.valid_up_to() + 1))
}

/// The line without its comment.
fn without_comment(line: &str) -> &str {
    match line.starts_with('#') {
        true => "",
        false => line.find(" #").map_or(line, |at| &line[..at]),
    }
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    has_header: bool,
    has_ids: bool,
    identity: UsbIdentity,
    device: Option<RecordedDevice>,
    time: Duration,
    exchanges: Vec<RecordedExchange>,
    /// The last one on the bulk pipes.
    last: Option<usize>,
    interrupts: Vec<Interrupt>,
}

impl Reading {
    fn line(&mut self, number: usize, whole: &str) -> Result<(), String> {
        let line = without_comment(whole).trim();
        match &self.device {
            _ if !self.has_header => self.header(line),
            _ if line.is_empty() => Ok(()),
            None => self.about_the_reader(whole, line),
            Some(device) => self.transfer(number, line, device.interface),
        }
    }

    fn header(&mut self, line: &str) -> Result<(), String> {
        let version = match line.split_once(' ') {
            Some((FORMAT, version)) => version.trim(),
            _ => {
                return Err(format!(
                    "this is no record of transfers: it does not begin with {FORMAT}"
                ))
            }
        };
        match version.parse() {
            Ok(VERSION) => {
                self.has_header = true;
                Ok(())
            }
            Ok(other) => Err(format!(
                "the record has version {other}, and this program reads version {VERSION}"
            )),
            Err(_) => Err(format!("{} is no version", shown(version))),
        }
    }

    fn about_the_reader(&mut self, whole: &str, line: &str) -> Result<(), String> {
        let (field, value) = line.split_once(' ').unwrap_or((line, ""));
        // A comment cannot follow a string.
        let string = || {
            whole
                .trim_start()
                .split_once(' ')
                .map(|(_, string)| string.to_owned())
        };
        match field {
            "device" => {
                let (ids, release) = value.trim().split_once(' ').unwrap_or_default();
                let set = self.identity.set_ids(ids);
                set.and_then(|()| self.identity.set_release(release.trim()))
                    .ok_or_else(|| format!("{} is not VENDOR:PRODUCT RELEASE", shown(value.trim())))?;
                self.has_ids = true;
            }
            "manufacturer" => self.identity.manufacturer = string(),
            "product" => self.identity.product = string(),
            "interface-name" => self.identity.interface_name = string(),
            "descriptors" => {
                let bytes: Option<Vec<u8>> = bytes(value.trim())?.into_iter().collect();
                let bytes = bytes.ok_or("a byte of the descriptors is hidden")?;
                if !self.has_ids {
                    return Err("the line device must come before".to_owned());
                }
                let interface = match interfaces(&bytes).into_iter().next() {
                    Some(Ok(interface)) => interface,
                    Some(Err(unusable)) => return Err(format!("the reader cannot be used: {unusable}")),
                    None => return Err("the descriptors are no reader's".to_owned()),
                };
                self.device = Some(RecordedDevice {
                    identity: std::mem::take(&mut self.identity),
                    interface,
                });
            }
            other => {
                return Err(format!(
                    "{} is no line about the reader: device, manufacturer, product, interface-name or \
                     descriptors",
                    shown(other)
                ))
            }
        }
        Ok(())
    }

    fn transfer(&mut self, number: usize, line: &str, interface: Interface) -> Result<(), String> {
        let (time, rest) = line.split_once(' ').unwrap_or((line, ""));
        let micros = time
            .parse()
            .map_err(|_| format!("{} is no time in microseconds", shown(time)))?;
        let time = Duration::from_micros(micros);
        let delay = time
            .checked_sub(self.time)
            .ok_or_else(|| format!("the time goes back, from {}", self.time.as_micros()))?;
        self.time = time;
        match Transfer::parse(rest)? {
            Transfer::Out {
                endpoint,
                setup,
                data,
                result,
            } => {
                check(endpoint, setup, interface.bulk_out)?;
                if setup.is_none() {
                    self.last = Some(self.exchanges.len());
                }
                self.begin(number, setup, Message::Out(data, result));
            }
            Transfer::In {
                endpoint,
                setup: None,
                result,
            } if interface.interrupt_in.map(|pipe| pipe.address) == Some(endpoint) => {
                self.interrupts.push(Interrupt {
                    after: self.exchanges.len(),
                    delay,
                    result,
                });
            }
            Transfer::In {
                endpoint,
                setup,
                result,
            } => {
                check(endpoint, setup, interface.bulk_in)?;
                match setup {
                    Some(_) => self.begin(number, setup, Message::In(result)),
                    None => self.answer(delay, RecordedAnswer::In(result))?,
                }
            }
            Transfer::ClearHalt(result) => self.answer(delay, RecordedAnswer::ClearHalt(result))?,
        }
        Ok(())
    }

    fn begin(&mut self, line: usize, setup: Option<Setup>, message: Message) {
        self.exchanges.push(RecordedExchange {
            line,
            setup,
            message,
            answers: Vec::new(),
        });
    }

    fn answer(&mut self, delay: Duration, answer: RecordedAnswer) -> Result<(), String> {
        let last = self.last.and_then(|last| self.exchanges.get_mut(last));
        let last = last.ok_or("nothing was sent before it: lines are missing or in another order")?;
        last.answers.push((delay, answer));
        Ok(())
    }

    fn end(self) -> Result<UsbRecord, String> {
        match self.device {
            Some(device) => Ok(UsbRecord {
                device,
                exchanges: self.exchanges,
                interrupts: self.interrupts,
            }),
            None if self.has_header => Err("the line descriptors is missing: the file is cut".to_owned()),
            None => Err("the file is empty".to_owned()),
        }
    }
}

/// A transfer without a setup goes over the reader's bulk pipe of its direction.
fn check(endpoint: u8, setup: Option<Setup>, bulk: Option<u8>) -> Result<(), String> {
    match setup.is_some() || bulk == Some(endpoint) {
        true => Ok(()),
        false => Err(format!(
            "the reader has no endpoint {endpoint:02X} of this direction"
        )),
    }
}
