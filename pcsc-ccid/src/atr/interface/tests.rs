use super::*;

fn atr(bytes: &[u8]) -> Atr {
    Atr::parse(bytes).unwrap()
}

#[test]
fn defaults_of_the_shortest_atr() {
    let atr = atr(&[0x3B, 0x00]);
    assert_eq!(atr.speed(), Some(Speed::DEFAULT));
    assert_eq!((atr.ta1(), atr.usable_ta1()), (None, 0x11));
    assert_eq!((atr.extra_guard(), atr.wi(), atr.ifsc()), (0, 10, 32));
    assert_eq!(atr.waiting_integers(), WaitingIntegers { bwi: 4, cwi: 13 });
    assert_eq!((atr.edc(), atr.mode()), (Edc::Lrc, Mode::Negotiable));
    assert_eq!((atr.class_indicator(), atr.first_protocol()), (None, 0));
}

/// OpenPGP card 2.0: TA1 '18', TC1 'FF', T=1 with IFSC 'FE' and '75', T=15 with '03'.
#[test]
fn an_openpgp_card() {
    let atr = atr(b"\x3B\xDA\x18\xFF\x81\xB1\xFE\x75\x1F\x03\x00\x31\xC5\x73\xC0\x01\x40\x00\x90\x00\x0C");
    assert_eq!(atr.warnings, []);
    assert_eq!(atr.speed().map(|speed| (speed.fi, speed.di)), Some((372, 12)));
    assert_eq!(
        (atr.extra_guard(), atr.ifsc(), atr.first_protocol()),
        (255, 254, 1)
    );
    assert_eq!(atr.waiting_integers(), WaitingIntegers { bwi: 7, cwi: 5 });
    // T=15: no clock stop, classes A and B.
    assert_eq!(
        atr.class_indicator(),
        Some(ClassIndicator {
            clock_stop: ClockStop::NotAllowed,
            classes: Some(Classes {
                a: true,
                b: true,
                c: false
            }),
        })
    );
}

/// The Belgian eID: TA1 '13', T=0 with TC2 '0A'. Then TB1 and TB2.
#[test]
fn waiting_integer_and_programming_voltage() {
    let atr = atr(b"\x3B\x98\x13\x40\x0A\xA5\x03\x01\x01\x01\xAD\x13\x11");
    assert_eq!(atr.speed().map(|speed| speed.di), Some(4));
    assert_eq!((atr.first_protocol(), atr.wi()), (0, 10));
    let vpp = Atr::parse(&[0x3B, 0xA0, 0x25, 0x20, 0x35]).unwrap();
    assert_eq!((vpp.groups[0].tb, vpp.groups[1].tb), (Some(0x25), Some(0x35)));
    assert_eq!((vpp.warnings.len(), vpp.first_protocol()), (0, 0));
}

/// Tables 7 and 8 of clause 8.3.
#[test]
fn every_coding_of_fi_and_di() {
    const FI: [(u32, u32); 16] = [
        (372, 4_000_000),
        (372, 5_000_000),
        (558, 6_000_000),
        (744, 8_000_000),
        (1116, 12_000_000),
        (1488, 16_000_000),
        (1860, 20_000_000),
        (0, 0),
        (0, 0),
        (512, 5_000_000),
        (768, 7_500_000),
        (1024, 10_000_000),
        (1536, 15_000_000),
        (2048, 20_000_000),
        (0, 0),
        (0, 0),
    ];
    const DI: [u32; 16] = [0, 1, 2, 4, 8, 16, 32, 64, 12, 20, 0, 0, 0, 0, 0, 0];
    for ta1 in 0..=255u8 {
        let ((fi, max_clock_hz), di) = (FI[usize::from(ta1 >> 4)], DI[usize::from(ta1 & 15)]);
        let expected = (fi > 0 && di > 0).then_some(Speed { fi, di, max_clock_hz });
        assert_eq!(Speed::from_ta1(ta1), expected, "{ta1:02X}");
    }
    assert_eq!(Speed::DEFAULT, Speed::from_ta1(0x11).unwrap());
}

