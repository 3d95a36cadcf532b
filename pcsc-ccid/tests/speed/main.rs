//! Speed that survives: the fastest that card and reader really can do, and no card lost where one of them
//! cannot do what it says.

#[path = "../common/mod.rs"]
mod common;
mod step_down;

use std::time::Duration;

use common::{card, line, named, open, pattern, power_up, rates_set, read, resets, transmit};
use pcsc_ccid::message::SlotErrorCode;
use pcsc_ccid::reader::{Presence, Protocol, Reader, ReaderError, Reset};
use pcsc_sim::card::{Behaviour, FaultKind, Faults, Offer, Overspeed, PpsBehaviour};
use pcsc_sim::{Oddities, SimEvent, SimHandle, SimTransport};

const OFFERS: [(Protocol, &[Offer]); 2] = [(Protocol::T0, &[Offer::T0]), (Protocol::T1, &[Offer::T1])];

/// Transmits until the card answers right; how often a reset was reported before.
fn until_it_works(reader: &mut Reader<SimTransport>, context: &str) -> usize {
    for reported in 0..10 {
        match transmit(reader, &read(200)) {
            Ok(answer) => {
                assert_eq!(answer, pattern(200), "{context}");
                for _ in 0..3 {
                    assert_eq!(transmit(reader, &read(200)), Ok(pattern(200)), "{context}");
                }
                return reported;
            }
            Err(error) => assert_eq!(error, ReaderError::CardReset, "{context}"),
        }
    }
    panic!("{context}: lost");
}

/// At the next power-up, and after the card was out, what was learned is used at once: from a failure to
/// agree on a speed, and from one in the middle of an exchange that has happened a second time.
fn check_memory(
    handle: &SimHandle,
    reader: &mut Reader<SimTransport>,
    protocol: Protocol,
    reported: usize,
    context: &str,
) {
    reader.power_off(0).unwrap();
    if reported > 0 {
        power_up(reader, protocol).unwrap();
        assert_eq!(until_it_works(reader, context), reported, "{context}: once more");
        reader.power_off(0).unwrap();
    }
    let (rate, sets, before) = (line(handle), rates_set(handle), resets(handle));
    power_up(reader, protocol).unwrap();
    assert_eq!(until_it_works(reader, context), 0, "{context}: a reset again");
    assert_eq!(resets(handle), before + 1, "{context}: more than one power-up");
    assert_eq!(line(handle), rate, "{context}");
    let last = sets.last();
    let new = &rates_set(handle)[sets.len()..];
    assert!(
        new.is_empty() || new == [*last.unwrap()],
        "{context}: {last:02X?} was left for {new:02X?}"
    );
}

#[test]
fn no_command_is_taken_for_the_rest_of_one_that_failed() {
    /// What a damaged character is damaged by.
    const DAMAGE: u8 = 0x5A;
    let (mut right, mut failed, mut told) = (0, 0, 0);
    for (model, every) in [("gempc-express", 5), ("scr3310", 7), ("oz776", 11)] {
        let (handle, mut reader) = open(named(model));
        let behaviour = Behaviour {
            corrupt_every: Some(every),
            ..Behaviour::default()
        };
        handle.insert(0, card(None, &[Offer::T0], behaviour));
        power_up(&mut reader, Protocol::T0).unwrap();
        for round in 0..200 {
            let length = round % 60 + 1;
            let mut echo = vec![0x80, 0xEC, 0, 0, length];
            echo.extend((0..length).map(|at| at ^ round));
            match transmit(&mut reader, &echo) {
                // The last character of an answer may be damaged, and T=0 has no check of it.
                Ok(answer) => {
                    let may_be = [[0x61, length], [0x61, length ^ DAMAGE]];
                    assert!(
                        may_be.contains(&[answer[0], answer[1]]),
                        "{model} {length}: {answer:02X?}"
                    );
                    right += 1;
                }
                Err(ReaderError::CardReset) => told += 1,
                Err(ReaderError::NotPowered) => {
                    failed += 1;
                    power_up(&mut reader, Protocol::T0).unwrap();
                }
                Err(_) => failed += 1,
            }
        }
    }
    assert!(right > 100 && failed > 10 && told > 10, "{right} {failed} {told}");
}

