//! The exchanges of a recording with one card, for a replay.

use std::collections::HashMap;

use pcsc_client::sim::Exchange;

use super::{bytes, Calls, Line};

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
    let mut sessions: HashMap<String, Session> = HashMap::new();
    // By the times at which they began: calls of several threads return in another order.
    let mut exchanges: Vec<(u64, String, Exchange)> = Vec::new();
    let atr = |fields: &_| -> Vec<u8> { bytes(fields, "atr").into_iter().flatten().collect() };
    for line in text.split(|byte| *byte == b'\n').filter_map(Line::parse) {
        let Some(call) = calls.note(&line) else {
            continue;
        };
        match (call.function, &call.reader) {
            ("SCardStatus", Some(reader)) => {
                sessions.entry(reader.clone()).or_default().atr = atr(call.results);
            }
            ("SCardGetStatusChange", _) => {
                for (known, now) in call.watched() {
                    let atr = atr(now);
                    if let (Some(reader), false) = (super::text(known, "reader"), atr.is_empty()) {
                        sessions.entry(reader.to_owned()).or_default().atr = atr;
                    }
                }
            }
            ("SCardTransmit", Some(reader)) if call.results.contains_key("response") => {
                let response = bytes(call.results, "response");
                let session = sessions.entry(reader.clone()).or_default();
                session.hidden += response.iter().filter(|byte| byte.is_none()).count();
                let exchange = Exchange {
                    command: bytes(&call.arguments, "command"),
                    response: response.into_iter().map(Option::unwrap_or_default).collect(),
                };
                exchanges.push((call.microseconds, reader.clone(), exchange));
            }
            _ => {}
        }
    }
    exchanges.sort_by_key(|(microseconds, ..)| *microseconds);
    for (_, reader, exchange) in exchanges {
        sessions.entry(reader).or_default().exchanges.push(exchange);
    }
    sessions
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
