//! The exchanges of a recording with one card, for a replay.

use std::collections::HashMap;

use pcsc_client::sim::Exchange;
use serde_json::{Map, Value};

use super::{Calls, Event, Line};

/// What happened between programs and the card in one reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// The card's ATR; empty where no call gave it.
    pub atr: Vec<u8>,
    /// The exchanges that had a response, in the order in which they began.
    pub exchanges: Vec<Exchange>,
    /// How many bytes of responses are hidden. They are 0.
    pub hidden: usize,
}

/// The sessions of a recording, by reader.
pub fn sessions(text: &[u8]) -> HashMap<String, Session> {
    let mut calls = Calls::default();
    let mut readers: HashMap<(u32, String), String> = HashMap::new();
    let mut sessions: HashMap<String, Session> = HashMap::new();
    // By the times at which they began: calls of several threads return in another order.
    let mut exchanges: Vec<(u64, String, Exchange)> = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter_map(Line::parse) {
        match &line.event {
            Event::Process { .. } => {}
            Event::Call { call, arguments, .. } => calls.begin(&line, *call, arguments),
            Event::Return {
                call,
                function,
                results,
                ..
            } => {
                let Some(begun) = calls.end(&line, *call) else {
                    continue;
                };
                let card =
                    |fields: &Map<String, Value>| (line.process, fields.get("card").map(Value::to_string));
                match (function.as_str(), card(results), card(&begun.arguments)) {
                    ("SCardConnect", (process, Some(card)), _) => {
                        if let Some(reader) = begun.arguments.get("reader").and_then(Value::as_str) {
                            readers.insert((process, card), reader.to_owned());
                        }
                    }
                    ("SCardStatus", _, (process, Some(card))) => {
                        if let Some(reader) = readers.get(&(process, card)) {
                            let session = sessions.entry(reader.clone()).or_default();
                            session.atr = bytes(results, "atr").into_iter().flatten().collect();
                        }
                    }
                    ("SCardGetStatusChange", ..) => {
                        let list = |fields: &Map<String, Value>| {
                            fields
                                .get("readers")
                                .and_then(Value::as_array)
                                .cloned()
                                .unwrap_or_default()
                        };
                        for (known, now) in list(&begun.arguments).iter().zip(list(results)) {
                            let atr: Vec<u8> = match &now {
                                Value::Object(now) => bytes(now, "atr").into_iter().flatten().collect(),
                                _ => Vec::new(),
                            };
                            if let (Some(reader), false) = (known["reader"].as_str(), atr.is_empty()) {
                                sessions.entry(reader.to_owned()).or_default().atr = atr;
                            }
                        }
                    }
                    ("SCardTransmit", _, (process, Some(card))) if results.contains_key("response") => {
                        let Some(reader) = readers.get(&(process, card)) else {
                            continue;
                        };
                        let response = bytes(results, "response");
                        let session = sessions.entry(reader.clone()).or_default();
                        session.hidden += response.iter().filter(|byte| byte.is_none()).count();
                        let exchange = Exchange {
                            command: bytes(&begun.arguments, "command"),
                            response: response.into_iter().map(Option::unwrap_or_default).collect(),
                        };
                        exchanges.push((begun.microseconds, reader.clone(), exchange));
                    }
                    _ => {}
                }
            }
        }
    }
    exchanges.sort_by_key(|(microseconds, ..)| *microseconds);
    for (_, reader, exchange) in exchanges {
        sessions.entry(reader).or_default().exchanges.push(exchange);
    }
    sessions
}

/// The bytes of a field; `None` for those that are hidden.
fn bytes(fields: &Map<String, Value>, name: &str) -> Vec<Option<u8>> {
    let digits = fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.as_bytes().chunks_exact(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_are_those_of_the_reader_with_what_is_hidden() {
        let text = include_bytes!("../../tests/golden/calls.jsonl");
        let sessions = sessions(text);
        let session = &sessions["pcsc-rs Simulated Reader 00 00"];
        assert_eq!((sessions.len(), session.atr[0], session.hidden), (1, 0x3B, 4));
        let verify = [&[0x00, 0x20, 0x00, 0x80, 0x04].map(Some)[..], &[None; 4]].concat();
        let responses: Vec<&[u8]> = session
            .exchanges
            .iter()
            .map(|exchange| &exchange.response[..])
            .collect();
        assert_eq!(session.exchanges[2].command, verify);
        // Not the transmit without a structure, and not the one that met a removed card.
        assert_eq!(
            responses,
            [
                &[0x90, 0x00][..],
                b"Hello world!\x90\x00",
                &[0x6A, 0x88],
                &[0, 0, 0x61, 0x02],
                &[0, 0, 0x90, 0x00]
            ]
        );
    }
}