#[test]
fn a_fast_card_in_an_au9540_is_capped() {
    // At 3.7 MHz: 372/20 is 198,925 bit/s, the next above 200,000 is 512/32 with 231,250; of TA1 96 it is
    // 512/16 or 372/20 again; 13 and 94 are below the cap as they are.
    for (ta1, f, d, bps) in [
        (0x97, 372, 20, 198_924),
        (0x96, 372, 20, 198_924),
        (0x95, 512, 16, 115_625),
        (0x94, 512, 8, 57_812),
        (0x18, 372, 12, 119_354),
        (0x13, 372, 4, 39_784),
        (0x11, 372, 1, 9_946),
    ] {
        for (protocol, offers) in OFFERS {
            let context = format!("{ta1:02X} {protocol:?}");
            let (handle, mut reader) = open(named("au9540"));
            handle.insert(0, card(Some(ta1), offers, Behaviour::default()));
            power_up(&mut reader, protocol).unwrap();
            assert_eq!(until_it_works(&mut reader, &context), 0, "{context}");
            assert_eq!(line(&handle), (3_700_000, f, d), "{context}");
            let told = reader.bits_per_second(0).unwrap();
            assert!(told.abs_diff(bps) <= u32::from(d), "{context}: {told}");
            // One when it was put in, by the reader's own will, and one by ours.
            assert_eq!(resets(&handle), 2, "{context}");
        }
    }
}

/// Acos-ID answers SetParameters below its own speed with silence; so does a card that no PPS may reach. A
/// reader that agrees on the card's own speed where the host says nothing leaves it at 372/1 where the host
/// has said so.
#[test]
fn an_acos_id_card_works_at_the_default_rate() {
    for (name, clock) in [("au9540", 3_700_000), ("omnikey-3x21", 4_800_000)] {
        for pps in [PpsBehaviour::OwnRateOrMute, PpsBehaviour::Mute] {
            for (protocol, offers) in OFFERS {
                let context = format!("{name} {pps:?} {protocol:?}");
                let (handle, mut reader) = open(named(name));
                let behaviour = Behaviour {
                    pps,
                    ..Behaviour::default()
                };
                handle.insert(0, card(Some(0x97), offers, behaviour));
                power_up(&mut reader, protocol).unwrap();
                assert_eq!(
                    until_it_works(&mut reader, &context),
                    0,
                    "{context}: seen outside"
                );
                assert_eq!(line(&handle), (clock, 372, 1), "{context}");
                check_memory(&handle, &mut reader, protocol, 0, &context);
            }
        }
    }
}

/// Blocks that arrive damaged are sent again, by the reader or the driver; of a card that has both protocols
/// it is T=1 that was chosen, by the reader as well as by us.
#[test]
fn a_card_that_damages_every_seventh_block_is_understood_over_t1() {
    for name in NEGOTIABLE {
        for ta1 in [None, Some(0x95), Some(0x97)] {
            for offers in [&[Offer::T1][..], &[Offer::T0, Offer::T1]] {
                let context = format!("{name} {ta1:02X?} {offers:?}");
                let (handle, mut reader) = open(named(name));
                let behaviour = Behaviour {
                    corrupt_every: Some(7),
                    ..Behaviour::default()
                };
                handle.insert(0, card(ta1, offers, behaviour));
                power_up(&mut reader, Protocol::T1).unwrap();
                for length in 1..100 {
                    assert_eq!(
                        transmit(&mut reader, &read(length)),
                        Ok(pattern(length.into())),
                        "{context} {length}"
                    );
                }
                let current = reader.current(0).unwrap().parameters;
                assert_eq!(current.protocol(), 1, "{context}");
            }
        }
    }
}

/// Below the cap an Acos-ID card's own rate is what is asked for.
#[test]
fn an_acos_id_card_that_is_slow_enough_keeps_its_speed() {
    let (handle, mut reader) = open(named("au9540"));
    let behaviour = Behaviour {
        pps: PpsBehaviour::OwnRateOrMute,
        ..Behaviour::default()
    };
    handle.insert(0, card(Some(0x95), &[Offer::T1], behaviour));
    power_up(&mut reader, Protocol::T1).unwrap();
    assert_eq!(until_it_works(&mut reader, "95"), 0);
    assert_eq!((line(&handle), resets(&handle)), ((3_700_000, 512, 16), 2));
}

/// The readers whose speed the host chooses: by PPS of its own, or by parameters from which the reader makes
/// one.
const NEGOTIABLE: [&str; 5] = [
    "gempc-express",
    "scr3310",
    "au9540",
    "omnikey-3x21",
    "omnikey-5321",
];

#[test]
fn a_card_that_refuses_pps_works_at_the_default_rate_at_once() {
    for name in NEGOTIABLE {
        for (protocol, offers) in OFFERS {
            let context = format!("{name} {protocol:?}");
            let (handle, mut reader) = open(named(name));
            let behaviour = Behaviour {
                pps: PpsBehaviour::RefuseRate,
                ..Behaviour::default()
            };
            handle.insert(0, card(Some(0x96), offers, behaviour));
            reader.power_on(0, Reset::Cold).unwrap();
            let before = resets(&handle);
            reader.set_protocol(0, protocol).unwrap();
            assert_eq!(until_it_works(&mut reader, &context), 0, "{context}");
            let (clock, f, d) = line(&handle);
            assert_eq!((f, d), (372, 1), "{context}");
            assert_eq!(resets(&handle), before, "{context}");
            let current = reader.current(0).unwrap();
            assert_eq!(
                current.parameters.f_index_d_index, 0x11,
                "{context}: what is told"
            );
            assert_eq!(reader.bits_per_second(0), Some(clock / 372), "{context}");
        }
    }
}

