//! Ladders worked out by hand from the clauses, and properties of all.

use super::*;
use proptest::prelude::*;

const RANGE: ReaderSpeeds<'static> = ReaderSpeeds {
    default_clock_khz: 4_000,
    maximum_clock_khz: 4_000,
    data_rate_bps: 10_752,
    max_data_rate_bps: 344_105,
    num_data_rates: 0,
    data_rates: &[],
    has_automatic_clock: false,
};

/// Negotiable, T=1, with this TA1.
fn card(ta1: u8) -> Atr {
    Atr::parse(&[0x3B, 0x90, ta1, 0x01, 0x91 ^ ta1]).unwrap()
}

fn steps(ta1: u8, reader: &ReaderSpeeds<'_>) -> Vec<(u8, u32)> {
    let step = |candidate: &SpeedChoice| (candidate.ta1, candidate.bits_per_second);
    candidates(&card(ta1), reader).iter().map(step).collect()
}

#[test]
fn a_card_that_the_reader_can_follow() {
    // 4 MHz: 32/512 is 250,000 bit/s; then halves.
    assert_eq!(
        steps(0x96, &RANGE),
        [
            (0x96, 250_000),
            (0x95, 125_000),
            (0x94, 62_500),
            (0x93, 31_250),
            (0x92, 15_625),
            (0x11, 10_752)
        ]
    );
    assert_eq!(
        steps(0x13, &RANGE),
        [(0x13, 43_010), (0x12, 21_505), (0x11, 10_752)]
    );
    assert_eq!(steps(0x11, &RANGE), [(0x11, 10_752)]);
    assert_eq!(steps(0x01, &RANGE), [(0x11, 10_752)]);
    assert_eq!(steps(0x18, &RANGE)[0], (0x18, 129_032));
}

#[test]
fn a_card_too_fast_for_the_reader() {
    // Up to 115,200: 372/8 is 86,021 bit/s, 512/12 is 93,750, 512/16 would be 125,000.
    let reader = ReaderSpeeds {
        max_data_rate_bps: 115_200,
        ..RANGE
    };
    assert_eq!(steps(0x96, &reader)[..2], [(0x98, 93_750), (0x94, 62_500)]);
    // The example of the module's page.
    let reader = ReaderSpeeds {
        max_data_rate_bps: 200_000,
        ..RANGE
    };
    let ta1s: Vec<u8> = steps(0x96, &reader).iter().map(|step| step.0).collect();
    assert_eq!(ta1s, [0x15, 0x95, 0x94, 0x93, 0x92, 0x11]);
    let reader = ReaderSpeeds {
        max_data_rate_bps: 115_200,
        ..RANGE
    };
    // Di 8: no D of 12.
    assert_eq!(steps(0x14, &reader)[0], (0x14, 86_021));
    // A reader with one speed only.
    let reader = ReaderSpeeds {
        max_data_rate_bps: 9_600,
        ..RANGE
    };
    assert_eq!(steps(0x96, &reader), [(0x11, 10_752)]);
}

/// The AlcorMicro AU9560 promises 688,172 bit/s and fails above some 200,000. At 3.7 MHz 372/16 is
/// 159,139, 372/20 is 198,924, 512/20 is 144,531.
#[test]
fn a_reader_with_a_cap() {
    let reader = ReaderSpeeds {
        default_clock_khz: 3_700,
        maximum_clock_khz: 12_000,
        data_rate_bps: 9_946,
        max_data_rate_bps: 688_172,
        ..RANGE
    };
    assert_eq!(steps(0x97, &reader)[0], (0x97, 462_500));
    let capped = ReaderSpeeds {
        max_data_rate_bps: 200_000,
        ..reader
    };
    assert_eq!(steps(0x97, &capped)[..2], [(0x19, 198_924), (0x95, 115_625)]);
    let listed = ReaderSpeeds {
        num_data_rates: 3,
        data_rates: &[9_946, 115_625, 159_140],
        ..capped
    };
    assert_eq!(
        steps(0x97, &listed),
        [(0x15, 159_139), (0x95, 115_625), (0x11, 9_946)]
    );
}

