//! What a recording has of one reader, for a replay.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use pcsc_constants as pcsc;
use pcsc_manager::{Masked, Recorded, RecordedCard, Session, SlotError, Step};
use serde_json::{Map, Value};

use super::{names, text, Call, Calls, Event, Line};

/// The ATRs of cards of which no call gave it: T=0, and T=1 without historical bytes.
const T0_ATR: [u8; 2] = [0x3B, 0x00];
const T1_ATR: [u8; 4] = [0x3B, 0x80, 0x01, 0x81];

/// What is wrong with a recording, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Damage {
    /// The number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// What was recorded of a reader.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OfReader {
    /// With the time at which each began or was seen, in microseconds.
    steps: Vec<(u64, Step)>,
    card: Option<RecordedCard>,
    /// Where the present card is in `steps`, while its ATR is not known.
    unknown: Option<usize>,
    /// How many bytes of answers are hidden. They are 0.
    pub hidden: usize,
}

impl OfReader {
    /// How much went to the card and the reader.
    pub fn exchanges(&self) -> usize {
        let is_exchange =
            |(_, step): &&(u64, Step)| matches!(step.what, Recorded::Transmit(..) | Recorded::Control(..));
        self.steps.iter().filter(is_exchange).count()
    }

    /// The session of this reader.
    pub fn session(mut self, name: &str) -> Session {
        // Calls of several threads return in another order than they begin.
        self.steps.sort_by_key(|(time, _)| *time);
        let mut before = None;
        let steps = self.steps.into_iter().map(|(time, mut step)| {
            let since = time - before.replace(time).unwrap_or(time);
            step.delay = Duration::from_micros(since);
            step
        });
        Session {
            name: base_name(name).to_owned(),
            steps: steps.collect(),
        }
    }

    fn push(&mut self, line: usize, time: u64, what: Recorded) {
        let delay = Duration::ZERO;
        self.steps.push((time, Step { line, delay, what }));
    }

