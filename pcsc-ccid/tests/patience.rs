//! How long a card is waited for: as long as it may take, and not for ever.

mod common;

use std::time::Duration;

use common::{card, named, now, offers, open, pattern, power_up, read, transmit, LEVELS};
use pcsc_ccid::internals::waiting::LONGEST;
use pcsc_ccid::reader::{Protocol, ReaderError};
use pcsc_ccid::t1;
use pcsc_ccid::transport::TransportError;
use pcsc_sim::card::{Behaviour, Burst, CharacterCard, LineSettings, Offer};

/// After this no command is sent any more, whatever goes on; the last one may take [`LONGEST`].
const TEN_MINUTES: Duration = Duration::from_secs(600);

#[test]
fn a_card_that_asks_for_time_for_ever() {
    for (name, protocols) in LEVELS {
        for protocol in protocols {
            let (handle, mut reader) = open(named(name));
            let behaviour = Behaviour {
                // NULL of T=0: ten minutes of them.
                nulls: 600_000,
                ..Behaviour::wtx_for_ever()
            };
            handle.insert(0, card(None, offers(*protocol), behaviour));
            power_up(&mut reader, *protocol).unwrap();
            let begin = now(&handle);
            let error = transmit(&mut reader, &read(9)).unwrap_err();
            let took = now(&handle) - begin;
            println!("{name} {protocol:?}: {error} after {took:?}");
            assert!(took < TEN_MINUTES + LONGEST, "{name} {protocol:?}: {took:?}");
            handle.insert(0, card(None, offers(*protocol), Behaviour::default()));
            power_up(&mut reader, *protocol).unwrap();
            assert_eq!(
                transmit(&mut reader, &read(9)),
                Ok(pattern(9)),
                "{name} {protocol:?}"
            );
        }
    }
}

/// A card that is busy, and says so more often than it must or as late as it may: T=0, byte '60'.
struct Busy {
    nulls: usize,
    spacing: u64,
}

impl CharacterCard for Busy {
    fn reset(&mut self, _: LineSettings) -> Burst {
        burst(vec![0x3B, 0x00], 12)
    }

    fn power_off(&mut self) {}

    fn hear(&mut self, _: &[u8], _: LineSettings) -> Burst {
        let mut bytes = vec![0x60; self.nulls];
        bytes.extend([0x90, 0x00]);
        burst(bytes, self.spacing)
    }
}

fn burst(bytes: Vec<u8>, spacing: u64) -> Burst {
    Burst {
        bytes,
        delay: 40,
        spacing,
        garbled: false,
        nulls: 0,
    }
}

#[test]
fn null_bytes_are_bounded_by_their_time() {
    for (nulls, spacing, is_good) in [(5000, 12, true), (250, 9000, true), (5000, 9000, false)] {
        let (handle, mut reader) = open(named("oz776"));
        handle.insert(0, Busy { nulls, spacing });
        power_up(&mut reader, Protocol::T0).unwrap();
        let begin = now(&handle);
        let result = transmit(&mut reader, &[0x80, 0x01, 0, 0]);
        match is_good {
            true => assert_eq!(result, Ok(vec![0x90, 0x00]), "{nulls} NULL bytes"),
            false => assert_eq!(result, Err(ReaderError::TooSlow), "{nulls} NULL bytes"),
        }
        let took = now(&handle) - begin;
        assert!(took < Duration::from_secs(610), "{took:?}");
    }
    // A reader that waits for the card itself asks us for time.
    let (handle, mut reader) = open(named("gempc-express"));
    handle.insert(
        0,
        Busy {
            nulls: 900,
            spacing: 9000,
        },
    );
    power_up(&mut reader, Protocol::T0).unwrap();
    let begin = now(&handle);
    let given_up = transmit(&mut reader, &[0x80, 0x01, 0, 0]);
    assert!(
        matches!(
            given_up,
            Err(ReaderError::TooSlow | ReaderError::Transport(TransportError::Timeout))
        ),
        "{given_up:?}"
    );
    assert!(now(&handle) - begin < Duration::from_secs(310));
}

/// A response in chained blocks of one byte, each as late as the parameters allow.
struct Dripping {
    seq: u8,
}

impl CharacterCard for Dripping {
    fn reset(&mut self, _: LineSettings) -> Burst {
        self.seq = 0;
        burst(vec![0x3B, 0x80, 0x81, 0x21, 0x95, 0xB5], 12)
    }

    fn power_off(&mut self) {}

    fn hear(&mut self, bytes: &[u8], _: LineSettings) -> Burst {
        let answer = match bytes {
            [_, 0xC1, 1, ifsd, _] => vec![0, 0xE1, 1, *ifsd, 0xE0 ^ ifsd],
            _ => {
                let pcb = 0x20 | self.seq << 6;
                self.seq ^= 1;
                vec![0, pcb, 1, 0x55, pcb ^ 1 ^ 0x55]
            }
        };
        Burst {
            // BWI 9 is 491,531 etu.
            delay: 480_000,
            ..burst(answer, 12)
        }
    }
}

#[test]
fn a_card_that_drips_for_ever() {
    for name in ["gempc-express", "scr3310"] {
        let (handle, mut reader) = open(named(name));
        handle.insert(0, Dripping { seq: 0 });
        power_up(&mut reader, Protocol::T1).unwrap();
        let begin = now(&handle);
        let result = transmit(&mut reader, &[0x00, 0xB0, 0, 0, 0, 0, 0]);
        assert_eq!(result, Err(ReaderError::TooSlow), "{name}");
        let took = now(&handle) - begin;
        assert!(took < Duration::from_secs(31 * 60), "{name}: {took:?}");
    }
}

