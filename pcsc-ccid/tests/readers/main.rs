//! Every reader of the list, with cards of several kinds and speeds: what the driver chooses, held against
//! rules written out here from CCID 1.1 and ISO/IEC 7816-3, and what it carries, byte by byte.

#[path = "../common/mod.rs"]
mod common;
mod names;

use common::{identity, interface, offers, rates_set, LEVELS};
use pcsc_ccid::descriptor::{ClassDescriptor, ExchangeLevel, Flavour};
use pcsc_ccid::message::SlotErrorCode;
use pcsc_ccid::reader::{Presence, Protocol, Reader, ReaderError, ReaderOptions, Reset};
use pcsc_sim::card::apps::Several;
use pcsc_sim::card::{Offer, Profile, SimCard};
use pcsc_sim::{Model, SimHandle, SimTransport};

const READERS: &str = include_str!("../data/readers.txt");

fn models() -> Vec<Model> {
    READERS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| Model::parse(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// A card's TA1 and the protocols that it offers.
const CARDS: [(Option<u8>, &[Offer]); 7] = [
    (None, &[Offer::T0]),
    (None, &[Offer::T1]),
    (Some(0x94), &[Offer::T0]),
    (Some(0x96), &[Offer::T1]),
    (Some(0x97), &[Offer::T0, Offer::T1]),
    (Some(0x18), &[Offer::T1]),
    (Some(0x95), &[Offer::T0]),
];

fn card(ta1: Option<u8>, offers: &[Offer]) -> SimCard {
    let mut profile = Profile::new(offers);
    profile.ta1 = ta1;
    SimCard::good(profile, Box::new(Several::demo()))
}

/// What the device really does, where its descriptor is known to lie: firmware of SCM's, which HP sells too,
/// announces 263 bytes a message and takes a whole TPDU; some announce a clock that no card runs at; and one
/// has its fields shifted.
fn firmware(model: &Model) -> Model {
    let mut model = model.clone();
    let descriptor = &mut model.descriptor;
    if matches!(model.identity.vendor_id, 0x04E6 | 0x03F0) && descriptor.max_message_length == 263 {
        descriptor.max_message_length = 271;
    }
    if !(1000..=20_000).contains(&descriptor.default_clock_khz) {
        let clock_khz = descriptor.data_rate_bps * 372 / 1000;
        descriptor.default_clock_khz = clock_khz;
        descriptor.max_clock_khz = clock_khz;
    }
    if descriptor.protocols & 3 == 0 {
        descriptor.protocols = 3;
    }
    model
}

fn open(model: &Model) -> Result<(SimHandle, Reader<SimTransport>), ReaderError> {
    let handle = SimHandle::new(pcsc_sim::SimDevice::new(firmware(model)));
    let (transport, device) = (handle.transport(), identity(model));
    let reader = Reader::open(transport, device, &interface(model), ReaderOptions::default())?;
    Ok((handle, reader))
}

/// Table 7 and 8 of ISO/IEC 7816-3, clause 8.3.
fn f_and_d(ta1: u8) -> (u64, u64) {
    const F: [u64; 16] = [
        372, 372, 558, 744, 1116, 1488, 1860, 0, 0, 512, 768, 1024, 1536, 2048, 0, 0,
    ];
    const D: [u64; 16] = [0, 1, 2, 4, 8, 16, 32, 64, 12, 20, 0, 0, 0, 0, 0, 0];
    (F[usize::from(ta1 >> 4)], D[usize::from(ta1 & 15)])
}

/// The clauses' limits for a choice of F and D.
fn check_choice(
    model: &Model,
    ta1: Option<u8>,
    protocol: Protocol,
    handle: &SimHandle,
    reader: &Reader<SimTransport>,
) {
    let context = &model.name;
    let own = f_and_d(ta1.unwrap_or(0x11));
    let line = handle.with(|device| device.contact(0).expect("slot 0").line());
    let (f, d) = (u64::from(line.rate.f), u64::from(line.rate.d));
    // 9.3: between the default and what the card offers.
    assert!(
        d * own.0 <= own.1 * f,
        "{context}: {f}/{d} is faster than the card's TA1"
    );
    if let Some(set) = rates_set(handle).last() {
        assert_eq!(f_and_d(*set), (f, d), "{context}: reader and card disagree");
    }
    // CCID 5.1: not above dwMaxDataRate, where that allows the default rate, with an etu's rounding.
    let bps = u64::from(line.clock_hz) * d / f;
    let max = u64::from(model.descriptor.max_data_rate_bps);
    let default = u64::from(line.clock_hz) / 372;
    if model.descriptor.features.0 & 0x40 == 0 && bps > default + 1 {
        let fastest =
            bps * u64::from(
                model
                    .descriptor
                    .max_clock_khz
                    .max(model.descriptor.default_clock_khz),
            ) / u64::from(model.descriptor.default_clock_khz);
        let listed = model
            .data_rates_bps
            .iter()
            .any(|rate| (bps.saturating_sub(d.max(2))..=fastest + d.max(2)).contains(&u64::from(*rate)));
        assert!(
            bps <= max + d.max(2) || listed,
            "{context}: {bps} bps is above {max}"
        );
        // 5.3.3: a list that has as many rates as announced is the whole list.
        let announced = usize::from(model.descriptor.data_rate_count);
        if announced > 0 && model.data_rates_bps.len() >= announced {
            assert!(listed, "{context}: {bps} bps is not in its list");
        }
    }
    let told = reader.current(0).expect("a protocol is chosen");
    assert_eq!(told.parameters.protocol(), protocol as u8, "{context}");
}

fn command(header: [u8; 4], data: &[u8], ne: Option<usize>) -> Vec<u8> {
    let mut apdu = header.to_vec();
    let is_extended = data.len() > 255 || ne.is_some_and(|ne| ne > 256);
    if is_extended {
        apdu.push(0);
    }
    if !data.is_empty() {
        match is_extended {
            true => apdu.extend((data.len() as u16).to_be_bytes()),
            false => apdu.push(data.len() as u8),
        }
        apdu.extend(data);
    }
    if let Some(ne) = ne {
        match is_extended {
            true => apdu.extend((ne as u16).to_be_bytes()),
            false => apdu.push(ne as u8),
        }
    }
    apdu
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i ^ (i >> 8)) as u8).collect()
}

