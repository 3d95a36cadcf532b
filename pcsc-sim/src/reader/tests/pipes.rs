//! The pipes: transfers and packets, order, abort, busy slots, notifications, lists.

use super::*;
use crate::reader::{Lists, Oddities};
use pcsc_ccid::message::{Notification, SlotErrorCode};
use pcsc_ccid::transport::TransportError;
use std::time::Duration;

const STATUS: [u8; 10] = [0x65, 0, 0, 0, 0, 0, 7, 0, 0, 0];

fn odd(name: &str, oddities: Oddities) -> Bench {
    let device = SimDevice::named(name).unwrap().with(oddities);
    Bench { device }
}

/// A reader with a T=1 card that takes its time, with power and parameters.
fn busy(name: &str, slot: u8) -> Bench {
    let behaviour = Behaviour {
        work: 3000,
        ..Behaviour::default()
    };
    let mut bench = Bench::new(name);
    bench
        .device
        .insert(slot, Box::new(card(&[Offer::T0], None, behaviour)));
    bench.say(&message(0x62, slot, 0, [1, 0, 0], &[]));
    bench
}

#[test]
fn a_message_may_come_in_several_transfers() {
    let mut bench = Bench::with_card("gempc-express", good(&[Offer::T0], None));
    bench.power_on();
    let data = [&[0x80, 0xEC, 0, 0, 200][..], &[1; 200]].concat();
    let echo = message(0x6F, 0, 1, [0, 0, 0], &data);
    for part in [&echo[..64], &echo[64..128]] {
        bench.device.bulk_out(part).unwrap();
        assert_eq!(bench.device.ready_at(), None);
    }
    assert_eq!(bench.say(&echo[128..])[10..], [0x61, 200]);
    // A short packet ends it, whatever the length says.
    bench.device.bulk_out(&echo[..64]).unwrap();
    assert_eq!(bench.say(&echo[64..70])[7..9], [0x40, 0x01]);
    let mut long = message(0x6F, 0, 1, [0, 0, 0], &[0; 300]);
    assert_eq!(bench.say(&long)[7..9], [0x40, 0x01], "272 bytes are too many");
    long[4] = 0xFF;
    assert_eq!(bench.say(&long)[7..9], [0x40, 0x01], "4 GiB too");
    bench.device.bulk_out(&[0x65]).unwrap();
    assert_eq!(bench.device.ready_at(), None, "less than a header is nothing");
    assert_eq!(bench.say(&STATUS)[7], 0);
}

#[test]
fn a_reply_ends_with_a_short_packet() {
    let mut bench = Bench::with_card("gempc-express", good(&[Offer::T0], None));
    bench.power_on();
    let get = message(0x6F, 0, 1, [0, 0, 0], &[0x80, 0xEE, 0, 52, 52]);
    bench.device.bulk_out(&get).unwrap();
    bench.device.advance(Duration::from_secs(1));
    let first = bench.device.bulk_in(64).unwrap().unwrap();
    assert_eq!(first.len(), 64);
    assert_eq!(bench.device.bulk_in(64), Ok(Some(vec![])), "the empty packet");
    assert_eq!(bench.device.bulk_in(64), Ok(None));
    bench.device.bulk_out(&get).unwrap();
    bench.device.advance(Duration::from_secs(1));
    assert_eq!(bench.device.bulk_in(65).unwrap().unwrap().len(), 64);
    assert_eq!(bench.device.bulk_in(65), Ok(None), "the transfer had room for it");
}

#[test]
fn replies_split_merged_padded_and_lying() {
    let oddities = Oddities {
        split: Some(4),
        ..Oddities::default()
    };
    let mut bench = odd("scr3310", oddities);
    assert_eq!(bench.say_more(&STATUS), [0x81, 0, 0, 0]);
    assert_eq!(bench.hear(), [0, 0, 7, 2]);
    assert_eq!(bench.hear(), [0x81, 1]);

    let oddities = Oddities {
        merge: true,
        ..Oddities::default()
    };
    let mut bench = odd("scr3310", oddities);
    bench.device.bulk_out(&STATUS).unwrap();
    bench.device.bulk_out(&STATUS).unwrap();
    assert_eq!(bench.hear().len(), 20);

    let oddities = Oddities {
        trailing: 3,
        over_announce: 0x1000,
        ..Oddities::default()
    };
    let mut bench = odd("scr3310", oddities);
    assert_eq!(
        bench.say(&STATUS),
        [0x81, 0, 0x10, 0, 0, 0, 7, 2, 0x81, 1, 0xEE, 0xEE, 0xEE]
    );
}

