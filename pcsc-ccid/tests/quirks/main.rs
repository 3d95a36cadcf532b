//! What the lines of the table of quirks make the driver do, seen in the messages that a reader gets.

#[path = "../common/mod.rs"]
mod common;
mod escapes;

use std::time::Duration;

use common::script::{In, Script};
use common::{card, message, open, pattern, plain_interface, read, transmit};
use pcsc_ccid::atr::WaitingIntegers;
use pcsc_ccid::internals::parameters::Specific;
use pcsc_ccid::part10::{Feature, VENDOR_IFD_EXCHANGE};
use pcsc_ccid::quirks::CARDS;
use pcsc_ccid::reader::{DeviceInfo, Presence, Protocol, Reader, ReaderError, ReaderOptions, Reset};
use pcsc_ccid::transport::TransportError;
use pcsc_sim::card::{Behaviour, Offer};
use pcsc_sim::Model;

const ATR: [u8; 2] = [0x3B, 0x00];
/// Short APDUs, and voltage and parameters by the reader itself.
const FEATURES: u32 = 0x2_00BA;
const SLOT_STATUS: u8 = 0x65;
const POWER_ON: u8 = 0x62;
const POWER_OFF: u8 = 0x63;
const ESCAPE: u8 = 0x6B;
const SECURE: u8 = 0x69;

fn status() -> Vec<u8> {
    message(0x81, &[], [1, 0, 0])
}

fn identity((vendor, product, release): (u16, u16, u16)) -> DeviceInfo {
    DeviceInfo::new(vendor, product, release)
}

/// Opens a reader that gives these answers.
fn opened(
    device: (u16, u16, u16),
    number: u8,
    options: ReaderOptions,
    answers: &[Vec<u8>],
) -> Result<Reader<Script>, ReaderError> {
    let mut script = Script::default();
    script.incoming.extend(answers.iter().cloned().map(In::Bytes));
    let mut interface = plain_interface(FEATURES);
    interface.number = number;
    Reader::open(script, identity(device), &interface, options)
}

fn answers(reader: &mut Reader<Script>, answers: &[Vec<u8>]) {
    let script = reader.transport();
    script.outgoing.clear();
    script.incoming.extend(answers.iter().cloned().map(In::Bytes));
}

/// The type of each message that the reader got.
fn kinds(reader: &mut Reader<Script>) -> Vec<u8> {
    let script = reader.transport();
    script.outgoing.iter().map(|message| message[0]).collect()
}

#[test]
fn firmware_with_known_faults_is_used_only_if_the_user_insists() {
    let acr122u = (0x072F, 0x2200, 0x0205);
    let refused = opened(acr122u, 0, ReaderOptions::default(), &[status()]);
    assert_eq!(
        refused.map(drop),
        Err(ReaderError::Firmware("ACS ACR122U before 2.06"))
    );
    let insists = ReaderOptions::default().with_driver_options(4);
    assert!(opened(acr122u, 0, insists, &[status()]).is_ok());
}

#[test]
fn a_reader_that_starts_its_firmware_is_given_the_time() {
    let cl1356d = (0x0B81, 0x0200, 0x0100);
    let mut reader = opened(cl1356d, 0, ReaderOptions::default(), &[status()]).unwrap();
    assert_eq!(reader.transport().now, Duration::from_secs(1));
}

#[test]
fn a_slot_that_keeps_its_card_powered_is_switched_off_and_on() {
    let sec1210 = (0x0424, 0x1202, 0x0222);
    let mut reader = opened(sec1210, 1, ReaderOptions::default(), &[status()]).unwrap();
    answers(&mut reader, &[status(), status(), message(0x80, &ATR, [0, 0, 0])]);
    assert_eq!(reader.presence(0), Ok(Presence::Present));
    assert_eq!(reader.power_on(0, Reset::Cold), Ok(&ATR[..]));
    assert_eq!(kinds(&mut reader), [SLOT_STATUS, POWER_OFF, POWER_ON]);
}

