//! ATRs and all that is made of them: speeds, parameters, PPS, waiting times, attributes. Whatever the
//! bytes, no panic and sane results. The ATR after its length, what a reader says of its speeds (19 bytes),
//! its list of data rates.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pcsc_ccid::atr::{Atr, Mode, Speed, DEFAULT_TA1};
use pcsc_ccid::attributes::{self, Current};
use pcsc_ccid::descriptor::list;
use pcsc_ccid::internals::parameters::{self, Parameters};
use pcsc_ccid::internals::pps;
use pcsc_ccid::internals::speed::{candidates, ReaderSpeeds, SpeedChoice};
use pcsc_ccid::internals::waiting::{Waiting, LONGEST, SHORTEST};
use pcsc_ccid::quirks;

fn meanings(atr: &Atr, bytes: &[u8]) {
    let protocols = atr.protocols();
    assert!(!protocols.is_empty() && atr.historical.len() <= 15);
    assert!(protocols.iter().all(|&protocol| protocol < 15));
    assert!(atr.first_protocol() <= 15 && Speed::from_ta1(atr.usable_ta1()).is_some());
    assert_eq!(atr.specific_mode().is_some(), atr.mode() != Mode::Negotiable);
    assert!((1..=254).contains(&atr.ifsc()) && atr.wi() > 0);
    let waiting = atr.waiting_integers();
    assert!(waiting.bwi <= 9 && waiting.cwi <= 15);
    if let Some(speed) = atr.speed() {
        assert!(speed.bits_per_second(speed.max_clock_hz) > 0);
    }
    atr.edc();
    atr.extra_guard();
    atr.class_indicator();
    for warning in &atr.warnings {
        assert!(!warning.to_string().is_empty());
    }
    // Each byte is in one place, but for a check and what follows it.
    let interface: usize = atr
        .groups
        .iter()
        .map(|group| [group.ta, group.tb, group.tc, group.td].iter().flatten().count())
        .sum();
    assert!(2 + interface + atr.historical.len() <= bytes.len());
    quirks::for_card(bytes);
}

fn is_within_card(atr: &Atr, candidate: &SpeedChoice) -> bool {
    let own = Speed::from_ta1(atr.usable_ta1()).unwrap();
    let speed = Speed::from_ta1(candidate.ta1).unwrap();
    candidate.ta1 == DEFAULT_TA1 || (speed.fi <= own.fi && speed.di <= own.di && !speed.is_faster_than(own))
}

fn ladder(atr: &Atr, reader: &ReaderSpeeds<'_>) -> Vec<SpeedChoice> {
    let candidates = candidates(atr, reader);
    assert!(!candidates.is_empty());
    assert!(candidates.iter().all(|candidate| is_within_card(atr, candidate)));
    assert!(candidates
        .windows(2)
        .all(|pair| pair[0].bits_per_second > pair[1].bits_per_second));
    if atr.mode() != Mode::Negotiable {
        assert_eq!(candidates.len(), 1);
        return candidates;
    }
    assert_eq!(candidates.last().map(|last| last.ta1), Some(DEFAULT_TA1));
    // What the reader cannot do is only ever the card's own fixed choice, or the default.
    let most = reader.data_rates.iter().copied().max().unwrap_or(0);
    let most = most.max(reader.max_data_rate_bps).saturating_add(64);
    for raised in candidates.iter().filter(|candidate| candidate.ta1 != DEFAULT_TA1) {
        assert!(raised.bits_per_second <= most);
    }
    candidates
}

fn pps(atr: &Atr, protocol: u8, ta1: u8, answer: &[u8]) {
    let Some(request) = pps::PpsRequest::needed(atr, protocol, ta1) else {
        return;
    };
    assert_eq!(atr.mode(), Mode::Negotiable);
    let mut buffer = [0; pps::MAX_SIZE];
    let bytes = request.encode(&mut buffer);
    assert_eq!(request.check(bytes), Some(pps::PpsOutcome::Accepted));
    let _ = request.check(answer);
    let sum = answer.iter().fold(0, |sum, byte| sum ^ byte);
    let _ = request.check(&[answer, &[sum]].concat());
}

fn waits(waiting: &Waiting) {
    let apdus = [(0, 0), (261, 258), (65_544, 65_538), (usize::MAX, usize::MAX)];
    let apdus = apdus.map(|(command, response)| waiting.apdu(command, response));
    assert!((SHORTEST..=LONGEST).contains(&waiting.tpdu()));
    assert!(apdus.iter().all(|wait| (SHORTEST..=LONGEST).contains(wait)) && apdus.is_sorted());
}

fn parameters(atr: &Atr, protocol: u8, candidate: &SpeedChoice) {
    let made = Parameters::for_card(atr, protocol, candidate.ta1).expect("T=0 and T=1 have parameters");
    assert_eq!(made.protocol(), protocol);
    let mut buffer = [0; parameters::MAX_SIZE];
    let encoded = made.encode(&mut buffer);
    assert_eq!(Parameters::decode(protocol, encoded), Some(made));
    waits(&Waiting::new(atr, &made, candidate.clock_khz));
    let current = Current {
        clock_khz: candidate.clock_khz,
        ifsd: 254,
        parameters: made,
    };
    let known = (attributes::CURRENT_PROTOCOL_TYPE..=attributes::CURRENT_EBC_ENCODING)
        .filter_map(|id| current.value(id));
    // Five of both protocols; W for T=0; IFSC, IFSD, BWT, CWT and the EDC for T=1.
    assert_eq!(known.count(), if protocol == 0 { 6 } else { 10 });
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&length, rest)) = bytes.split_first() else {
        return;
    };
    let (answer, rest) = rest.split_at(usize::from(length).min(rest.len()));
    let mut said = [0; 19];
    let count = rest.len().min(said.len());
    said[..count].copy_from_slice(&rest[..count]);
    let rest = &rest[count..];
    let number = |at: usize| u32::from_le_bytes([said[at], said[at + 1], said[at + 2], said[at + 3]]);
    let rates = list(rest);
    let reader = ReaderSpeeds {
        default_clock_khz: number(0),
        maximum_clock_khz: number(4),
        data_rate_bps: number(8),
        max_data_rate_bps: number(12),
        num_data_rates: said[16],
        data_rates: &rates,
        has_automatic_clock: said[17] & 1 != 0,
    };
    for protocol in 0..3 {
        if let Some(read) = Parameters::decode(protocol, rest) {
            let mut buffer = [0; parameters::MAX_SIZE];
            let encoded = read.encode(&mut buffer);
            assert_eq!(Parameters::decode(protocol, encoded), Some(read));
        }
    }
    let atr = match Atr::parse(answer) {
        Ok(atr) => atr,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    meanings(&atr, answer);
    for candidate in ladder(&atr, &reader) {
        for protocol in [0, 1] {
            parameters(&atr, protocol, &candidate);
            pps(&atr, protocol, candidate.ta1, rest);
            if let Some(read) = Parameters::decode(protocol, rest) {
                waits(&Waiting::new(&atr, &read, number(0)));
            }
        }
    }
});
