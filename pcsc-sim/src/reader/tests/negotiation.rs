//! Who negotiates what; power; odd cards.

use super::*;
use crate::card::{Convention, Overspeed, PpsBehaviour, SimCard};

const T1_PARAMETERS: [u8; 7] = [0x11, 0x10, 0x00, 0x45, 0x00, 0xFE, 0x00];
const SELECT: [u8; 6] = [0, 0xA4, 4, 0, 1, 0xA0];

fn t1(fidi: u8) -> Vec<u8> {
    let mut parameters = T1_PARAMETERS;
    parameters[0] = fidi;
    message(0x61, 0, 1, [1, 0, 0], &parameters)
}

fn parameters(bench: &mut Bench) -> (u8, Vec<u8>) {
    let reply = bench.say(&[0x6C, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(reply[0], 0x82);
    (reply[9], reply[10..].to_vec())
}

#[test]
fn a_reader_with_rules_of_its_own_has_chosen_at_power_up() {
    let mut bench = Bench::with_card("yubikey", good(&[Offer::T1], Some(0x95)));
    bench.power_on();
    let (protocol, now) = parameters(&mut bench);
    assert_eq!((protocol, now[0]), (1, 0x95));
    assert_eq!(
        bench.say(&t1(0x11))[7..11],
        [0x00, 0x81, 0x01, 0x95],
        "it keeps its own"
    );
    // A card that goes mute on PPS is reset, and left at the default rate.
    let behaviour = Behaviour {
        pps: PpsBehaviour::Mute,
        ..Behaviour::default()
    };
    let mut bench = Bench::with_card("yubikey", card(&[Offer::T1], Some(0x95), behaviour));
    bench.power_on();
    assert_eq!(parameters(&mut bench).1[0], 0x11);
    let reply = bench.say(&message(0x6F, 0, 4, [0, 0, 0], &SELECT));
    assert_eq!(reply[7], 0x00);
    // T=0 is not among this reader's protocols.
    let mut bench = Bench::with_card("yubikey", good(&[Offer::T0], None));
    assert_eq!(
        bench.say(&message(0x62, 0, 0, [0, 0, 0], &[]))[7..9],
        [0x41, 0xF6]
    );
}

#[test]
fn automatic_pps_follows_set_parameters() {
    let mut bench = Bench::with_card("au9540", good(&[Offer::T1], Some(0x95)));
    bench.power_on();
    assert_eq!(bench.say(&t1(0x95))[7..11], [0x00, 0x81, 0x01, 0x95]);
    assert_eq!(bench.say(&t1(0x94))[7..9], [0x40, 10], "PPS comes once");
    // Of the card's own rate only, by the reader's rules, where the host has set nothing.
    let mut bench = Bench::with_card("au9540", good(&[Offer::T1], Some(0x94)));
    bench.power_on();
    assert_eq!(parameters(&mut bench).1[0], 0x11);
    assert_eq!(bench.say(&message(0x6F, 0, 4, [0, 0, 0], &SELECT))[7], 0x00);
    assert_eq!(parameters(&mut bench).1[0], 0x94);
}

#[test]
fn a_reader_that_promises_too_much() {
    // 3.7 MHz * 64 / 512 is 462,500: in the list, and above what its contact does.
    let mut bench = Bench::with_card("au9540", good(&[Offer::T1], Some(0x97)));
    bench.power_on();
    assert_eq!(bench.say(&t1(0x97))[7..9], [0x00, 0x81]);
    let select = message(0x6F, 0, 4, [0, 0, 0], &SELECT);
    assert_eq!(bench.say(&select)[7..9], [0x40, 0xFB], "hardware error");
    bench.power_on();
    assert_eq!(bench.say(&t1(0x95))[7..9], [0x00, 0x81]);
    assert_eq!(bench.say(&select)[7..9], [0x00, 0x81]);
    // The other card that libccid gives up on: it supports its own rate, and no slower one.
    let behaviour = Behaviour {
        pps: PpsBehaviour::OwnRateOrMute,
        ..Behaviour::default()
    };
    let mut bench = Bench::with_card("au9540", card(&[Offer::T1], Some(0x97), behaviour));
    bench.power_on();
    assert_eq!(bench.say(&t1(0x95))[7..9], [0x40, 0xFE], "card absent or mute");
    assert_eq!(bench.say_to_the_end(&select)[7..9], [0x40, 0xFE]);
    bench.power_on();
    assert_eq!(bench.say(&t1(0x11))[7..9], [0x00, 0x81]);
    assert_eq!(
        bench.say(&select)[7..9],
        [0x00, 0x81],
        "the default rate always works"
    );
}

#[test]
fn without_automatic_baud_rate_the_host_sets_it() {
    let mut device = SimDevice::named("gempc-express").unwrap();
    device.model.descriptor.features.0 &= !0x20;
    let mut bench = Bench { device };
    bench.device.insert(0, Box::new(good(&[Offer::T1], Some(0x95))));
    bench.power_on();
    bench.say(&message(0x6F, 0, 1, [0, 0, 0], &[0xFF, 0x11, 0x95, 0x7B]));
    bench.say(&t1(0x95));
    let block = message(0x6F, 0, 4, [0, 0, 0], &[0, 0xC1, 1, 0xFE, 0x3E]);
    assert_eq!(
        bench.say(&block)[7..9],
        [0x40, 0xFE],
        "the contact is at 372/1 still"
    );
    let rates = |khz: u32, bps: u32| {
        message(
            0x73,
            0,
            2,
            [0, 0, 0],
            &[khz.to_le_bytes(), bps.to_le_bytes()].concat(),
        )
    };
    assert_eq!(bench.say(&rates(5000, 125_000))[7..9], [0x40, 10]);
    assert_eq!(bench.say(&rates(4000, 600_000))[7..9], [0x40, 14]);
    assert_eq!(
        bench.say(&rates(4000, 125_000))[7..],
        [0x00, 0x81, 0x00, 0xA0, 0x0F, 0, 0, 0x48, 0xE8, 0x01, 0]
    );
    assert_eq!(bench.say(&block)[7..9], [0x00, 0x81]);
    assert_eq!(
        bench.say(&[0x6D, 0, 0, 0, 0, 0, 3, 0, 0, 0])[9..15],
        [0, 0x11, 0, 0, 10, 0]
    );
}

#[test]
fn voltages() {
    let class = |lowest, highest| {
        let behaviour = Behaviour {
            supply: Some((lowest, highest)),
            ..Behaviour::default()
        };
        card(&[Offer::T0], None, behaviour)
    };
    let mut bench = Bench::with_card("gempc-express", class(1600, 2000));
    for (select, outcome) in [
        (1, [0x41, 0xFE]),
        (2, [0x41, 0xFE]),
        (3, [0x00, 0x81]),
        (4, [0x40, 7]),
    ] {
        let reply = bench.say(&message(0x62, 0, 0, [select, 0, 0], &[]));
        assert_eq!(reply[7..9], outcome, "{select}");
    }
    let mut bench = Bench::with_card("omnikey-3x21", class(2700, 3300));
    assert_eq!(
        bench.say(&message(0x62, 0, 0, [0, 0, 0], &[]))[7..9],
        [0x00, 0x81]
    );
    assert_eq!(
        bench.device.contact(0).unwrap().line().millivolts,
        3000,
        "the reader has tried"
    );
    // A reader without this voltage.
    let mut bench = Bench::new("ibank2key");
    bench.device.model.endpoints = 3;
    bench.device.model.protocol = 0;
    assert_eq!(bench.say(&message(0x62, 0, 0, [2, 0, 0], &[]))[7..9], [0x42, 7]);
}

#[test]
fn odd_cards() {
    let select = message(0x6F, 0, 4, [0, 0, 0], &SELECT);
    let run = |profile: Profile, behaviour: Behaviour| {
        let card = SimCard::new(profile, behaviour, Box::new(Hello::default()));
        let mut bench = Bench::with_card("omnikey-5321", card);
        let power = bench.say(&message(0x62, 0, 0, [1, 0, 0], &[]));
        let mut seen = vec![];
        if power[7] == 0 {
            bench.device.bulk_out(&select).unwrap();
            loop {
                let reply = bench.hear();
                seen.push((reply[7], reply[8]));
                if reply[7] & 0x80 == 0 {
                    break;
                }
            }
        }
        (power, seen, bench)
    };
    let inverse = Profile {
        convention: Convention::Inverse,
        ..Profile::new(&[Offer::T0])
    };
    let (power, seen, mut bench) = run(inverse, Behaviour::default());
    assert_eq!(power[10..], [0x3F, 0x00]);
    assert_eq!(seen, [(0x00, 0x81)]);
    assert_eq!(parameters(&mut bench).1[1], 0x02, "bmTCCKST0");

    let mute = Behaviour {
        mute: true,
        ..Behaviour::default()
    };
    let (power, ..) = run(Profile::new(&[Offer::T0]), mute);
    assert_eq!(power[7..], [0x41, 0xFE, 0]);

    let wtx = Behaviour {
        wtx: 3,
        wtx_multiplier: 2,
        ..Behaviour::default()
    };
    let (_, seen, _) = run(Profile::new(&[Offer::T1]), wtx);
    assert_eq!(seen, [(0x80, 2), (0x80, 2), (0x80, 2), (0x00, 0x81)]);

    let (_, seen, _) = run(Profile::new(&[Offer::T1]), Behaviour::wtx_for_ever());
    assert_eq!(seen.last(), Some(&(0x40, 0xFE)), "firmwares have bounds too");
    assert!(seen.len() > 5, "and show that they live meanwhile");

    // At APDU level the reader repeats what is damaged; twice in three blocks it can.
    let noisy = Behaviour {
        corrupt_every: Some(2),
        ..Behaviour::default()
    };
    let (_, seen, _) = run(Profile::new(&[Offer::T1]), noisy);
    assert_eq!(seen, [(0x00, 0x81)]);
    let hopeless = Behaviour {
        corrupt_every: Some(1),
        ..Behaviour::default()
    };
    let (_, seen, _) = run(Profile::new(&[Offer::T1]), hopeless);
    assert_eq!(seen.last(), Some(&(0x40, 0xFE)));

    let overrun = Behaviour {
        fails_above: Some(20_000),
        overspeed: Overspeed::Garbled,
        ..Behaviour::default()
    };
    let mut fast = Profile::new(&[Offer::T1]);
    fast.ta1 = Some(0x95);
    let (_, seen, _) = run(fast, overrun);
    assert_eq!(seen.last(), Some(&(0x40, 0xFD)), "parity error");
}

#[test]
fn characters_one_by_one() {
    let mut bench = Bench::with_card("oz776", good(&[Offer::T0], None));
    bench.power_on();
    let mut xfr = |expect: u8, data: &[u8]| bench.say(&message(0x6F, 0, 4, [0, expect, 0], data));
    assert_eq!(xfr(1, &[0x80, 0xEC, 0, 0, 2])[10..], [0xEC], "the procedure byte");
    assert_eq!(xfr(2, &[7, 8])[10..], [0x61, 2]);
    assert_eq!(xfr(1, &[0, 0xC0, 0, 0, 2])[10..], [0xC0]);
    assert_eq!(xfr(4, &[])[10..], [7, 8, 0x90, 0x00]);
    assert_eq!(xfr(1, &[])[7..], [0x40, 0xFE, 0], "no more comes");
    assert_eq!(xfr(0, &[])[7..], [0x00, 0x81, 0], "nothing is expected");
}

#[test]
fn commands_of_few_readers() {
    let mut bench = Bench::with_card("gempc-express", good(&[Offer::T0], None));
    bench.power_on();
    for kind in [0x6E, 0x6A, 0x71, 0x6B] {
        let reply = bench.say(&message(kind, 0, 4, [1, 0, 0], &[]));
        assert_eq!(reply[7..9], [0x40, 0x00], "{kind:02X}");
    }
    bench.device.answer_escape(&[2], &[1, 2, 3]);
    assert_eq!(
        bench.say(&message(0x6B, 0, 4, [0, 0, 0], &[2])),
        [0x83, 3, 0, 0, 0, 0, 4, 0, 0x81, 0, 1, 2, 3]
    );
    bench.device.model.descriptor.features.0 |= 0x100;
    bench.device.model.descriptor.mechanical = 1;
    let clock = |stop| message(0x6E, 0, 4, [stop, 0, 0], &[]);
    assert_eq!(bench.say(&clock(1))[7..], [0x00, 0x81, 0x01]);
    let hello = message(0x6F, 0, 5, [0, 0, 0], &[0, 0, 0, 0, 12]);
    assert_eq!(bench.say(&hello)[7..9], [0x40, 0xFB], "no clock, no card");
    assert_eq!(bench.say(&clock(0))[7..], [0x00, 0x81, 0x00]);
    assert_eq!(
        bench.say(&message(0x71, 0, 4, [2, 0, 0], &[]))[7..9],
        [0x00, 0x81]
    );
    assert_eq!(bench.say(&message(0x71, 0, 4, [9, 0, 0], &[]))[7..9], [0x40, 7]);
}

#[test]
fn answers_to_reset_of_any_shape() {
    let power = |atr: &[u8]| {
        let behaviour = Behaviour {
            atr: Some(atr.to_vec()),
            ..Behaviour::default()
        };
        let card = card(&[Offer::T0], None, behaviour);
        let reply = Bench::with_card("gempc-express", card).say(&message(0x62, 0, 0, [1, 0, 0], &[]));
        (reply[8], reply[10..].to_vec())
    };
    assert_eq!(power(&[]), (0xFE, vec![]));
    assert_eq!(power(&[0x3B]), (0xF8, vec![]), "TS alone");
    assert_eq!(power(&[0x23, 0x00]), (0xF8, vec![]));
    assert_eq!(
        power(&[0x3B, 0x02, 1]),
        (0x81, vec![0x3B, 0x02, 1]),
        "as far as it came"
    );
    assert_eq!(
        power(&[0x3B, 0x00, 1, 2]),
        (0x81, vec![0x3B, 0x00]),
        "what follows is not its"
    );
    let long = [&[0x3B, 0x8F, 0x80, 0x80, 0x80, 0x81, 0x01][..], &[7; 40]].concat();
    assert_eq!(power(&long).1.len(), 2 + 5 + 15 + 1);
    let endless = [&[0x3B, 0x80][..], &[0x80; 40]].concat();
    assert_eq!(power(&endless).1.len(), 33);
    // A reader that goes by the ATR wants it right.
    let behaviour = Behaviour {
        atr: Some(vec![0x3B, 0x80, 0x01, 0x00]),
        ..Behaviour::default()
    };
    let mut bench = Bench::with_card("omnikey-3x21", card(&[Offer::T1], None, behaviour));
    assert_eq!(
        bench.say(&message(0x62, 0, 0, [1, 0, 0], &[]))[7..9],
        [0x41, 0xF7]
    );
}

#[test]
fn a_class_indicator_is_where_every_protocol_finds_it() {
    let class = |offers: &[Offer]| {
        let mut profile = Profile::new(offers);
        profile.class_indicator = Some(0x07);
        let atr = pcsc_ccid::atr::Atr::parse(&profile.atr()).unwrap();
        assert_eq!(atr.warnings, []);
        assert_eq!(
            atr.protocols(),
            offers.iter().map(Offer::number).collect::<Vec<_>>()
        );
        atr.groups
            .iter()
            .find(|group| group.protocol == Some(15))
            .and_then(|group| group.ta)
    };
    assert_eq!(class(&[Offer::T0]), Some(0x07));
    assert_eq!(class(&[Offer::T1]), Some(0x07));
    assert_eq!(class(&[Offer::T0, Offer::T1]), Some(0x07));
}
