//! TPDU level, the host negotiates.

use super::*;

const NAME: &str = "gempc-express";
const T1_PARAMETERS: [u8; 7] = [0x11, 0x10, 0x00, 0x45, 0x00, 0xFE, 0x00];

#[test]
fn an_empty_slot() {
    let mut bench = Bench::new(NAME);
    assert_eq!(
        bench.say(&[0x65, 0, 0, 0, 0, 0, 7, 0, 0, 0]),
        [0x81, 0, 0, 0, 0, 0, 7, 0x02, 0x81, 0x01]
    );
    assert_eq!(
        bench.say(&[0x62, 0, 0, 0, 0, 0, 8, 1, 0, 0]),
        [0x80, 0, 0, 0, 0, 0, 8, 0x42, 0xFE, 0x00]
    );
    assert_eq!(
        bench.say(&[0x6F, 1, 0, 0, 0, 0, 9, 0, 0, 0, 0xFF]),
        [0x80, 0, 0, 0, 0, 0, 9, 0x42, 0xFE, 0x00]
    );
    assert_eq!(
        bench.say(&[0x65, 0, 0, 0, 0, 1, 10, 0, 0, 0]),
        [0x81, 0, 0, 0, 0, 1, 10, 0x42, 0x05, 0x00],
        "there is no second slot"
    );
    assert_eq!(
        bench.say(&[0x99, 0, 0, 0, 0, 0, 11, 0, 0, 0]),
        [0x81, 0, 0, 0, 0, 0, 11, 0x42, 0x00, 0x00],
        "no such message"
    );
}