    /// A call has shown what is in the slot. An ATR that it does not show is empty.
    fn see(&mut self, line: usize, time: u64, seen: RecordedCard) {
        match (&self.card, &seen, self.unknown) {
            (Some(card), seen, _) if card == seen => (),
            // Nothing new.
            (Some(RecordedCard::Present(_)), RecordedCard::Present(atr), _) if atr.is_empty() => (),
            (Some(RecordedCard::Present(_)), RecordedCard::Present(_), Some(at)) => {
                self.steps[at].1.what = Recorded::Card(seen.clone());
                (self.card, self.unknown) = (Some(seen), None);
            }
            _ => {
                let is_unknown = matches!(&seen, RecordedCard::Present(atr) if atr.is_empty());
                self.unknown = is_unknown.then_some(self.steps.len());
                self.card = Some(seen.clone());
                self.push(line, time, Recorded::Card(seen));
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
            step.what = Recorded::Card(RecordedCard::Present(atr));
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
pub fn readers(text: &[u8]) -> Result<HashMap<String, OfReader>, Damage> {
    let mut reading = Reading::default();
    let mut number = 0;
    let mut broken = None;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        number += 1;
        let damaged = |reason: String| Damage { line: number, reason };
        let Some(line) = line.strip_suffix(b"\n") else {
            return Err(damaged("the line has no end: the file is cut".into()));
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
        (None, false) => Err(Damage {
            line: number + 1,
            reason: "the file is empty".into(),
        }),
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
    readers: HashMap<String, OfReader>,
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
                let of_reader = self.readers.entry(reader.to_owned()).or_default();
                let protocol = call.results.get("protocol").and_then(names::number).unwrap_or(0);
                match now.code {
                    pcsc::SCARD_S_SUCCESS if protocol != 0 => {
                        of_reader.see(now.line, now.time, RecordedCard::Present(Vec::new()));
                        of_reader.see_protocol(protocol);
                    }
                    pcsc::SCARD_W_UNRESPONSIVE_CARD => of_reader.see(now.line, now.time, RecordedCard::Mute),
                    code => of_reader.see_code(now, code),
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
            let of_reader = self.readers.entry(reader.to_owned()).or_default();
            of_reader.see(now.line, now.time, card);
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

impl OfReader {
    /// A return code may say that the card is gone.
    fn see_code(&mut self, now: &Now, code: u32) {
        if matches!(code, pcsc::SCARD_E_NO_SMARTCARD | pcsc::SCARD_W_REMOVED_CARD) {
            self.see(now.line, now.time, RecordedCard::Absent);
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
                    self.see(now.line, now.time, RecordedCard::Present(atr));
                } else if state & pcsc::SCARD_ABSENT != 0 {
                    self.see(now.line, now.time, RecordedCard::Absent);
                }
                None
            }
            "SCardReconnect" if is_reset("initialization") && self.has_card() => Some(Recorded::Reset),
            "SCardDisconnect" | "SCardEndTransaction" if is_reset("disposition") && self.has_card() => {
                Some(Recorded::Reset)
            }
            "SCardTransmit" => {
                let command = bytes(arguments, "command")?;
                let answer = self.answer(now, results, "response")?;
                answer.map(|answer| Recorded::Transmit(command, answer))
            }
            "SCardControl" => {
                let data = bytes(arguments, "data")?;
                let answer = self.answer(now, results, "answer")?;
                answer.map(|answer| Recorded::Control(number("control_code"), data, answer))
            }
            "SCardGetAttrib" => {
                let answer = self.answer(now, results, "value")?;
                answer.map(|answer| Recorded::GetAttribute(number("attribute"), answer))
            }
            "SCardSetAttrib" => {
                let value = bytes(arguments, "value")?;
                let answer = self.answer(now, results, "")?;
                answer.map(|answer| Recorded::SetAttribute(number("attribute"), value, answer.map(drop)))
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
    let digits = fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let byte = |pair: &[u8]| match pair {
        b"**" => Some(None),
        [high, low] => {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            Some(Some((digit(*high)? << 4 | digit(*low)?) as u8))
        }
        _ => None,
    };
    let bytes: Option<Masked> = digits.as_bytes().chunks(2).map(byte).collect();
    bytes.ok_or_else(|| format!("{name} has something else than pairs of hexadecimal digits"))
}

/// The bytes of a field in which none is hidden.
fn shown(fields: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    Ok(bytes(fields, name)?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/calls.jsonl");

    /// A record without the part of a line at its end.
    fn golden() -> &'static [u8] {
        let part = br#"{"event":"call","process":4711,"thr"#;
        GOLDEN
            .strip_suffix(b"\n")
            .and_then(|text| text.strip_suffix(part))
            .unwrap()
    }

    #[test]
    fn steps_are_those_of_the_reader_with_what_is_hidden() {
        let mut readers = readers(golden()).unwrap();
        let reader = readers.remove("pcsc-rs Simulated Reader 00 00").unwrap();
        assert_eq!(reader.hidden, 4);
        let session = reader.session("pcsc-rs Simulated Reader 00 00");
        assert_eq!(session.name, "pcsc-rs Simulated Reader");
        let shown: Vec<String> = session
            .steps
            .iter()
            .map(|step| format!("{:02X?}", step.what))
            .collect();
        let has = |part: &str| {
            let all = shown.join("\n");
            assert!(all.contains(part), "{part} is not in\n{all}");
        };
        has("Card(Present([3B");
        has("Transmit([Some(00), Some(20), Some(00), Some(80), Some(04), None, None, None, None], Ok([6A, 88]))");
        has("Reset");
        has("Card(Absent)");
    }

    #[test]
    fn a_part_of_a_line_is_forgiven_where_the_next_one_counts_it() {
        let text = String::from_utf8(golden().to_vec()).unwrap();
        let with_part = |after: &str| text.replacen(after, &format!("{{\"event\":\"ca\n{after}"), 1);
        let counted = text.lines().find(|line| line.contains("\"lost\":3")).unwrap();
        assert!(readers(with_part(counted).as_bytes()).is_ok());
        let other = text.lines().nth(3).unwrap();
        assert_eq!(readers(with_part(other).as_bytes()).unwrap_err().line, 4);
    }

    /// The record of a program with these lines.
    fn damage(lines: &[&str]) -> String {
        let process = r#"{"event":"process","process":1,"thread":1,"microseconds":2,"format":1,"program":null,"version":"0.1.0","pins":"hidden"}"#;
        let mut text = process.to_owned() + "\n";
        for line in lines {
            text += &line.replace("HEAD", r#""process":1,"thread":1,"microseconds":3"#);
            text += "\n";
        }
        readers(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn damage_is_told_with_its_line() {
        assert_eq!(readers(b"").unwrap_err().to_string(), "line 1: the file is empty");
        let cut = &golden()[..golden().len() - 9];
        let line = golden().split_inclusive(|byte| *byte == b'\n').count();
        assert_eq!(
            readers(cut).unwrap_err(),
            Damage {
                line,
                reason: "the line has no end: the file is cut".into()
            }
        );
        let begun = r#"{"event":"call",HEAD,"call":1,"function":"SCardReleaseContext","arguments":{}}"#;
        let ended = |result: &str| {
            format!(
                r#"{{"event":"return",HEAD,"call":1,"function":"SCardReleaseContext","result":{result},"results":{{}}}}"#
            )
        };
        for (lines, expected) in [
            (
                vec![ended("\"0x00000000\"")],
                "line 2: call 1 ends, and has not begun: lines are missing",
            ),
            (
                vec![begun.to_owned(), ended("\"0x0000000G\"")],
                "line 3: \"0x0000000G\" is no return code",
            ),
            (
                vec![begun.to_owned(), ended("7")],
                "line 3: this is no line of a record: invalid type: integer `7`",
            ),
            (
                vec!["{".to_owned()],
                "line 2: this is no line of a record: EOF while parsing an object at byte 1",
            ),
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let found = damage(&lines);
            assert!(found.starts_with(expected), "{found}");
        }
        let newer = String::from_utf8(golden().to_vec())
            .unwrap()
            .replace("\"format\":1", "\"format\":2");
        assert_eq!(
            readers(newer.as_bytes()).unwrap_err().to_string(),
            "line 1: the record has format 2, and this program reads format 1"
        );
    }

    #[test]
    fn no_damage_is_a_panic() {
        // A byte of each line is replaced, removed, or the end of the file.
        let lines: Vec<&[u8]> = golden().split_inclusive(|byte| *byte == b'\n').collect();
        let mut at = 0;
        for (number, line) in lines.iter().enumerate() {
            let place = at + (number * 37) % line.len();
            at += line.len();
            let mut text = golden().to_vec();
            text[place] ^= 0x01;
            let _ = readers(&text).map(|readers| {
                readers
                    .into_iter()
                    .for_each(|(name, reader)| drop(reader.session(&name)));
            });
            text.remove(place);
            let _ = readers(&text);
            let _ = readers(&text[..place]);
        }
    }
}
