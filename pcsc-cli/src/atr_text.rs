//! An ATR in words, byte by byte (ISO/IEC 7816-3, clause 8).

use pcsc_ccid::atr::{Atr, ClockStop, Group, Speed, WaitingIntegers};
use serde::Serialize;

use crate::hex;

/// A byte of an ATR, or several that belong together.
#[derive(Debug, Serialize)]
pub struct Part {
    name: String,
    bytes: String,
    meaning: String,
}

impl Part {
    fn new(name: impl Into<String>, bytes: &[u8], meaning: impl Into<String>) -> Part {
        Part {
            name: name.into(),
            bytes: hex::compact(bytes),
            meaning: meaning.into(),
        }
    }

    /// The part in one line.
    pub fn line(&self) -> String {
        format!("{:<4} {:<6} {}", self.name, hex::pairs(&self.bytes), self.meaning)
    }
}

/// Explains every byte.
pub fn parts(bytes: &[u8], atr: &Atr) -> Vec<Part> {
    let convention = if atr.is_inverse {
        "inverse convention"
    } else {
        "direct convention"
    };
    let mut rest = bytes.iter().copied();
    let mut next = move || rest.next().unwrap_or_default();
    let mut parts = vec![Part::new("TS", &[next()], convention)];
    let t0 = next();
    parts.push(Part::new(
        "T0",
        &[t0],
        format!("{}{} historical bytes", follows(t0, 1), t0 & 0x0F),
    ));
    let mut used = 2;
    for (number, group) in (1..).zip(&atr.groups) {
        let fields = [
            ("TA", group.ta),
            ("TB", group.tb),
            ("TC", group.tc),
            ("TD", group.td),
        ];
        for (name, byte) in fields.into_iter().filter_map(|(name, byte)| Some((name, byte?))) {
            parts.push(Part::new(
                format!("{name}{number}"),
                &[byte],
                meaning(atr, number, group, name, byte),
            ));
            used += 1;
        }
    }
    if !atr.historical.is_empty() {
        let text = hex::ascii(&atr.historical).map_or(String::new(), |text| format!(" {text:?}"));
        parts.push(Part::new(
            "hist",
            &atr.historical,
            format!("historical bytes{text}"),
        ));
        used += atr.historical.len();
    }
    if let Some(&tck) = bytes.get(used) {
        parts.push(Part::new("TCK", &[tck], "check byte"));
    }
    parts
}

/// The bytes that a T0 or TD announces.
fn follows(byte: u8, group: usize) -> String {
    let names = [("TA", 0x10), ("TB", 0x20), ("TC", 0x40), ("TD", 0x80)];
    let names = names.into_iter().filter(|(_, bit)| byte & bit != 0);
    let names: Vec<String> = names.map(|(name, _)| format!("{name}{group}")).collect();
    match names.as_slice() {
        [] => "no interface byte follows; ".into(),
        [name] => format!("{name} follows; "),
        names => format!("{} follow; ", names.join(", ")),
    }
}

fn meaning(atr: &Atr, number: usize, group: &Group, name: &str, byte: u8) -> String {
    let first = |protocol| {
        let is_first = |group: &&Group| group.protocol == Some(protocol);
        number > 2
            && atr
                .groups
                .iter()
                .skip(2)
                .find(is_first)
                .is_some_and(|first| std::ptr::eq(first, group))
    };
    match (name, number) {
        ("TD", _) => format!("{}protocol T={}", follows(byte, number + 1), byte & 0x0F),
        ("TA", 1) => match Speed::from_ta1(byte) {
            Some(speed) => format!(
                "Fi {}, Di {}: {} bit/s at 4 MHz, at most {} MHz",
                speed.fi,
                speed.di,
                speed.bits_per_second(4_000_000),
                f64::from(speed.max_clock_hz) / 1e6
            ),
            None => "reserved; Fi 372 and Di 1 are used".into(),
        },
        ("TB", 1 | 2) => "programming voltage, which no card needs any more".into(),
        ("TC", 1) if byte == 0xFF => "extra guard time: the least that the protocol allows".into(),
        ("TC", 1) => format!("extra guard time: {byte} etu"),
        ("TA", 2) if group.protocol != Some(15) => {
            let changes = if byte & 0x80 == 0 {
                "can change"
            } else {
                "cannot change"
            };
            let speed = if byte & 0x10 == 0 {
                "the speed of TA1"
            } else {
                "a speed that the reader has to know"
            };
            format!(
                "specific mode: T={}, {speed}; the card {changes} its mode",
                byte & 0x0F
            )
        }
        ("TC", 2) => format!("waiting time of T=0: WI {}", atr.wi()),
        ("TA", _) if first(1) => format!("IFSC: the card takes {} bytes in a block", atr.ifsc()),
        ("TB", _) if first(1) => {
            let WaitingIntegers { bwi, cwi } = atr.waiting_integers();
            format!("waiting times of T=1: BWI {bwi}, CWI {cwi}")
        }
        ("TC", _) if first(1) => format!("error detection: {}", if byte & 1 == 0 { "LRC" } else { "CRC" }),
        ("TA", _) if first(15) || group.protocol == Some(15) => classes(atr),
        ("TB", _) if group.protocol == Some(15) => "use of contact C6".into(),
        _ => match group.protocol {
            Some(protocol) => format!("specific to T={protocol}"),
            None => "reserved".into(),
        },
    }
}