/// Parameters that the reader makes for itself are not ours to change.
#[test]
fn a_reader_that_negotiates_by_itself_reports_the_failure() {
    let (handle, mut reader) = open(named("yubikey"));
    let behaviour = Behaviour {
        fails_above: Some(11_000),
        ..Behaviour::default()
    };
    handle.insert(0, card(Some(0x94), &[Offer::T1], behaviour));
    power_up(&mut reader, Protocol::T1).unwrap();
    assert_eq!(line(&handle), (4_000_000, 512, 8));
    let before = resets(&handle);
    assert_eq!(
        transmit(&mut reader, &read(10)),
        Err(ReaderError::Slot(SlotErrorCode::Mute))
    );
    assert_eq!(resets(&handle), before);
}

/// Bits on the contact, card time and rate of 4 KB in sixteen reads.
fn figures(name: &str, ta1: u8, protocol: Protocol, offers: &[Offer]) -> (u64, Duration, f64) {
    let (handle, mut reader) = open(named(name));
    handle.insert(0, card(Some(ta1), offers, Behaviour::default()));
    power_up(&mut reader, protocol).unwrap();
    let so_far = || handle.with(|device| (device.tally(0).bits, device.now()));
    // The first exchange is also the reader's for what it settles by itself.
    assert_eq!(transmit(&mut reader, &read(1)), Ok(pattern(1)));
    let (bits, time) = so_far();
    for _ in 0..16 {
        assert_eq!(transmit(&mut reader, &read(256)), Ok(pattern(256)));
    }
    let (bits_after, time_after) = so_far();
    let (clock, f, d) = line(&handle);
    let bps = f64::from(clock) * f64::from(d) / f64::from(f);
    (bits_after - bits, time_after - time, bps)
}

#[test]
fn four_kilobytes_at_each_rate() {
    let all = [0x11, 0x12, 0x13, 0x94, 0x18, 0x95, 0x15, 0x19, 0x96, 0x16, 0x97];
    for (name, ta1s) in [("gempc-express", &all[..]), ("au9540", &[0x11, 0x13, 0x95, 0x97])] {
        for (protocol, offers) in OFFERS {
            let (least_bits, longest, slowest) = figures(name, 0x11, protocol, offers);
            for &ta1 in ta1s {
                let (bits, time, bps) = figures(name, ta1, protocol, offers);
                let gain = longest.as_secs_f64() / time.as_secs_f64();
                println!(
                    "{name} {protocol:?} TA1 {ta1:02X} {bps:7.0} bit/s: {bits} bits, {:7.1} ms, {gain:4.1} \
                     times 372/1",
                    time.as_secs_f64() * 1000.0
                );
                assert_eq!(bits, least_bits, "what is said does not depend on the speed");
                // All that takes time in this simulation are etu.
                assert!((gain / (bps / slowest) - 1.0).abs() < 0.02, "{ta1:02X}: {gain}");
            }
            // 16 x 256 bytes, 12 etu each, are nine tenths of it and more.
            let payload = 16.0 * 256.0 * 12.0 / slowest;
            assert!(payload / longest.as_secs_f64() > 0.9, "{protocol:?}: {longest:?}");
        }
    }
}

/// A card that goes mute at every PPS but the one for its own rate, which this reader cannot do, cannot be
/// brought to its second protocol. It still speaks its first.
#[test]
fn a_card_that_cannot_be_talked_into_a_protocol_speaks_its_first() {
    for model in ["au9540", "gempc-express", "scr3310"] {
        let (handle, mut reader) = open(named(model));
        let behaviour = Behaviour {
            pps: PpsBehaviour::Mute,
            ..Behaviour::default()
        };
        handle.insert(0, card(Some(0x97), &[Offer::T0, Offer::T1], behaviour));
        reader.power_on(0, Reset::Cold).unwrap();
        assert_eq!(
            reader.set_protocol(0, Protocol::T1),
            Err(ReaderError::ProtocolUnsupported),
            "{model}"
        );
        reader.set_protocol(0, Protocol::T0).unwrap();
        let answer = transmit(&mut reader, &read(100)).unwrap();
        assert_eq!(answer.len(), 102, "{model}");
    }
}