#[test]
fn rates_are_rounded_down_and_compared() {
    let speed = |ta1| Speed::from_ta1(ta1).unwrap();
    assert_eq!(speed(0x11).bits_per_second(4_000_000), 10_752);
    assert_eq!(speed(0x96).bits_per_second(4_000_000), 250_000);
    assert_eq!(speed(0x17).bits_per_second(u32::MAX), 738_919_104);
    let beyond = Speed { fi: 1, ..speed(0x12) };
    assert_eq!(beyond.bits_per_second(u32::MAX), u32::MAX);
    assert!(speed(0x12).is_faster_than(Speed::DEFAULT));
    assert!(!Speed::DEFAULT.is_faster_than(Speed::DEFAULT));
    // 558/1 is slower than 372/1, and 744/2 as fast.
    assert!(!speed(0x21).is_faster_than(Speed::DEFAULT) && Speed::DEFAULT.is_faster_than(speed(0x21)));
    assert!(!speed(0x32).is_faster_than(Speed::DEFAULT) && !Speed::DEFAULT.is_faster_than(speed(0x32)));
}

#[test]
fn waiting_integers_are_written_as_read() {
    for byte in 0..=0x9F {
        assert_eq!(WaitingIntegers::from_byte(byte).to_byte(), byte);
    }
    assert_eq!(
        WaitingIntegers::from_byte(0xFA),
        WaitingIntegers { bwi: 9, cwi: 10 }
    );
    assert_eq!(WaitingIntegers { bwi: 4, cwi: 0x1D }.to_byte(), 0x4D);
}

#[test]
fn each_class_has_its_bit() {
    for (y, a, b, c) in [
        (1, true, false, false),
        (2, false, true, false),
        (3, true, true, false),
        (4, false, false, true),
        (6, false, true, true),
        (7, true, true, true),
    ] {
        for x in 0..4u8 {
            let bytes = [0x3B, 0x80, 0x80, 0x1F, x << 6 | y, 0x00];
            let indicator = atr(&bytes).class_indicator().unwrap();
            assert_eq!(indicator.classes, Some(Classes { a, b, c }), "{y}");
            assert_eq!(indicator.clock_stop.bits(), x);
        }
    }
    for y in [0, 5, 8, 0x21] {
        let indicator = atr(&[0x3B, 0x80, 0x80, 0x1F, y, 0x00]).class_indicator().unwrap();
        assert_eq!(indicator.classes, None, "{y}");
    }
}

#[test]
fn specific_mode_tells_all() {
    // TA2 '81': T=1, unable to change, TA1 holds.
    let fixed = atr(&[0x3B, 0x90, 0x96, 0x91, 0x81, 0x31, 0xFE, 0x45, 0x00]);
    let mode = Mode::Specific {
        protocol: 1,
        implicit: false,
    };
    assert_eq!((fixed.mode(), fixed.first_protocol()), (mode, 1));
    let implicit = atr(&[0x3B, 0x80, 0x10, 0x10]);
    let mode = Mode::Specific {
        protocol: 0,
        implicit: true,
    };
    assert_eq!((implicit.mode(), implicit.specific_mode()), (mode, Some(0)));
    let stranger = atr(&[0x3B, 0x80, 0x10, 0x01]);
    assert_eq!(stranger.warnings, [Warning::SpecificNotOffered(1)]);
    assert_eq!(stranger.first_protocol(), 1);
}

#[test]
fn each_first_byte_counts_for_its_protocol() {
    // TD1: T=0 with TC2 '20'; TD2: T=1 with TA3 '80', TB3 '36' and TC3 '01'; TD3: T=1 again, with
    // others, which do not count; TD4: T=15 with TA '47'.
    let bytes = [
        0x3B, 0x80, 0xC0, 0x20, 0xF1, 0x80, 0x36, 0x01, 0xF1, 0x10, 0x00, 0x00, 0x1F, 0x47,
    ];
    let tck = bytes[1..].iter().fold(0, |sum, byte| sum ^ byte);
    let atr = atr(&[&bytes[..], &[tck]].concat());
    assert_eq!(atr.warnings, []);
    assert_eq!((atr.wi(), atr.ifsc(), atr.edc()), (0x20, 0x80, Edc::Crc));
    assert_eq!(atr.waiting_integers(), WaitingIntegers { bwi: 3, cwi: 6 });
    let indicator = atr.class_indicator().unwrap();
    assert_eq!(indicator.clock_stop, ClockStop::Low);
    assert!(indicator
        .classes
        .is_some_and(|classes| classes.a && classes.b && classes.c));
}