/// A slot that does not notice cards, found without one: a memory of it would be for ever, since pcscd
/// applies no power where it sees no card. Only of the GemCore SIM Pro nothing else is known.
#[test]
fn a_slot_that_does_not_notice_cards_is_not_asked() {
    let (sim_pro, acr33u) = ((0x08E6, 0x3480, 0x0100), (0x072F, 0x8300, 0x5000));
    for (device, slot, without) in [(sim_pro, 0, Presence::Absent), (acr33u, 2, Presence::Present)] {
        let mut interface = plain_interface(FEATURES);
        interface.descriptor.max_slot_index = slot;
        let in_slot = |mut message: Vec<u8>| {
            message[5] = slot;
            message
        };
        let mut script = Script::default();
        let unknown = || message(0x83, &[], [0x40, 0, 0]);
        let opening = [status(), unknown(), unknown()];
        script.incoming.extend(opening.map(In::Bytes));
        let mut reader =
            Reader::open(script, identity(device), &interface, ReaderOptions::default()).unwrap();
        reader.transport().incoming.clear();

        answers(&mut reader, &[]);
        assert_eq!(reader.presence(slot), Ok(Presence::Present));
        answers(&mut reader, &[in_slot(message(0x80, &[], [0x41, 0xFE, 0]))]);
        assert!(reader.power_on(slot, Reset::Cold).is_err());
        assert_eq!(reader.presence(slot), Ok(without), "{device:04X?}");
        answers(&mut reader, &[in_slot(message(0x80, &ATR, [0, 0, 0]))]);
        assert_eq!(reader.power_on(slot, Reset::Cold), Ok(&ATR[..]));
        assert_eq!(reader.presence(slot), Ok(Presence::Present));
        // What an exchange has missed is told here too.
        let mute = || in_slot(message(0x80, &[], [0x41, 0xFE, 0]));
        answers(&mut reader, &[in_slot(status()), mute()]);
        assert!(reader.power_on(slot, Reset::Cold).is_err());
        let told = match without {
            Presence::Absent => [Presence::Absent; 2],
            _ => [Presence::Replaced, Presence::Present],
        };
        assert_eq!([0; 2].map(|_| reader.presence(slot).unwrap()), told);
        assert!(!kinds(&mut reader).contains(&SLOT_STATUS));
    }
}

#[test]
fn a_reader_in_emv_mode_is_brought_back_once() {
    let emv_fault = || message(0x80, &[], [0x40, 0xBB, 0]);
    let escaped = || message(0x83, &[], [0, 0, 0]);
    let powered = || message(0x80, &ATR, [0, 0, 0]);
    let xx33 = (0x046A, 0x0005, 0x0100);
    let mut reader = opened(xx33, 0, ReaderOptions::default(), &[status()]).unwrap();
    answers(&mut reader, &[emv_fault(), escaped(), powered()]);
    assert_eq!(reader.power_on(0, Reset::Cold), Ok(&ATR[..]));
    assert_eq!(kinds(&mut reader), [POWER_ON, ESCAPE, POWER_ON]);
    assert_eq!(reader.transport().outgoing[1][10..], [0x1F, 0x01]);

    answers(&mut reader, &[status(), emv_fault(), escaped(), emv_fault()]);
    assert!(reader.power_on(0, Reset::Cold).is_err());
    assert_eq!(kinds(&mut reader), [POWER_OFF, POWER_ON, ESCAPE, POWER_ON]);
    // Another one is not asked.
    let mut reader = opened((0x046A, 0xFFFF, 0x0100), 0, ReaderOptions::default(), &[status()]).unwrap();
    answers(&mut reader, &[emv_fault(), powered()]);
    assert!(reader.power_on(0, Reset::Cold).is_err());
    assert!(!kinds(&mut reader).contains(&ESCAPE));
}

#[test]
fn a_reader_whose_name_the_driver_knows_is_not_asked_for_it() {
    let id_token = (0x0D46, 0x301D, 0x0123);
    let mut reader = opened(id_token, 0, ReaderOptions::default(), &[status()]).unwrap();
    answers(&mut reader, &[]);
    let mut answer = |what| transmit(&mut reader, &[0xFF, 0x9A, 0x01, what, 0x00]);
    assert_eq!(answer(0x01), Ok(b"KOBIL systems\x90\x00".to_vec()));
    assert_eq!(answer(0x06), Ok(b"1.23\x90\x00".to_vec()));
    assert_eq!(answer(0x02), Err(ReaderError::NotPowered));
    assert!(kinds(&mut reader).is_empty());
}

#[test]
fn a_display_gets_its_messages_in_the_users_language() {
    let vega_alpha = (0x0982, 0x0008, 0x0100);
    let escaped = || message(0x83, &[], [0, 0, 0]);
    for (language, text) in [
        ("en", &b"Enter PIN"[..]),
        ("fr", b"Votre PIN ?"),
        ("xx", b"Enter PIN"),
    ] {
        let options = ReaderOptions::default().with_locale(language);
        let mut reader = opened(vega_alpha, 0, options, &[status(), escaped(), escaped()]).unwrap();
        assert_eq!(kinds(&mut reader), [0x65, ESCAPE, ESCAPE]);
        let messages = &reader.transport().outgoing[1];
        assert!(
            messages.windows(text.len()).any(|part| part == text),
            "{language:?}"
        );
    }
    // It need not support them.
    let unknown = || message(0x83, &[], [0x40, 0, 0]);
    let answers = [status(), unknown(), unknown()];
    assert!(opened(vega_alpha, 0, ReaderOptions::default(), &answers).is_ok());
}