#[test]
fn a_card_that_wants_every_byte_asked_for() {
    for (name, protocols) in LEVELS {
        if protocols[0] == Protocol::T0 {
            let (handle, mut reader) = open(named(name));
            let behaviour = Behaviour {
                byte_by_byte: true,
                nulls: 2,
                ..Behaviour::default()
            };
            handle.insert(0, card(None, &[Offer::T0], behaviour));
            power_up(&mut reader, Protocol::T0).unwrap();
            assert_eq!(transmit(&mut reader, &read(256)), Ok(pattern(256)), "{name}");
            let echo = [&[0x80, 0xEC, 0, 0, 200][..], &pattern(198), &[0]].concat();
            let expected = [&pattern(198)[..], &[0x90, 0x00]].concat();
            assert_eq!(transmit(&mut reader, &echo), Ok(expected), "{name}");
        }
    }
}

/// A card that takes all the time that its parameters allow, and one whose parameters allow a minute.
#[test]
fn a_slow_card_is_waited_for() {
    const PATIENT: &[Offer] = &[Offer::T1 {
        ifsc: Some(254),
        bwi_cwi: Some(0x95),
        edc: t1::Edc::Lrc,
    }];
    for (name, protocols) in LEVELS {
        let mut cases = vec![];
        if protocols.contains(&Protocol::T0) {
            cases.push((Protocol::T0, &[Offer::T0] as &[Offer], 9_500));
        }
        if protocols.contains(&Protocol::T1) {
            cases.push((Protocol::T1, &[Offer::T1], 15_000));
            cases.push((Protocol::T1, PATIENT, 490_000));
        }
        for (protocol, offers, work) in cases {
            let (handle, mut reader) = open(named(name));
            let behaviour = Behaviour {
                work,
                ..Behaviour::default()
            };
            handle.insert(0, card(None, offers, behaviour));
            let context = format!("{name} {protocol:?} {work} etu");
            power_up(&mut reader, protocol).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(transmit(&mut reader, &read(9)), Ok(pattern(9)), "{context}");
        }
    }
}

/// Making keys takes minutes, and what counts is how long it takes: not how often a card says so, nor how
/// much it asks for to be safe. At 4 MHz a second is 10,753 etu.
#[test]
fn a_card_that_asks_for_time_while_it_makes_a_key() {
    for (bwi_cwi, wtx, wtx_multiplier, work, seconds) in [
        // BWT is 11.4 s, and a sign of life comes once a second.
        (0x75, 100, 1, 10_753, 100),
        // BWT is 90 ms, and so is the time between two requests.
        (0x05, 2000, 1, 900, 167),
        // One request, for 49 minutes.
        (0x75, 1, 255, 100_000, 18),
    ] {
        // A reader that leaves T=1 to us, and one that leaves the blocks to us too.
        for name in ["gempc-express", "oz776"] {
            let offers = &[Offer::T1 {
                ifsc: Some(254),
                bwi_cwi: Some(bwi_cwi),
                edc: t1::Edc::Lrc,
            }];
            let (handle, mut reader) = open(named(name));
            let behaviour = Behaviour {
                wtx,
                wtx_multiplier,
                work,
                ..Behaviour::default()
            };
            handle.insert(0, card(None, offers, behaviour));
            let context = format!("{name}: {wtx} requests for {wtx_multiplier} x {bwi_cwi:02X}");
            power_up(&mut reader, Protocol::T1).unwrap();
            let begin = now(&handle);
            assert_eq!(transmit(&mut reader, &read(9)), Ok(pattern(9)), "{context}");
            let took = now(&handle) - begin;
            assert!(took >= Duration::from_secs(seconds), "{context}: {took:?}");
        }
    }
}

/// A T=0 card that acknowledges for ever, or sends more than there is room for.
struct Flood {
    answer: Vec<u8>,
}

impl CharacterCard for Flood {
    fn reset(&mut self, _: LineSettings) -> Burst {
        burst(vec![0x3B, 0x00], 12)
    }

    fn power_off(&mut self) {}

    fn hear(&mut self, _: &[u8], _: LineSettings) -> Burst {
        burst(self.answer.clone(), 12)
    }
}

#[test]
fn a_flood_of_procedure_bytes_overflows_nothing() {
    for (name, protocols) in LEVELS {
        if protocols[0] != Protocol::T0 {
            continue;
        }
        for procedure in [0xEE, !0xEE, 0x60, 0x61, 0x6C, 0x00, 0xFF] {
            for command in [
                &read(256)[..],
                &read(1),
                &[0x80, 0xEE, 0, 0],
                &[0x80, 0xEE, 0, 0, 2, 1, 2],
            ] {
                let (handle, mut reader) = open(named(name));
                handle.insert(
                    0,
                    Flood {
                        answer: vec![procedure; 5000],
                    },
                );
                power_up(&mut reader, Protocol::T0).unwrap();
                let begin = now(&handle);
                let mut response = [0; 258];
                // Status words of this kind, or an error: never more than fits, and not for ever.
                let result = reader.transmit(0, command, &mut response);
                assert!(result.is_err() || result.is_ok_and(|length| (2..=258).contains(&length)));
                let took = now(&handle) - begin;
                assert!(
                    took < Duration::from_secs(600),
                    "{name} {procedure:02X}: {took:?}"
                );
            }
        }
    }
}