#[test]
fn an_abort_takes_both_ways() {
    let mut bench = busy("omnikey-5321", 0);
    let hello = message(0x6F, 0, 5, [0, 0, 0], &[0, 0xA4, 4, 0, 1, 0xA0]);
    let abort = [0x72, 0, 0, 0, 0, 0, 6, 0, 0, 0];
    bench.device.bulk_out(&hello).unwrap();
    assert!(bench.device.ready_at().unwrap() > bench.device.now(), "under way");
    bench.device.control_out(1, 0x0600, &[]).unwrap();
    assert_eq!(bench.device.ready_at(), None);
    assert_eq!(
        bench.say(&STATUS)[7..9],
        [0x40, 0xFF],
        "commands fail until the message comes"
    );
    assert_eq!(bench.say(&abort), [0x81, 0, 0, 0, 0, 0, 6, 0, 0x81, 0]);
    assert_eq!(bench.say(&STATUS)[7..9], [0x00, 0x81]);
    // The other order.
    bench.device.bulk_out(&abort).unwrap();
    assert_eq!(bench.device.ready_at(), None);
    bench.device.control_out(1, 0x0600, &[]).unwrap();
    assert_eq!(bench.hear()[7..9], [0x00, 0x81]);
    assert_eq!(
        bench.device.control_out(1, 0x0601, &[]),
        Err(TransportError::Stall),
        "no such slot"
    );
}

#[test]
fn one_slot_keeps_a_reader_busy_or_does_not() {
    let second = message(0x65, 1, 8, [0, 0, 0], &[]);
    let mut bench = busy("scr331-di", 0);
    let hello = message(0x6F, 0, 5, [0, 0, 0], &[0, 0xA4, 4, 0, 1, 0xA0]);
    bench.device.bulk_out(&hello).unwrap();
    bench.device.bulk_out(&second).unwrap();
    let refused = bench.device.bulk_in(300).unwrap().unwrap();
    assert_eq!(refused[6..9], [8, 0x42, SlotErrorCode::SlotBusy.code()]);
    bench.hear();
    assert_eq!(bench.say(&second)[6..9], [8, 0x02, 0x81]);

    let mut bench = busy("octsim", 0);
    bench.device.bulk_out(&hello).unwrap();
    bench.device.bulk_out(&second).unwrap();
    assert_eq!(
        bench.device.bulk_in(300).unwrap().unwrap()[5..9],
        [1, 8, 0x02, 0x81],
        "eight slots work at once, and the quick one is first"
    );
    bench.device.bulk_out(&STATUS).unwrap();
    assert_eq!(bench.device.bulk_in(300).unwrap().unwrap()[7..9], [0x40, 0xE0]);
    assert_eq!(bench.hear()[6], 5);
}

#[test]
fn a_slot_change_is_told_once() {
    let mut bench = Bench::new("octsim");
    assert_eq!(bench.device.interrupt_in(), None);
    bench.device.insert(5, Box::new(good(&[Offer::T0], None)));
    bench.device.insert(0, Box::new(good(&[Offer::T0], None)));
    bench.device.insert(8, Box::new(good(&[Offer::T0], None)));
    let bytes = bench.device.interrupt_in().unwrap();
    assert_eq!(bytes, [0x50, 0x03, 0x0C]);
    let told = Notification::decode(&bytes).unwrap();
    assert_eq!(
        (told.slot(5), told.slot(4)),
        (Some((true, true)), Some((false, false)))
    );
    assert_eq!(bench.device.interrupt_in(), None);
    bench.device.remove(0);
    assert_eq!(bench.device.interrupt_in(), Some(vec![0x50, 0x02, 0x04]));
    bench.device.remove(0);
    assert_eq!(bench.device.interrupt_in(), None, "the slot was empty");
    assert_eq!(bench.device.counters().interrupt, 2);
    let mut silent = Bench::with_card("rutoken-lite", good(&[Offer::T1], None));
    assert_eq!(silent.device.interrupt_in(), None, "it has no endpoint for that");
}

#[test]
fn a_card_that_leaves_ends_the_command() {
    let mut bench = busy("omnikey-5321", 0);
    bench.device.interrupt_in();
    let hello = message(0x6F, 0, 5, [0, 0, 0], &[0, 0xA4, 4, 0, 1, 0xA0]);
    bench.device.bulk_out(&hello).unwrap();
    bench.device.remove(0);
    assert_eq!(
        bench.device.bulk_in(300),
        Ok(Some(vec![0x80, 0, 0, 0, 0, 0, 5, 0x42, 0xFE, 0]))
    );
    assert_eq!(bench.device.interrupt_in(), Some(vec![0x50, 0x02]));

    let behaviour = Behaviour {
        removed_after: Some(3),
        ..Behaviour::default()
    };
    let mut bench = Bench::with_card("omnikey-5321", card(&[Offer::T0], None, behaviour));
    bench.power_on();
    bench.device.interrupt_in();
    assert_eq!(bench.say(&hello)[7..9], [0x42, 0xFE]);
    assert_eq!(bench.device.interrupt_in(), Some(vec![0x50, 0x02]));
    bench.device.unplug();
    assert_eq!(bench.device.bulk_out(&STATUS), Err(TransportError::Gone));
    assert_eq!(bench.device.bulk_in(300), Err(TransportError::Gone));
    assert_eq!(bench.device.control_in(3, 0, 8), Err(TransportError::Gone));
}