#[test]
fn t0_at_the_default_rate() {
    let mut bench = Bench::with_card(NAME, good(&[Offer::T0], None));
    assert_eq!(
        bench.say(&[0x65, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        [0x81, 0, 0, 0, 0, 0, 0, 0x01, 0x81, 0x01],
        "a card without power"
    );
    assert_eq!(
        bench.say(&[0x62, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
        [0x80, 0, 0, 0, 0, 0, 1, 0x41, 0x07, 0x00],
        "this reader does not choose the voltage"
    );
    assert_eq!(
        bench.say(&[0x62, 0, 0, 0, 0, 0, 2, 1, 0, 0]),
        [0x80, 2, 0, 0, 0, 0, 2, 0x00, 0x81, 0x00, 0x3B, 0x00]
    );
    assert_eq!(
        bench.say(&[0x6C, 0, 0, 0, 0, 0, 3, 0, 0, 0]),
        [0x82, 5, 0, 0, 0, 0, 3, 0x00, 0x81, 0x00, 0x11, 0x00, 0x00, 0x0A, 0x00]
    );
    let select = message(
        0x6F,
        0,
        4,
        [0, 0, 0],
        b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01",
    );
    assert_eq!(
        bench.say(&select),
        [0x80, 2, 0, 0, 0, 0, 4, 0x00, 0x81, 0x00, 0x90, 0x00]
    );
    let hello = message(0x6F, 0, 5, [0, 0, 0], &[0, 0, 0, 0, 0]);
    assert_eq!(
        bench.say(&hello)[10..],
        [0x6C, 12],
        "wrong lengths are the host's to correct"
    );
    let hello = message(0x6F, 0, 6, [0, 0, 0], &[0, 0, 0, 0, 12]);
    assert_eq!(bench.say(&hello)[10..], *b"Hello world!\x90\x00");
    assert_eq!(
        bench.say(&[0x63, 0, 0, 0, 0, 0, 7, 0, 0, 0]),
        [0x81, 0, 0, 0, 0, 0, 7, 0x01, 0x81, 0x01]
    );
    assert_eq!(bench.say(&hello)[7..10], [0x41, 0xFE, 0x00], "no power");
    let counters = bench.device.counters();
    assert_eq!((counters.bulk_out, counters.bulk_in), (9, 9));
}

#[test]
fn pps_is_the_hosts_and_speeds_the_contact_up() {
    let mut bench = Bench::with_card(NAME, good(&[Offer::T1], Some(0x96)));
    bench.say(&[0x62, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    let pps = [0xFF, 0x11, 0x96, 0x78];
    assert_eq!(
        bench.say(&message(0x6F, 0, 1, [0, 0, 0], &pps)),
        [0x80, 4, 0, 0, 0, 0, 1, 0x00, 0x81, 0x00, 0xFF, 0x11, 0x96, 0x78]
    );
    let i_block = [0, 0, 4, 0x80, 0xEE, 0, 200, 0xA2];
    bench.say(&message(0x61, 0, 1, [1, 0, 0], &T1_PARAMETERS));
    assert_eq!(
        bench.say(&message(0x6F, 0, 2, [0, 0, 0], &i_block))[7..10],
        [0x40, 0xFE, 0x00],
        "the card speaks at another rate now"
    );
    let mut fast = T1_PARAMETERS;
    fast[0] = 0x96;
    assert_eq!(
        bench.say(&message(0x61, 0, 3, [1, 0, 0], &fast)),
        [0x82, 7, 0, 0, 0, 0, 3, 0x00, 0x81, 0x01, 0x96, 0x10, 0x00, 0x45, 0x00, 0xFE, 0x00]
    );
    let before = bench.device.now();
    let reply = bench.say(&message(0x6F, 0, 4, [0, 0, 0], &i_block));
    let fast_time = bench.device.now() - before;
    assert_eq!(
        (reply[7], reply.len()),
        (0, 10 + 3 + 32 + 1),
        "IFSD is 32 before it is told"
    );

    let mut slow = Bench::with_card(NAME, good(&[Offer::T1], Some(0x96)));
    slow.say(&[0x62, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    slow.say(&message(0x61, 0, 3, [1, 0, 0], &T1_PARAMETERS));
    let before = slow.device.now();
    slow.say(&message(0x6F, 0, 4, [0, 0, 0], &i_block));
    let slow_time = slow.device.now() - before;
    // 512/32 against 372/1: 23 times as fast.
    let times = slow_time.as_secs_f64() / fast_time.as_secs_f64();
    assert!((22.0..24.0).contains(&times), "{times}");
    assert_eq!(slow.device.tally(0).resets, 1);
}

#[test]
fn a_rate_that_the_reader_has_not_is_refused() {
    let mut bench = Bench::with_card(NAME, good(&[Offer::T1], Some(0x97)));
    bench.say(&[0x62, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    let mut set = |fidi: u8, at: usize, value: u8| {
        let mut parameters = T1_PARAMETERS;
        parameters[0] = fidi;
        parameters[at] = value;
        let reply = bench.say(&message(0x61, 0, 1, [1, 0, 0], &parameters));
        (reply[7], reply[8])
    };
    assert_eq!(
        set(0x17, 0, 0x17),
        (0x40, 10),
        "500,000 bits per second are the most"
    );
    assert_eq!(set(0x97, 0, 0x97), (0x00, 0x81), "just those");
    assert_eq!(set(0xF1, 0, 0xF1), (0x40, 10), "a reserved Fi");
    assert_eq!(set(0x11, 1, 0x20), (0x40, 11));
    assert_eq!(set(0x11, 3, 0xA5), (0x40, 13));
    assert_eq!(set(0x11, 4, 4), (0x40, 14));
    assert_eq!(set(0x11, 5, 255), (0x40, 15));
    assert_eq!(set(0x95, 0, 0x95), (0x00, 0x81));
    assert_eq!(
        bench.say(&message(0x61, 0, 2, [2, 0, 0], &T1_PARAMETERS))[7..9],
        [0x40, 7],
        "no such protocol"
    );
    assert_eq!(
        bench.say(&message(0x61, 0, 3, [0, 0, 0], &T1_PARAMETERS))[7..9],
        [0x40, 1],
        "T=0 has five bytes"
    );
}

#[test]
fn a_block_waits_as_long_as_it_is_told() {
    let behaviour = Behaviour {
        work: 12_000,
        ..Behaviour::default()
    };
    let mut profile = Profile::new(&[Offer::T1 {
        ifsc: Some(254),
        bwi_cwi: Some(0x35),
        edc: pcsc_ccid::t1::Edc::Lrc,
    }]);
    profile.ta1 = None;
    let mut bench = Bench::with_card(NAME, SimCard::new(profile, behaviour, Box::new(Hello::default())));
    bench.say(&[0x62, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    let mut parameters = T1_PARAMETERS;
    parameters[3] = 0x35;
    bench.say(&message(0x61, 0, 1, [1, 0, 0], &parameters));
    let block = [0, 0xC1, 1, 0xFE, 0x3E];
    let before = bench.device.now();
    assert_eq!(
        bench.say(&message(0x6F, 0, 2, [0, 0, 0], &block))[7..9],
        [0x40, 0xFE]
    );
    // BWT: 11 etu and 2^3 * 960 * 372 / 4 MHz, after the block.
    let waited = (bench.device.now() - before).as_millis();
    assert!((714..722).contains(&waited), "{waited}");
    assert_eq!(
        bench.say(&message(0x6F, 0, 3, [2, 0, 0], &block))[7..],
        [0x00, 0x81, 0x00, 0, 0xE1, 1, 0xFE, 0x1E]
    );
}