#[test]
fn sam_slots_are_spoken_to_at_the_rates_that_they_have() {
    const READERS: &str = include_str!("../data/readers.txt");
    let line = READERS.lines().find(|line| line.starts_with("GemCoreSIMPro\t"));
    let model = Model::parse(line.unwrap()).unwrap();
    let (handle, mut reader) = open(pcsc_sim::SimDevice::new(model));
    for (slot, fastest) in [(0, 250_000), (1, 125_000)] {
        handle.insert(slot, card(Some(0x96), &[Offer::T1], Behaviour::default()));
        reader.power_on(slot, Reset::Cold).unwrap();
        reader.set_protocol(slot, Protocol::T1).unwrap();
        assert_eq!(reader.bits_per_second(slot), Some(fastest), "slot {slot}");
    }
    let mut response = [0; 258];
    let length = reader.transmit(1, &read(200), &mut response).unwrap();
    assert_eq!(response[..length], pattern(200));
}

#[test]
fn a_reader_that_cannot_carry_pps_stays_at_the_default_rate() {
    let (handle, mut reader) = open(common::named("oz776"));
    handle.insert(0, card(Some(0x96), &[Offer::T0], Behaviour::default()));
    reader.power_on(0, Reset::Cold).unwrap();
    reader.set_protocol(0, Protocol::T0).unwrap();
    assert!(reader.bits_per_second(0).unwrap() < 11_000);
    assert_eq!(transmit(&mut reader, &read(200)), Ok(pattern(200)));
}

/// 10 bytes of header, and those asked for, in packets of 64.
#[test]
fn a_reader_that_loses_whole_packets_is_asked_for_less() {
    for (protocol, offer) in [(Protocol::T0, Offer::T0), (Protocol::T1, Offer::T1)] {
        let (handle, mut reader) = open(common::named("oz776"));
        handle.insert(0, card(None, &[offer], Behaviour::default()));
        common::power_up(&mut reader, protocol).unwrap();
        for length in 1..=256 {
            let answer = transmit(&mut reader, &read(length));
            assert_eq!(answer, Ok(pattern(length.into())), "{protocol:?} {length}");
        }
    }
}

#[test]
fn a_reader_that_announces_263_bytes_gets_a_whole_command() {
    let mut interface = plain_interface(FEATURES);
    interface.descriptor.max_message_length = 263;
    let script = Script::answering([status()]);
    let reflex = identity((0x04E6, 0x511C, 0x0100));
    let mut reader = Reader::open(script, reflex, &interface, ReaderOptions::default()).unwrap();
    let parameters = message(0x82, &[0x11, 0x00, 0, 10, 0], [0, 0, 0]);
    answers(&mut reader, &[message(0x80, &ATR, [0, 0, 0]), parameters]);
    common::power_up(&mut reader, Protocol::T0).unwrap();
    answers(&mut reader, &[message(0x80, &[0x90, 0x00], [0, 0, 0])]);
    let update = [&[0x00, 0xD6, 0, 0, 255][..], &[0x5A; 255]].concat();
    assert_eq!(transmit(&mut reader, &update), Ok(vec![0x90, 0x00]));
    assert_eq!(reader.transport().outgoing[0][10..], update);
}

/// Whether the reader asks for a time extension or not: it does not shorten the wait.
#[test]
fn a_reader_that_makes_keys_for_minutes_is_waited_for() {
    let status = status();
    let unknown = message(0x83, &[], [0x40, 0, 0]);
    let powered = message(0x80, &[0x3B, 0x80, 0x01, 0x81], [0, 0, 0]);
    let parameters = message(0x82, &[0x11, 0x10, 0, 0x4D, 0, 0x20, 0], [0, 0, 1]);
    let extension = message(0x80, &[], [0x80, 1, 0]);
    // An APDU takes a minute at least, a block three seconds, and both five minutes more.
    for (features, least) in [(FEATURES, 360), (0x1_00BA, 303)] {
        for is_extended in [false, true] {
            let script = Script::answering([&status, &unknown, &unknown].map(Clone::clone));
            let fusion = identity((0x08E6, 0x34D2, 0x0100));
            let interface = plain_interface(features);
            let mut reader = Reader::open(script, fusion, &interface, ReaderOptions::default()).unwrap();
            answers(&mut reader, &[powered.clone(), parameters.clone()]);
            common::power_up(&mut reader, Protocol::T1).unwrap();
            answers(
                &mut reader,
                if is_extended {
                    std::slice::from_ref(&extension)
                } else {
                    &[]
                },
            );
            let before = reader.transport().now;
            let result = transmit(&mut reader, &[0x00, 0xA4, 0x00, 0x00]);
            assert_eq!(result, Err(ReaderError::Transport(TransportError::Timeout)));
            let waited = reader.transport().now - before;
            assert!(
                waited >= Duration::from_secs(least),
                "{features:X}, extended: {is_extended}: {waited:?}"
            );
        }
    }
}