/// TA2, TB2 and TC2 are global, or T=0's, also behind a TD1 that names T=1 (clause 8.2.3).
#[test]
fn the_second_group_is_not_of_t1() {
    let atr = atr(&[0x3B, 0x80, 0x71, 0x01, 0x75, 0x01, 0x84]);
    assert_eq!(atr.warnings, []);
    assert_eq!(atr.specific_mode(), Some(1));
    assert_eq!((atr.ifsc(), atr.edc()), (32, Edc::Lrc));
    assert_eq!(atr.waiting_integers(), WaitingIntegers::DEFAULT);
}

#[test]
fn reserved_values_are_told_and_replaced() {
    let warnings = |bytes: &[u8]| {
        let mut warnings = atr(bytes).warnings;
        warnings.retain(|warning| !matches!(warning, Warning::WrongTck(_)));
        warnings
    };
    for ta1 in [0xF1, 0x71, 0x10, 0x9A, 0xE5, 0x8F] {
        let bytes = [0x3B, 0x10, ta1];
        assert_eq!(warnings(&bytes), [Warning::ReservedTa1(ta1)]);
        assert_eq!(atr(&bytes).usable_ta1(), 0x11);
    }
    assert_eq!(warnings(&[0x3B, 0x80, 0x40, 0x00]), [Warning::ReservedWi(0)]);
    assert_eq!(atr(&[0x3B, 0x80, 0x40, 0x00]).wi(), 10);
    let bytes = [0x3B, 0x80, 0x81, 0x71, 0xFF, 0xF5, 0x02, 0x00];
    let expected = [
        Warning::ReservedIfsc(0xFF),
        Warning::ReservedBwi(0xF5),
        Warning::ReservedEdc(2),
    ];
    assert_eq!(warnings(&bytes), expected);
    assert_eq!((atr(&bytes).ifsc(), atr(&bytes).edc()), (254, Edc::Lrc));
    assert_eq!(atr(&bytes).waiting_integers(), WaitingIntegers { bwi: 9, cwi: 5 });
    // BWI 9 is the largest.
    assert_eq!(warnings(&[0x3B, 0x80, 0x81, 0x21, 0x9F, 0x3F]), []);
    let bytes = [0x3B, 0x80, 0x80, 0x1F, 0xC5, 0x00];
    assert_eq!(warnings(&bytes), [Warning::ReservedClasses(0xC5)]);
    assert_eq!(
        atr(&bytes).class_indicator(),
        Some(ClassIndicator {
            clock_stop: ClockStop::Either,
            classes: None
        })
    );
}

proptest::proptest! {
    #[test]
    fn every_answer_is_in_its_range(bytes in proptest::collection::vec(0u8.., 2..34), inverse: bool) {
        let mut bytes = bytes;
        bytes[0] = if inverse { 0x3F } else { 0x3B };
        if let Ok(atr) = Atr::parse(&bytes) {
            proptest::prop_assert!(Speed::from_ta1(atr.usable_ta1()).is_some());
            proptest::prop_assert!((1..=254).contains(&atr.ifsc()));
            proptest::prop_assert!(atr.wi() > 0);
            proptest::prop_assert!(atr.waiting_integers().bwi <= 9 && atr.waiting_integers().cwi <= 15);
            proptest::prop_assert!(atr.first_protocol() <= 15);
            let _ = (atr.class_indicator(), atr.edc(), atr.extra_guard(), atr.mode());
        }
    }
}