#[test]
fn only_rates_of_the_list() {
    let reader = ReaderSpeeds {
        num_data_rates: 3,
        data_rates: &[10_753, 43_011, 62_500],
        ..RANGE
    };
    assert_eq!(
        steps(0x96, &reader),
        [(0x94, 62_500), (0x13, 43_010), (0x11, 10_752)]
    );
    // Of a list shorter than announced nothing follows.
    let cut = ReaderSpeeds {
        num_data_rates: 53,
        ..reader
    };
    assert_eq!(steps(0x96, &cut)[0], (0x96, 250_000));
    // The default rate alone, or what was in the buffer, is no list where none is announced.
    for data_rates in [&[10_752][..], &[10_752, 62_500, 1_818_516_572], &[0, 62_500]] {
        let loose = ReaderSpeeds {
            num_data_rates: 0,
            data_rates,
            ..RANGE
        };
        assert_eq!(steps(0x96, &loose)[0], (0x96, 250_000));
    }
    let unannounced = ReaderSpeeds {
        num_data_rates: 0,
        ..reader
    };
    assert_eq!(steps(0x96, &unannounced)[0], (0x94, 62_500));
    // 10,752 times 32 rather than 4 MHz by 372 times 32.
    let rounded = ReaderSpeeds {
        max_data_rate_bps: 344_064,
        num_data_rates: 2,
        data_rates: &[10_752, 344_064],
        ..RANGE
    };
    assert_eq!(steps(0x16, &rounded), [(0x16, 344_086), (0x11, 10_752)]);
}

#[test]
fn a_list_made_for_another_clock() {
    let reader = ReaderSpeeds {
        default_clock_khz: 3_700,
        maximum_clock_khz: 12_000,
        data_rate_bps: 9_946,
        max_data_rate_bps: 688_172,
        num_data_rates: 0,
        data_rates: &[10_753, 62_500, 250_000, 688_172],
        has_automatic_clock: true,
    };
    let fastest = candidates(&card(0x96), &reader)[0];
    assert_eq!(
        (fastest.ta1, fastest.clock_khz, fastest.bits_per_second),
        (0x96, 4_000, 250_000)
    );
    // 688,172 by 372/64 would take 4 MHz, which Fi index 1 allows (5 MHz).
    assert_eq!(candidates(&card(0x17), &reader)[0].clock_khz, 3_999);
    let fixed = ReaderSpeeds {
        has_automatic_clock: false,
        ..reader
    };
    assert_eq!(steps(0x96, &fixed), [(0x11, 9_946)]);
}

/// A maximum that is the default rate again, and a list as long as announced that has higher ones.
#[test]
fn a_maximum_that_is_none() {
    let reader = ReaderSpeeds {
        max_data_rate_bps: 10_752,
        num_data_rates: 3,
        data_rates: &[10_752, 125_000, 688_172],
        ..RANGE
    };
    assert_eq!(steps(0x96, &reader), [(0x95, 125_000), (0x11, 10_752)]);
    let unannounced = ReaderSpeeds {
        num_data_rates: 0,
        ..reader
    };
    assert_eq!(steps(0x96, &unannounced), [(0x11, 10_752)]);
}

#[test]
fn clocks_that_are_none() {
    let clock = |default_clock_khz, data_rate_bps| {
        ReaderSpeeds {
            default_clock_khz,
            data_rate_bps,
            ..RANGE
        }
        .clock_khz()
    };
    assert_eq!(clock(3_580, 9_600), 3_580);
    assert_eq!(clock(250, 10_752), 3_999);
    assert_eq!(clock(1_024_000, 10_752), 3_999);
    assert_eq!((clock(0, 0), clock(u32::MAX, u32::MAX)), (4_000, 4_000));
}

#[test]
fn specific_mode_takes_no_choice() {
    let specific = |ta1, ta2| Atr::parse(&[0x3B, 0x90, ta1, 0x10, ta2]).unwrap();
    let only = |ta1, ta2| {
        let found = candidates(&specific(ta1, ta2), &RANGE);
        assert_eq!(found.len(), 1);
        (found[0].ta1, found[0].bits_per_second)
    };
    assert_eq!(only(0x96, 0x00), (0x96, 250_000));
    // More than the reader can do.
    assert_eq!(only(0x97, 0x00), (0x97, 500_000));
    // Implicit, and reserved.
    assert_eq!(only(0x96, 0x10), (0x11, 10_752));
    assert_eq!(only(0xF6, 0x00), (0x11, 10_752));
    // Slower than the default, and the card means it.
    assert_eq!(only(0x21, 0x00), (0x21, 7_168));
}