fn exchange(reader: &mut Reader<SimTransport>, apdu: &[u8], context: &str) -> Vec<u8> {
    let mut response = vec![0; 65_538];
    let length = reader.transmit(0, apdu, &mut response).unwrap_or_else(|error| {
        panic!(
            "{context}: {error} for {} bytes {:02X?}",
            apdu.len(),
            &apdu[..5.min(apdu.len())]
        )
    });
    response[..length].to_vec()
}

/// Commands of all four cases, as long as they can be, with the same bytes at both ends.
fn check_exchanges(
    reader: &mut Reader<SimTransport>,
    protocol: Protocol,
    level: ExchangeLevel,
    room: usize,
    context: &str,
) {
    let hello = command([0, 0xA4, 4, 0], b"\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01", None);
    assert_eq!(
        exchange(reader, &hello, context),
        [0x90, 0x00],
        "{context}: case 3"
    );
    for length in [1, 100, 255, 256] {
        let data = pattern(length);
        let mut expected = data.clone();
        expected.extend([0x90, 0x00]);
        let [high, low] = (length as u16).to_be_bytes();
        if length <= 256 {
            let case_2 = command([0x80, 0xEE, high, low], &[], Some(length));
            assert_eq!(
                exchange(reader, &case_2, context),
                expected,
                "{context}: case 2, {length} bytes"
            );
        }
        if length > 255 {
            continue;
        }
        let case_4 = command([0x80, 0xEC, 0, 0], &data, Some(256));
        let mut response = [0; 258];
        match reader.transmit(0, &case_4, &mut response) {
            Err(ReaderError::CommandTooLong { max }) if case_4.len() > room => {
                assert!(max < case_4.len(), "{context}: {max}");
            }
            answer => assert_eq!(
                answer.map(|length| &response[..length]),
                Ok(&expected[..]),
                "{context}: case 4, {length} bytes"
            ),
        }
    }
    // 6D00 or more: the applet answers a header alone over T=1; over T=0 it is one with P3 = 0.
    let case_1 = exchange(reader, &[0x80, 0x01, 0, 0], context);
    assert_eq!(case_1.len(), 2, "{context}: case 1");
    let is_long = match level {
        // Some announce it, and have it not.
        ExchangeLevel::ExtendedApdu => reader.exchange_level() == level,
        ExchangeLevel::Tpdu | ExchangeLevel::Character => protocol == Protocol::T1,
        ExchangeLevel::ShortApdu => false,
    };
    if is_long {
        for length in [256, 1000] {
            check_extended(reader, length, context);
        }
    }
}

fn check_extended(reader: &mut Reader<SimTransport>, length: usize, context: &str) {
    let data = pattern(length);
    let mut expected = data.clone();
    expected.extend([0x90, 0x00]);
    let case_4 = command([0x80, 0xEC, 0, 0], &data, Some(65_536));
    assert_eq!(
        exchange(reader, &case_4, context),
        expected,
        "{context}: case 4, {length} bytes"
    );
}

fn protocols(offers: &[Offer]) -> impl Iterator<Item = Protocol> + '_ {
    offers.iter().map(|offer| match offer {
        Offer::T0 { .. } => Protocol::T0,
        Offer::T1 { .. } => Protocol::T1,
    })
}

