//! The record of one reader, for a replay, out of a recording of calls.

use std::collections::HashMap;
use std::time::Duration;

use pcsc_constants as pcsc;
use pcsc_manager::{CallRecord, RecordedCard, RecordedStep, SlotError, StepKind};
use pcsc_sim::masked::Masked;
use pcsc_sim::RecordError;
use serde_json::{Map, Value};

use super::{names, text, Call, Calls, Event, Line};

/// The ATRs of cards of which no call gave it: T=0, and T=1 without historical bytes.
const T0_ATR: [u8; 2] = [0x3B, 0x00];
const T1_ATR: [u8; 4] = [0x3B, 0x80, 0x01, 0x81];

/// What was recorded of a reader.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReaderCalls {
    /// With the time at which each began or was seen, in microseconds.
    steps: Vec<(u64, RecordedStep)>,
    card: Option<RecordedCard>,
    /// Where the present card is in `steps`, while its ATR is not known.
    unknown: Option<usize>,
    /// How many bytes of answers are hidden. They are 0.
    pub hidden: usize,
}

impl ReaderCalls {
    /// How much went to the card and the reader.
    pub fn exchanges(&self) -> usize {
        let is_exchange = |(_, step): &&(u64, RecordedStep)| {
            matches!(step.kind, StepKind::Transmit(..) | StepKind::Control(..))
        };
        self.steps.iter().filter(is_exchange).count()
    }

    /// The record of this reader.
    pub fn into_record(mut self, name: &str) -> CallRecord {
        // Calls of several threads return in another order than they begin.
        self.steps.sort_by_key(|(time, _)| *time);
        let mut before = None;
        let steps = self.steps.into_iter().map(|(time, mut step)| {
            let since = time - before.replace(time).unwrap_or(time);
            step.delay = Duration::from_micros(since);
            step
        });
        CallRecord::new(base_name(name), steps.collect())
    }

    fn push(&mut self, line: usize, time: u64, kind: StepKind) {
        let step = RecordedStep::new(line, Duration::ZERO, kind);
        self.steps.push((time, step));
    }

    /// A call has shown what is in the slot. An ATR that it does not show is empty.
    fn see(&mut self, now: &Now, seen: RecordedCard) {
        match (&self.card, &seen, self.unknown) {
            (Some(card), seen, _) if card == seen => (),
            // Nothing new.
            (Some(RecordedCard::Present(_)), RecordedCard::Present(atr), _) if atr.is_empty() => (),
            (Some(RecordedCard::Present(_)), RecordedCard::Present(_), Some(at)) => {
                self.steps[at].1.kind = StepKind::Card(seen.clone());
                (self.card, self.unknown) = (Some(seen), None);
            }
            _ => {
                let is_unknown = matches!(&seen, RecordedCard::Present(atr) if atr.is_empty());
                self.unknown = is_unknown.then_some(self.steps.len());
                self.card = Some(seen.clone());
                self.push(now.line, now.time, StepKind::Card(seen));
            }
        }
    }

    /// A connection has a card with this protocol.
    fn see_protocol(&mut self, protocol: u32) {
        if let Some((_, step)) = self.unknown.and_then(|at| self.steps.get_mut(at)) {
            let atr = match protocol {
                pcsc::SCARD_PROTOCOL_T0 => T0_ATR.to_vec(),
                _ => T1_ATR.to_vec(),
            };
            // A later call may give the real one.
            step.kind = StepKind::Card(RecordedCard::Present(atr));
        }
    }

    fn has_card(&self) -> bool {
        matches!(self.card, Some(RecordedCard::Present(_)))
    }
}

/// A name without the numbers of reader and slot.
fn base_name(name: &str) -> &str {
    let is_number = |text: &str| text.len() == 2 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let parts = name.rsplit_once(' ').and_then(|(rest, slot)| {
        let (base, reader) = rest.rsplit_once(' ')?;
        (is_number(slot) && is_number(reader)).then_some(base)
    });
    parts.unwrap_or(name)
}

