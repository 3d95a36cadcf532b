//! From an answer to reset to the fastest speed that works: ladder, PPS and waiting times against
//! simulated cards at the contact, without a reader.

use pcsc_ccid::atr::{Atr, Speed};
use pcsc_ccid::internals::pps::{PpsOutcome, PpsRequest, MAX_SIZE};
use pcsc_ccid::internals::speed::{candidates, ReaderSpeeds};
use pcsc_sim::card::apps::Echo;
use pcsc_sim::card::{
    Behaviour, Contact, Convention, Offer, Overspeed, PpsBehaviour, Profile, Rate, SimCard,
};

const CLOCK_KHZ: u32 = 4_000;
const READER: ReaderSpeeds<'static> = ReaderSpeeds {
    default_clock_khz: CLOCK_KHZ,
    maximum_clock_khz: CLOCK_KHZ,
    data_rate_bps: 10_752,
    max_data_rate_bps: 688_172,
    num_data_rates: 0,
    data_rates: &[],
    has_automatic_clock: false,
};

/// Resets the card and takes it to this speed; what it is at, or `None` where it does not answer well.
fn negotiate(contact: &mut Contact, atr: &Atr, protocol: u8, ta1: u8) -> Option<u8> {
    contact.activate(CLOCK_KHZ * 1000)?;
    let Some(request) = PpsRequest::needed(atr, protocol, ta1) else {
        return Some(ta1);
    };
    contact.send(request.encode(&mut [0; MAX_SIZE]));
    let mut response = Vec::new();
    // ISO/IEC 7816-3, clause 9.1, in etu.
    const INITIAL_WAIT: u64 = 9_600;
    contact.receive(&mut response, MAX_SIZE, INITIAL_WAIT, INITIAL_WAIT);
    match request.check(&response)? {
        PpsOutcome::Accepted => Some(ta1),
        PpsOutcome::RateRefused => Some(0x11),
    }
}

/// Whether the card answers a command of T=0 within its waiting time.
fn answers(contact: &mut Contact, atr: &Atr, ta1: u8) -> bool {
    contact.set_rate(Rate::from_ta1(ta1).unwrap());
    contact.send(&[0x80, 0xEE, 0x00, 0x01, 0x01]);
    // WT is WI x 960 x Fi / f, by the card's own Fi (clause 10.2).
    let (own, speed) = (atr.speed().unwrap(), Speed::from_ta1(ta1).unwrap());
    let etus = u64::from(atr.wi()) * 960 * u64::from(own.fi * speed.di / speed.fi);
    let mut answer = Vec::new();
    let received = contact.receive(&mut answer, 4, etus, etus);
    !received.parity_error && answer == [0xEE, Echo::pattern(0), 0x90, 0x00]
}

/// The speed at which the card works in the end, and the resets that it took.
fn settle(profile: Profile, behaviour: Behaviour, reader: &ReaderSpeeds<'_>) -> (u8, u64) {
    let atr = Atr::parse(&profile.atr()).unwrap();
    let mut contact = Contact::new(Box::new(SimCard::new(profile, behaviour, Box::new(Echo))));
    for candidate in candidates(&atr, reader) {
        if let Some(ta1) = negotiate(&mut contact, &atr, 0, candidate.ta1) {
            if answers(&mut contact, &atr, ta1) {
                return (ta1, contact.tally().resets);
            }
        }
    }
    panic!("no speed works");
}

fn card(ta1: u8) -> Profile {
    Profile {
        ta1: Some(ta1),
        ..Profile::new(&[Offer::T0])
    }
}

#[test]
fn a_good_card_works_at_once_at_the_first_candidate() {
    for ta1 in [0x11, 0x13, 0x18, 0x19, 0x94, 0x96, 0x97, 0xB6, 0xD9] {
        assert_eq!(settle(card(ta1), Behaviour::default(), &READER), (ta1, 1));
        let inverse = Profile {
            convention: Convention::Inverse,
            ..card(ta1)
        };
        assert_eq!(settle(inverse, Behaviour::default(), &READER), (ta1, 1));
    }
}

#[test]
fn a_card_that_refuses_the_rate_works_at_the_default() {
    let behaviour = Behaviour {
        pps: PpsBehaviour::RefuseRate,
        ..Behaviour::default()
    };
    assert_eq!(settle(card(0x96), behaviour, &READER), (0x11, 1));
}

#[test]
fn a_card_that_any_pps_makes_mute_works_at_the_default() {
    let behaviour = Behaviour {
        pps: PpsBehaviour::Mute,
        ..Behaviour::default()
    };
    // 96 95 94 93 92 11: with the last there is nothing to ask for.
    assert_eq!(settle(card(0x96), behaviour, &READER), (0x11, 6));
}

/// 512/64 at 4 MHz is 500,000 bit/s; a cap of 200,000 leaves 372/16 (15), then 95 94 93 92,
/// none of which this card takes.
#[test]
fn a_card_that_takes_its_own_rate_or_none_survives_a_cap() {
    let behaviour = Behaviour {
        pps: PpsBehaviour::OwnRateOrMute,
        ..Behaviour::default()
    };
    let capped = ReaderSpeeds {
        max_data_rate_bps: 200_000,
        ..READER
    };
    assert_eq!(settle(card(0x97), behaviour.clone(), &capped), (0x11, 6));
    assert_eq!(settle(card(0x97), behaviour, &READER), (0x97, 1));
}

#[test]
fn a_card_that_fails_above_a_rate_works_below_it() {
    for overspeed in [Overspeed::Mute, Overspeed::Garbled] {
        let behaviour = Behaviour {
            fails_above: Some(200_000),
            overspeed,
            ..Behaviour::default()
        };
        // 500,000 and 250,000 fail, 125,000 works.
        let (ta1, resets) = settle(card(0x97), behaviour, &READER);
        assert_eq!((ta1, resets), (0x95, 3));
    }
}

#[test]
fn a_card_in_specific_mode_is_left_alone() {
    let specific = Profile {
        ta2: Some(0x00),
        ..card(0x95)
    };
    assert_eq!(settle(specific, Behaviour::default(), &READER), (0x95, 1));
    let implicit = Profile {
        ta2: Some(0x10),
        ..card(0x95)
    };
    assert_eq!(settle(implicit, Behaviour::default(), &READER), (0x11, 1));
}