/// One combination; false where the reader has not the card's protocol, and says so.
fn carries(model: &Model, ta1: Option<u8>, offers: &[Offer], protocol: Protocol) -> bool {
    let context = format!("{} TA1 {ta1:02X?} {protocol:?}", model.name);
    let known = model.descriptor.protocols & 3;
    let has = |number: u8| known == 0 || known & (1 << number) != 0;
    let (handle, mut reader) = match open(model) {
        Ok(opened) => opened,
        Err(ReaderError::Firmware(reason)) => {
            assert!(!reason.is_empty(), "{context}");
            return false;
        }
        Err(error) => panic!("{context}: {error}"),
    };
    handle.insert(0, card(ta1, offers));
    assert_eq!(reader.presence(0), Ok(Presence::Present), "{context}");
    let atr = match reader.power_on(0, Reset::Cold) {
        Ok(atr) => atr.to_vec(),
        Err(ReaderError::Slot(SlotErrorCode::ProtocolUnsupported))
            if !offers.iter().any(|offer| has(offer.number())) =>
        {
            return false;
        }
        // A card that is its own reader has no other protocol than its own.
        Err(ReaderError::Transport(_)) if model.flavour() == Flavour::IccdA && !has(offers[0].number()) => {
            return false
        }
        Err(error) => panic!("{context}: {error}"),
    };
    let mut profile = Profile::new(offers);
    profile.ta1 = ta1;
    assert_eq!(atr, profile.atr(), "{context}");
    let is_first = offers[0].number() == protocol as u8;
    let resets = || handle.with(|device| device.tally(0).resets);
    let before = resets();
    match reader.set_protocol(0, protocol) {
        Ok(()) => (),
        Err(ReaderError::ProtocolUnsupported) => {
            let is_stuck = !is_first && !may_choose_protocol(model, reader.quirks().no_pps);
            assert!(!has(protocol as u8) || is_stuck, "{context}: refused");
            return false;
        }
        Err(error) => panic!("{context}: {error}"),
    }
    let level = model.descriptor.features.exchange_level();
    check_choice(model, ta1, protocol, &handle, &reader);
    // What one message carries, as the reader announces it; the driver believes some readers more than that.
    let announced = model.descriptor.max_message_length as usize;
    let is_chained = match level {
        ExchangeLevel::ExtendedApdu | ExchangeLevel::Character => true,
        ExchangeLevel::Tpdu => protocol == Protocol::T1,
        ExchangeLevel::ShortApdu => false,
    };
    let room = if is_chained {
        usize::MAX
    } else {
        announced.saturating_sub(10)
    };
    check_exchanges(&mut reader, protocol, level, room, &context);
    assert_eq!(resets() - before, 0, "{context}: resets in vain");
    true
}

#[test]
fn every_reader_carries_every_card() {
    let models = models();
    assert_eq!(models.len(), 573);
    let (mut exchanged, mut failures) = (0, Vec::new());
    for model in &models {
        for (ta1, offers) in CARDS {
            for protocol in protocols(offers) {
                let run = std::panic::AssertUnwindSafe(|| carries(model, ta1, offers, protocol));
                match std::panic::catch_unwind(run) {
                    Ok(carried) => exchanged += u32::from(carried),
                    Err(_) => failures.push(format!("{} {ta1:02X?} {protocol:?}", model.name)),
                }
            }
        }
    }
    println!("{exchanged} combinations of reader, card and protocol");
    assert!(failures.is_empty(), "{} failures: {failures:#?}", failures.len());
    assert!(exchanged > 3000, "{exchanged} combinations");
}

/// A command of T=0 is one message to a reader of TPDUs.
#[test]
fn a_reader_of_short_messages_carries_what_they_hold() {
    for name in ["scr3310", "au9540"] {
        let mut model = pcsc_sim::model(name).unwrap();
        model.descriptor.max_message_length = 64;
        for (ta1, offers) in CARDS {
            for protocol in protocols(offers) {
                assert!(carries(&model, ta1, offers, protocol), "{name}");
            }
        }
    }
}