/// What a recording has, by the names of readers.
///
/// # Errors
/// The first line that is none of a recording, or in no order that a recording has.
pub fn readers(text: &[u8]) -> Result<HashMap<String, ReaderCalls>, RecordError> {
    let mut reading = Reading::default();
    let mut number = 0;
    let mut broken = None;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        number += 1;
        let damaged = |reason: String| RecordError::new(number, reason);
        let Some(line) = line.strip_suffix(b"\n") else {
            let cut = || damaged("the line has no end: the file is cut".into());
            return Err(broken.unwrap_or_else(cut));
        };
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let line = match parse(line) {
            Ok(line) => line,
            Err(reason) if broken.is_none() => {
                broken = Some(damaged(reason));
                continue;
            }
            Err(_) => continue,
        };
        // If only a part of a line could be written, the next line counts it in `lost`.
        if let Some(broken) = broken.take().filter(|_| line.lost == 0) {
            return Err(broken);
        }
        reading.line(number, &line).map_err(damaged)?;
    }
    match (broken, reading.has_begun) {
        (Some(broken), _) => Err(broken),
        (None, true) => Ok(reading.readers),
        (None, false) => Err(RecordError::new(number + 1, "the file is empty")),
    }
}

/// Reads a line of which all is needed.
fn parse(text: &[u8]) -> Result<Line, String> {
    let line: Line = serde_json::from_slice(text).map_err(|error| {
        let reason = error.to_string().replace(" at line 1 column ", " at byte ");
        format!("this is no line of a record: {reason}")
    })?;
    match line.event {
        Event::Process { format, .. } if format > super::FORMAT => Err(format!(
            "the record has format {format}, and this program reads format {}",
            super::FORMAT
        )),
        _ => Ok(line),
    }
}

#[derive(Default)]
struct Reading {
    has_begun: bool,
    /// Lines are missing.
    has_lost: bool,
    calls: Calls,
    readers: HashMap<String, ReaderCalls>,
}

impl Reading {
    fn line(&mut self, number: usize, line: &Line) -> Result<(), String> {
        self.has_lost |= line.lost > 0;
        match &line.event {
            Event::Process { .. } => self.has_begun = true,
            _ if !self.has_begun => return Err("the first line of a record is about a process".into()),
            _ => (),
        }
        let returned = self.calls.note(line);
        match (returned, &line.event) {
            (Some(call), _) => {
                let code = names::number(&Value::String(call.result.to_owned()))
                    .ok_or_else(|| format!("{:?} is no return code", call.result))?;
                let now = Now {
                    line: number,
                    time: line.microseconds,
                    code,
                };
                self.end(&now, &call)
            }
            (None, Event::Return { call, .. }) if !self.has_lost => {
                Err(format!("call {call} ends, and has not begun: lines are missing"))
            }
            (None, _) => Ok(()),
        }
    }

    /// A call has returned.
    fn end(&mut self, now: &Now, call: &Call<'_>) -> Result<(), String> {
        match (call.function, &call.reader) {
            ("SCardConnect", _) => {
                let Some(reader) = text(&call.arguments, "reader") else {
                    return Ok(());
                };
                let reader_calls = self.readers.entry(reader.to_owned()).or_default();
                let protocol = call.results.get("protocol").and_then(names::number).unwrap_or(0);
                match now.code {
                    pcsc::SCARD_S_SUCCESS if protocol != 0 => {
                        reader_calls.see(now, RecordedCard::Present(Vec::new()));
                        reader_calls.see_protocol(protocol);
                    }
                    pcsc::SCARD_W_UNRESPONSIVE_CARD => reader_calls.see(now, RecordedCard::Mute),
                    code => reader_calls.see_code(now, code),
                }
                Ok(())
            }
            ("SCardGetStatusChange", _) => self.status_change(now, call),
            (_, Some(reader)) => self.readers.entry(reader.clone()).or_default().call(now, call),
            (_, None) => Ok(()),
        }
    }

    fn status_change(&mut self, now: &Now, call: &Call<'_>) -> Result<(), String> {
        for (known, seen) in call.watched() {
            let Some(reader) = text(known, "reader") else {
                continue;
            };
            let state = seen.get("event_state").and_then(names::number).unwrap_or(0);
            let card = if state & pcsc::SCARD_STATE_EMPTY != 0 {
                RecordedCard::Absent
            } else if state & pcsc::SCARD_STATE_MUTE != 0 {
                RecordedCard::Mute
            } else if state & pcsc::SCARD_STATE_PRESENT != 0 {
                RecordedCard::Present(shown(seen, "atr")?)
            } else {
                continue;
            };
            let reader_calls = self.readers.entry(reader.to_owned()).or_default();
            reader_calls.see(now, card);
        }
        Ok(())
    }
}