#[test]
fn lists_are_answered_in_many_ways() {
    let ask = |lists| {
        let oddities = Oddities {
            lists,
            ..Oddities::default()
        };
        odd("au9540", oddities).device.control_in(3, 0, 1024)
    };
    let sound = ask(Lists::Sound).unwrap();
    assert_eq!((sound.len(), &sound[..4]), (138 * 4, &[0x0F, 7, 0, 0][..]));
    assert_eq!(ask(Lists::Stalled), Err(TransportError::Stall));
    assert_eq!(ask(Lists::Short(7)).unwrap(), &sound[..7]);
    assert_eq!(ask(Lists::Padded).unwrap().len(), 1024);
    assert_eq!(ask(Lists::Empty), Ok(vec![]));
    let mut bench = Bench::new("au9540");
    assert_eq!(
        bench.device.control_in(2, 0, 1024).unwrap(),
        [3700u32, 4800, 12_000].map(u32::to_le_bytes).concat()
    );
    assert_eq!(bench.device.control_in(2, 0, 6).unwrap().len(), 6);
    let mut bench = Bench::new("scr3310");
    assert_eq!(bench.device.control_in(2, 0, 1024), Err(TransportError::Stall));
    assert_eq!(bench.device.control_in(0x62, 0, 33), Err(TransportError::Stall));
    assert_eq!(bench.device.control_out(0x65, 0, &[]), Err(TransportError::Stall));
    assert_eq!(bench.device.counters().control, 3);
}

#[test]
fn times_that_readers_take() {
    let oddities = Oddities {
        first_status_delay: Duration::from_millis(350),
        auto_sequence: Duration::from_millis(200),
        ..Oddities::default()
    };
    let mut bench = odd("scr3310", oddities);
    bench.say(&STATUS);
    assert_eq!(bench.device.now(), Duration::from_millis(350));
    bench.say(&STATUS);
    assert_eq!(bench.device.now(), Duration::from_millis(350));
    bench.device.insert(0, Box::new(good(&[Offer::T0], None)));
    let power = message(0x62, 0, 1, [1, 0, 0], &[]);
    assert_eq!(bench.say(&power)[7..9], [0x41, 0xF2]);
    bench.device.advance(Duration::from_millis(200));
    assert_eq!(bench.say(&power)[7..9], [0x00, 0x81]);
}

#[test]
fn a_log_of_all_messages() {
    let mut bench = Bench::new("scr3310");
    bench.say(&STATUS);
    let log: Vec<_> = bench
        .device
        .log()
        .map(|logged| (logged.direction, logged.bytes.len()))
        .collect();
    assert_eq!(
        log,
        [
            (crate::reader::MessageDirection::ToReader, 10),
            (crate::reader::MessageDirection::FromReader, 10)
        ]
    );
}

#[test]
fn promises_that_are_not_kept() {
    let oddities = Oddities {
        longest_message: Some(100),
        no_extended_apdu: true,
        silent_on_removal: true,
        ..Oddities::default()
    };
    let mut bench = odd("omnikey-3x21", oddities);
    let behaviour = Behaviour {
        work: 3000,
        ..Behaviour::default()
    };
    bench
        .device
        .insert(0, Box::new(card(&[Offer::T1], None, behaviour)));
    bench.power_on();
    let xfr = |level, data: &[u8]| message(0x6F, 0, 1, [0, level, 0], data);
    assert_eq!(bench.say(&xfr(0, &[0; 91]))[7..9], [0x40, 1]);
    assert_eq!(bench.say(&xfr(0, &[0x80, 0xEE, 0, 4, 0, 0, 4]))[7..9], [0x40, 1]);
    assert_eq!(bench.say(&xfr(1, &[0x80, 0xEE, 0]))[7..9], [0x40, 8]);
    assert_eq!(
        bench.say(&xfr(0, &[0x80, 0xEE, 0, 4, 4]))[10..],
        [0, 1, 2, 3, 0x90, 0]
    );
    bench.device.bulk_out(&xfr(0, &[0x80, 0xEE, 0, 4, 4])).unwrap();
    bench.device.remove(0);
    assert_eq!(bench.device.ready_at(), None);
    bench.device.interrupt_in();
    bench.device.notify(&[0x51, 0, 1, 1]);
    assert_eq!(bench.device.interrupt_in(), Some(vec![0x51, 0, 1, 1]));
    assert_eq!(bench.device.interrupt_in(), None);
}

#[test]
fn the_log_has_an_end() {
    let mut bench = Bench::new("scr3310");
    for _ in 0..3000 {
        bench.say(&STATUS);
    }
    assert_eq!(bench.device.log().count(), 4096);
}