/// What no field of a class descriptor can truly be. A dump of the RSA SecurID SID800 from 2005 has a message
/// length of 0.
#[test]
fn a_reader_with_an_impossible_descriptor_carries_its_cards() {
    type Change = fn(&mut ClassDescriptor);
    let changes: [(&str, Change); 12] = [
        ("dwMaxCCIDMessageLength 0", |d| d.max_message_length = 0),
        ("dwMaxCCIDMessageLength 10", |d| d.max_message_length = 10),
        ("dwMaxCCIDMessageLength 2^32-1", |d| {
            d.max_message_length = u32::MAX
        }),
        ("dwMaxIFSD 0", |d| d.max_ifsd = 0),
        ("dwMaxIFSD 2^32-1", |d| d.max_ifsd = u32::MAX),
        ("no clocks", |d| (d.default_clock_khz, d.max_clock_khz) = (0, 0)),
        ("clocks 2^32-1", |d| {
            (d.default_clock_khz, d.max_clock_khz) = (u32::MAX, u32::MAX)
        }),
        ("no rates", |d| (d.data_rate_bps, d.max_data_rate_bps) = (0, 0)),
        ("rates 2^32-1", |d| {
            (d.data_rate_bps, d.max_data_rate_bps) = (u32::MAX, u32::MAX)
        }),
        ("neither clocks nor rates", |d| {
            (
                d.default_clock_khz,
                d.max_clock_khz,
                d.data_rate_bps,
                d.max_data_rate_bps,
            ) = (0, 0, 0, 0);
        }),
        ("no protocols and no voltages", |d| {
            (d.protocols, d.voltages) = (0, 0)
        }),
        ("reserved bits, no busy slots", |d| {
            (d.release, d.voltages, d.protocols) = (0xFFFF, 0xF8 | 7, 0xFFFF_FFFF);
            (d.pin_support, d.max_busy_slots, d.mechanical) = (0xFC, 0, u32::MAX);
        }),
    ];
    for (name, protocols) in LEVELS {
        let real = pcsc_sim::model(name).unwrap();
        for (change, apply) in &changes {
            let mut announced = real.clone();
            apply(&mut announced.descriptor);
            for &protocol in protocols {
                let handle = SimHandle::new(pcsc_sim::SimDevice::new(real.clone()));
                let device = identity(&announced);
                let options = ReaderOptions::default();
                let context = format!("{name}, {change}, {protocol:?}");
                let mut reader = Reader::open(handle.transport(), device, &interface(&announced), options)
                    .unwrap_or_else(|error| panic!("{context}: {error}"));
                handle.insert(0, card(None, offers(protocol)));
                reader.power_on(0, Reset::Cold).unwrap();
                reader
                    .set_protocol(0, protocol)
                    .unwrap_or_else(|error| panic!("{context}: {error}"));
                let mut response = [0; 300];
                let length = reader
                    .transmit(0, &[0x80, 0xEE, 0, 200, 200], &mut response)
                    .unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!(
                    (length, &response[200..202]),
                    (202, &[0x90, 0x00][..]),
                    "{context}"
                );
            }
        }
    }
}

/// Whether there is a way to a protocol that is not the card's first: PPS by us, or by the reader for the
/// parameters that we set. A reader that negotiates by its own rules chooses by its own rules, which matters
/// where we must speak the protocol.
fn may_choose_protocol(model: &Model, no_pps: bool) -> bool {
    let features = model.descriptor.features.0;
    let is_apdu = matches!(
        model.descriptor.features.exchange_level(),
        ExchangeLevel::ShortApdu | ExchangeLevel::ExtendedApdu
    );
    match (features & 0x40 != 0, features & 0x80 != 0) {
        (true, _) => is_apdu,
        (false, true) => true,
        (false, false) => !is_apdu && !no_pps,
    }
}

/// The longest APDUs, over each level that carries them; an error that says how long they may be elsewhere.
#[test]
fn the_longest_apdus() {
    for (name, protocol, max) in [
        ("scr3310", Protocol::T1, 65_535),
        ("scr3310", Protocol::T0, 65_535),
        ("oz776", Protocol::T0, 65_535),
        ("oz776", Protocol::T1, 65_535),
        ("au9540", Protocol::T1, 65_535),
        ("au9540", Protocol::T0, 65_535),
        ("omnikey-5321", Protocol::T1, 255),
    ] {
        let model = pcsc_sim::model(name).unwrap();
        let (handle, mut reader) = open(&model).unwrap();
        handle.insert(0, card(None, offers(protocol)));
        reader.power_on(0, Reset::Cold).unwrap();
        reader.set_protocol(0, protocol).unwrap();
        let context = format!("{name} {protocol:?}");
        for length in [256, 4096, 65_535] {
            if length <= max {
                check_extended(&mut reader, length, &context);
                continue;
            }
            let data = pattern(length);
            let apdu = command([0x80, 0xEC, 0, 0], &data, Some(65_536));
            let error = reader.transmit(0, &apdu, &mut [0; 65_538]).unwrap_err();
            assert!(
                matches!(error, ReaderError::CommandTooLong { .. }),
                "{context}: {error}"
            );
        }
        let case_2 = command([0x80, 0xEE, 0, 0], &[], Some(65_536));
        if max > 255 {
            let mut expected = pattern(65_536);
            expected.extend([0x90, 0x00]);
            assert_eq!(exchange(&mut reader, &case_2, &context), expected, "{context}");
        }
    }
}