fn classes(atr: &Atr) -> String {
    let Some(indicator) = atr.class_indicator() else {
        return "voltages and clock stop".into();
    };
    let clock = match indicator.clock_stop {
        ClockStop::NotAllowed => "the clock must not stop",
        ClockStop::Low => "the clock may stop low",
        ClockStop::High => "the clock may stop high",
        ClockStop::Either => "the clock may stop",
    };
    let Some(classes) = indicator.classes else {
        return format!("reserved voltages; {clock}");
    };
    let voltages = [(classes.a, "5 V"), (classes.b, "3 V"), (classes.c, "1.8 V")];
    let voltages = voltages
        .into_iter()
        .filter_map(|(is_on, voltage)| is_on.then_some(voltage));
    format!("{}; {clock}", voltages.collect::<Vec<_>>().join(", "))
}

/// An ATR in a few words: its protocols and the text in it.
pub fn short(bytes: &[u8]) -> String {
    let Ok(atr) = Atr::parse(bytes) else {
        return "no valid ATR".into();
    };
    let protocols: Vec<String> = atr
        .protocols()
        .iter()
        .map(|number| format!("T={number}"))
        .collect();
    let text = hex::ascii(&atr.historical).map_or(String::new(), |text| format!(", {text:?}"));
    format!("{}{text}", protocols.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        parts(bytes, &Atr::parse(bytes).unwrap())
            .iter()
            .map(Part::line)
            .collect()
    }

    #[test]
    fn every_byte_is_explained_once() {
        for digits in [
            "3B8B8031FE45706373632D72732073696DF9",
            "3BF81300008131FE454A434F5076323431B7",
            "3F80118110",
            "3B9F968131FE45801F8380",
            "3B00",
            "3B80801F01",
        ] {
            let bytes = hex::parse(digits).unwrap();
            let parts = parts(&bytes, &Atr::parse(&bytes).unwrap());
            let again: String = parts.iter().map(|part| &*part.bytes).collect();
            assert_eq!(again, digits);
        }
    }

    #[test]
    fn meanings() {
        let jcop = lines(b"\x3B\xF8\x13\x00\x00\x81\x31\xFE\x45JCOPv241\xB7");
        assert_eq!(
            jcop[2],
            "TA1  13     Fi 372, Di 4: 43010 bit/s at 4 MHz, at most 5 MHz"
        );
        assert_eq!(jcop[7], "TA3  FE     IFSC: the card takes 254 bytes in a block");
        assert_eq!(jcop[8], "TB3  45     waiting times of T=1: BWI 4, CWI 5");
        let specific = lines(&[0x3F, 0x80, 0x11, 0x81, 0x10]);
        assert_eq!(specific[0], "TS   3F     inverse convention");
        assert!(lines(&[0x3B, 0x80, 0x1F, 0x03, 0x9C])[3].contains("5 V, 3 V"));
        assert_eq!(short(&[0x3B, 0x80, 0x80, 0x01, 0x01]), "T=0 and T=1");
        assert_eq!(short(&[1]), "no valid ATR");
    }
}