#[test]
fn a_reader_that_is_slow_to_answer_first_is_waited_for() {
    for (device, limit) in [
        ((0x072F, 0x2200, 0x0206), 1000),
        ((0x04E6, 0x5790, 0x0100), 400),
        ((0xFFFF, 0xFFFF, 0x0100), 100),
    ] {
        let mut script = Script::default();
        // Then the answer to the abort, and that to the second question.
        let late = In::Nothing(TransportError::Timeout);
        script
            .incoming
            .extend([late, In::Bytes(status()), In::Bytes(status())]);
        let interface = plain_interface(FEATURES);
        let mut reader =
            Reader::open(script, identity(device), &interface, ReaderOptions::default()).unwrap();
        assert_eq!(
            reader.transport().now,
            Duration::from_millis(limit),
            "{device:04X?}"
        );
    }
}

#[test]
fn a_reader_that_cannot_carry_pps_speaks_the_first_protocol_only() {
    let (handle, mut reader) = open(common::named("oz776"));
    handle.insert(0, card(None, &[Offer::T0, Offer::T1], Behaviour::default()));
    reader.power_on(0, Reset::Cold).unwrap();
    assert_eq!(
        reader.set_protocol(0, Protocol::T1),
        Err(ReaderError::ProtocolUnsupported)
    );
    reader.set_protocol(0, Protocol::T0).unwrap();
    assert_eq!(transmit(&mut reader, &read(20)), Ok(pattern(20)));
    assert_eq!(common::resets(&handle), 1);
}

#[test]
fn a_card_that_is_slower_than_it_says_is_waited_for() {
    for card in CARDS {
        // TPDU level, and nothing for us to negotiate.
        let script = Script::answering([status()]);
        let device = DeviceInfo::default();
        let interface = plain_interface(0x1_00BA);
        let mut reader = Reader::open(script, device, &interface, ReaderOptions::default()).unwrap();
        let parameters = message(0x82, &[0x11, 0x10, 0, 0x4D, 0, 0x20, 0], [0, 0, 1]);
        answers(&mut reader, &[message(0x80, card.atr, [0, 0, 0]), parameters]);
        reader.power_on(0, Reset::Cold).unwrap();
        reader.set_protocol(0, Protocol::T1).unwrap();
        let Some(Specific::T1(t1)) = reader.current(0).map(|current| current.parameters.specific) else {
            panic!("no parameters");
        };
        assert_eq!(
            t1.waiting,
            WaitingIntegers::from_byte(card.waiting),
            "{}",
            card.reason
        );
        let before = reader.transport().now;
        assert!(transmit(&mut reader, &[0x00, 0x47, 0x80, 0x00]).is_err());
        // 2^BWI times 100 ms (ISO 7816-3, clause 11.4.3).
        let least = Duration::from_millis(100 << (card.waiting >> 4));
        assert!(reader.transport().now - before > least, "{}", card.reason);
    }
}

#[test]
fn the_key_that_starts_a_pin_entry_is_let_go_first() {
    // PIN_VERIFY: ASCII, left, in bytes; 4 to 8 digits; ended with the key; no message; a case 1 command.
    let mut verification = vec![
        0, 0, 0x82, 0x08, 0x00, 8, 4, 0x02, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0,
    ];
    verification.extend([0x00, 0x20, 0x00, 0x01]);
    for (device, pause) in [((0x413C, 0x2101, 0x0100), 250), ((0xFFFF, 0xFFFF, 0x0100), 0)] {
        let mut reader = opened(device, 0, ReaderOptions::default(), &[status()]).unwrap();
        let powered = message(0x80, &ATR, [0, 0, 0]);
        let parameters = message(0x82, &[0x11, 0x00, 0, 10, 0], [0, 0, 0]);
        answers(&mut reader, &[powered, parameters]);
        reader.power_on(0, Reset::Cold).unwrap();
        reader.set_protocol(0, Protocol::T0).unwrap();
        let before = reader.transport().now;
        answers(&mut reader, &[message(0x80, &[0x90, 0x00], [0, 0, 0])]);
        let mut answer = [0; 2];
        let code = Feature::VerifyPinDirect.code();
        assert_eq!(reader.control(0, code, &verification, &mut answer), Ok(2));
        assert_eq!(answer, [0x90, 0x00]);
        assert_eq!(reader.transport().now - before, Duration::from_millis(pause));
    }
}