/// The return of a call.
struct Now {
    line: usize,
    time: u64,
    code: u32,
}

impl ReaderCalls {
    /// A return code may say that the card is gone.
    fn see_code(&mut self, now: &Now, code: u32) {
        if matches!(code, pcsc::SCARD_E_NO_SMARTCARD | pcsc::SCARD_W_REMOVED_CARD) {
            self.see(now, RecordedCard::Absent);
        }
    }

    /// A call of a connection has returned.
    fn call(&mut self, now: &Now, call: &Call<'_>) -> Result<(), String> {
        let (arguments, results) = (&call.arguments, call.results);
        let number = |name: &str| arguments.get(name).and_then(names::number).unwrap_or(0);
        let is_reset =
            |name: &str| now.code == pcsc::SCARD_S_SUCCESS && number(name) == pcsc::SCARD_RESET_CARD;
        self.see_code(now, now.code);
        let what = match call.function {
            "SCardStatus" if now.code == pcsc::SCARD_S_SUCCESS => {
                let state = results.get("state").and_then(names::number).unwrap_or(0);
                if state & pcsc::SCARD_PRESENT != 0 {
                    let atr = shown(results, "atr")?;
                    self.see(now, RecordedCard::Present(atr));
                } else if state & pcsc::SCARD_ABSENT != 0 {
                    self.see(now, RecordedCard::Absent);
                }
                None
            }
            "SCardReconnect" if is_reset("initialization") && self.has_card() => Some(StepKind::Reset),
            "SCardDisconnect" | "SCardEndTransaction" if is_reset("disposition") && self.has_card() => {
                Some(StepKind::Reset)
            }
            "SCardTransmit" => {
                let command = bytes(arguments, "command")?;
                let answer = self.answer(now, results, "response")?;
                answer.map(|answer| StepKind::Transmit(command, answer))
            }
            "SCardControl" => {
                let data = bytes(arguments, "data")?;
                let answer = self.answer(now, results, "answer")?;
                answer.map(|answer| StepKind::Control(number("control_code"), data, answer))
            }
            "SCardGetAttrib" => {
                let answer = self.answer(now, results, "value")?;
                answer.map(|answer| StepKind::GetAttribute(number("attribute"), answer))
            }
            "SCardSetAttrib" => {
                let value = bytes(arguments, "value")?;
                let answer = self.answer(now, results, "")?;
                answer.map(|answer| StepKind::SetAttribute(number("attribute"), value, answer.map(drop)))
            }
            _ => None,
        };
        if let Some(what) = what {
            self.push(now.line, call.microseconds, what);
        }
        Ok(())
    }

    /// What the reader has answered; `None` if the call did not reach it.
    fn answer(
        &mut self,
        now: &Now,
        results: &Map<String, Value>,
        field: &str,
    ) -> Result<Option<Result<Vec<u8>, SlotError>>, String> {
        Ok(match now.code {
            // What is too long for the caller's buffer is recorded as well.
            _ if results.contains_key(field) => {
                let answer = bytes(results, field)?;
                self.hidden += answer.iter().filter(|byte| byte.is_none()).count();
                Some(Ok(answer.into_iter().map(Option::unwrap_or_default).collect()))
            }
            pcsc::SCARD_S_SUCCESS => Some(Ok(Vec::new())),
            pcsc::SCARD_E_NOT_TRANSACTED => Some(Err(SlotError::Communication)),
            pcsc::SCARD_E_UNSUPPORTED_FEATURE => Some(Err(SlotError::Unsupported)),
            _ => None,
        })
    }
}

/// The bytes of a field; `None` for those that are hidden.
fn bytes(fields: &Map<String, Value>, name: &str) -> Result<Masked, String> {
    super::bytes(fields, name)
        .ok_or_else(|| format!("{name} has something else than pairs of hexadecimal digits"))
}

/// The bytes of a field in which none is hidden.
fn shown(fields: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    Ok(bytes(fields, name)?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests;