#[test]
fn a_reserved_ta1_is_the_default() {
    assert_eq!(steps(0xF6, &RANGE), [(0x11, 10_752)]);
}

proptest! {
    #[test]
    fn every_ladder_is_sound(
        atr in proptest::collection::vec(any::<u8>(), 1..12),
        (default_clock_khz, maximum_clock_khz) in (prop_oneof![3_000u32..6_000, any::<u32>()], any::<u32>()),
        (data_rate_bps, max_data_rate_bps) in (any::<u32>(), prop_oneof![0u32..900_000, any::<u32>()]),
        data_rates in proptest::collection::vec(prop_oneof![0u32..900_000, any::<u32>()], 0..60),
        (num_data_rates, has_automatic_clock) in (any::<u8>(), any::<bool>()),
    ) {
        let reader = ReaderSpeeds {
            default_clock_khz,
            maximum_clock_khz,
            data_rate_bps,
            max_data_rate_bps,
            num_data_rates,
            data_rates: &data_rates,
            has_automatic_clock,
        };
        let Ok(atr) = Atr::parse(&[&[0x3B], &atr[..]].concat()) else { return Ok(()) };
        let candidates = candidates(&atr, &reader);
        if atr.specific_mode().is_some() {
            prop_assert_eq!(candidates.len(), 1);
            return Ok(());
        }
        prop_assert!(candidates.len() <= 16);
        prop_assert_eq!(candidates.last().unwrap().ta1, DEFAULT_TA1);
        prop_assert!(candidates.windows(2).all(|two| two[0].bits_per_second > two[1].bits_per_second));
        let own = atr.speed().unwrap_or(Speed::DEFAULT);
        for candidate in &candidates[..candidates.len() - 1] {
            let speed = Speed::from_ta1(candidate.ta1).unwrap();
            prop_assert!(u64::from(speed.di) * u64::from(own.fi) <= u64::from(own.di) * u64::from(speed.fi));
            prop_assert!((372..=own.fi).contains(&speed.fi) && speed.di <= own.di);
            let rate = u64::from(candidate.bits_per_second);
            let listed = data_rates.iter().copied().max().filter(|_| num_data_rates > 0);
            prop_assert!(rate <= u64::from(max_data_rate_bps.max(listed.unwrap_or(0))) + 64);
        }
    }
}

/// Tables 7 and 8 once more, as (index, value), to search by.
const FI: [(u8, u64); 12] = [
    (0, 372),
    (1, 372),
    (2, 558),
    (3, 744),
    (4, 1116),
    (5, 1488),
    (6, 1860),
    (9, 512),
    (10, 768),
    (11, 1024),
    (12, 1536),
    (13, 2048),
];
const DI: [(u8, u64); 9] = [
    (1, 1),
    (2, 2),
    (3, 4),
    (4, 8),
    (5, 16),
    (6, 32),
    (7, 64),
    (8, 12),
    (9, 20),
];

/// The first candidate against a search through all that the clause allows, for every TA1 and reader
/// maxima on a grid finer than the rates' distances.
#[test]
fn the_first_is_the_fastest_of_all() {
    for (f_index, fi) in FI {
        for (d_index, di) in DI {
            let atr = card(f_index << 4 | d_index);
            for max_data_rate_bps in (0..900_000).step_by(1_009) {
                let reader = ReaderSpeeds {
                    max_data_rate_bps,
                    ..RANGE
                };
                let within = |f: u64, d: u64| f <= fi && d <= di && d * fi <= di * f;
                let best = FI
                    .iter()
                    .flat_map(|&(_, f)| DI.iter().map(move |&(_, d)| (f, d)))
                    .filter(|&(f, d)| within(f, d))
                    .map(|(f, d)| (4_000_000 * d / f, d))
                    // What a reader's maximum is rounded by.
                    .filter(|&(rate, d)| rate <= u64::from(max_data_rate_bps) + d)
                    .map(|(rate, _)| rate)
                    .max()
                    .unwrap_or(0)
                    .max(4_000_000 / 372);
                let found = candidates(&atr, &reader)[0];
                assert_eq!(
                    u64::from(found.bits_per_second),
                    best,
                    "{fi}/{di}, {max_data_rate_bps}"
                );
            }
        }
    }
}
