//! The choice of protocol and speed, message by message: what is sent, what is not, and how often.

mod common;

use common::script::{Answer, In, Script};
use common::{message, plain_interface};
use pcsc_ccid::descriptor::{Flavour, Interface};
use pcsc_ccid::message::SlotErrorCode;
use pcsc_ccid::reader::{Protocol, Reader, ReaderError, Reset};
use pcsc_ccid::{t0::T0Error, transport::TransportError};

const T0_ONLY: &[u8] = &[0x3B, 0x00];
const T1_ONLY: &[u8] = &[0x3B, 0x80, 0x01, 0x81];
const BOTH: &[u8] = &[0x3B, 0x80, 0x80, 0x01, 0x01];
/// TA1 11 and 96.
const BOTH_AT_372_1: &[u8] = &[0x3B, 0x90, 0x11, 0x80, 0x01, 0x00];
const BOTH_AT_512_32: &[u8] = &[0x3B, 0x90, 0x96, 0x80, 0x01, 0x87];
const T0_AT_512_32: &[u8] = &[0x3B, 0x10, 0x96];
const T1_AT_512_32: &[u8] = &[0x3B, 0x90, 0x96, 0x81, 0x01, 0x86];
/// TA2 01: T=1, and nothing else.
const SPECIFIC_T1: &[u8] = &[0x3B, 0x80, 0x11, 0x01, 0x90];

const AUTOMATIC_BAUD_RATE: u32 = 0x20;
const AUTOMATIC_NEGOTIATION: u32 = 0x40;
const AUTOMATIC_PPS: u32 = 0x80;
const AUTOMATIC_IFSD: u32 = 0x400;
/// The levels, with voltage and parameters by the reader.
const CHARACTER: u32 = 0x0_001A;
const TPDU: u32 = 0x1_001A;
const SHORT_APDU: u32 = 0x2_001A;

const SET_PARAMETERS: u8 = 0x61;
const POWER_ON: u8 = 0x62;
const POWER_OFF: u8 = 0x63;
const GET_PARAMETERS: u8 = 0x6C;
const XFR_BLOCK: u8 = 0x6F;
const SET_RATE: u8 = 0x73;

/// Grants each command. A PPS request and S(IFS request) are answered as the card does that agrees.
fn agree(command: &[u8]) -> Vec<u8> {
    let data = &command[10..];
    match command[0] {
        SET_PARAMETERS => message(0x82, data, [0, 0, command[7]]),
        GET_PARAMETERS => message(0x82, &[0x11, 0, 0, 10, 0], [0, 0, 0]),
        XFR_BLOCK if data[0] == 0xFF => message(0x80, data, [0, 0, 0]),
        XFR_BLOCK => {
            let (ifs, ifsd) = (0xE1, data[3]);
            message(0x80, &[0, ifs, 1, ifsd, ifs ^ 1 ^ ifsd], [0, 0, 0])
        }
        SET_RATE => message(0x84, data, [0, 0, 0]),
        _ => message(0x81, &[], [0, 0, 0]),
    }
}

/// An open reader whose card has given this ATR.
fn powered(interface: &Interface, atr: &[u8], answer: Answer) -> Reader<Script> {
    let script = Script {
        answer: Some(answer),
        ..Script::default()
    };
    let mut reader = script.open(interface);
    let answer = message(0x80, atr, [0, 0, 0]);
    reader.transport().incoming.push_back(In::Bytes(answer));
    reader.power_on(0, Reset::Cold).unwrap();
    reader.transport().outgoing.clear();
    reader
}

fn with_features(features: u32) -> Interface {
    let mut interface = plain_interface(features);
    interface.descriptor.max_ifsd = 254;
    interface
}

/// The types of the messages that a choice of this protocol takes.
fn kinds(features: u32, atr: &[u8], protocol: Protocol) -> Vec<u8> {
    let mut reader = powered(&with_features(features), atr, agree);
    reader.set_protocol(0, protocol).unwrap();
    sent_kinds(&mut reader)
}

fn sent_kinds(reader: &mut Reader<Script>) -> Vec<u8> {
    reader.transport().outgoing.iter().map(|sent| sent[0]).collect()
}

#[test]
fn a_protocol_is_chosen_that_both_offer() {
    let refused = Err(ReaderError::ProtocolUnsupported);
    // dwProtocols in the wrong byte order offers nothing.
    for (offered, t0, t1) in [
        (0, true, true),
        (1, true, false),
        (2, false, true),
        (3, true, true),
    ]
    .into_iter()
    .flat_map(|(offered, t0, t1)| [(offered, t0, t1), (offered | 0x0300_0000, t0, t1)])
    {
        for (atr, card_t0, card_t1) in [
            (T0_ONLY, true, false),
            (T1_ONLY, false, true),
            (BOTH, true, true),
            (SPECIFIC_T1, false, true),
        ] {
            for (protocol, is_offered) in [(Protocol::T0, t0 && card_t0), (Protocol::T1, t1 && card_t1)] {
                let mut interface = with_features(SHORT_APDU | AUTOMATIC_PPS);
                interface.descriptor.protocols = offered;
                let mut reader = powered(&interface, atr, agree);
                let expected = if is_offered { Ok(()) } else { refused };
                let result = reader.set_protocol(0, protocol);
                assert_eq!(result, expected, "{offered:X} {atr:02X?} {protocol:?}");
            }
        }
    }
}

#[test]
fn a_protocol_holds_until_the_reset() {
    let mut reader = powered(&with_features(SHORT_APDU | AUTOMATIC_PPS), BOTH, agree);
    reader.set_protocol(0, Protocol::T1).unwrap();
    reader.transport().outgoing.clear();
    assert_eq!(reader.set_protocol(0, Protocol::T1), Ok(()));
    let refused = Err(ReaderError::ProtocolUnsupported);
    assert_eq!(reader.set_protocol(0, Protocol::T0), refused);
    assert!(sent_kinds(&mut reader).is_empty());
}

#[test]
fn the_rate_is_set_where_the_reader_does_not_take_it_from_the_parameters() {
    let features = TPDU | AUTOMATIC_PPS;
    for (features, atr, expected) in [
        (features, BOTH_AT_512_32, &[SET_PARAMETERS, SET_RATE][..]),
        (features, BOTH_AT_372_1, &[SET_PARAMETERS]),
        (features | AUTOMATIC_BAUD_RATE, BOTH_AT_512_32, &[SET_PARAMETERS]),
        (features | AUTOMATIC_BAUD_RATE, BOTH_AT_372_1, &[SET_PARAMETERS]),
    ] {
        assert_eq!(
            kinds(features, atr, Protocol::T0),
            expected,
            "{features:X} {atr:02X?}"
        );
    }
    let mut reader = powered(&with_features(features), BOTH_AT_512_32, agree);
    reader.set_protocol(0, Protocol::T0).unwrap();
    let rate = &reader.transport().outgoing[1][10..];
    // 4 MHz x 32 / 512.
    assert_eq!(
        rate,
        [&4000u32.to_le_bytes()[..], &250_000u32.to_le_bytes()].concat()
    );
}

/// Command not supported, a wrong length, a hardware error, an error of the manufacturer's.
#[test]
fn a_reader_that_refuses_the_command_for_the_rate_keeps_the_speed() {
    let refusals: [Answer; 4] = [
        |command| refuse_rate(command, 0x00),
        |command| refuse_rate(command, 0x01),
        |command| refuse_rate(command, 0xFB),
        |command| refuse_rate(command, 0xC0),
    ];
    for answer in refusals {
        let mut reader = powered(&with_features(TPDU | AUTOMATIC_PPS), BOTH_AT_512_32, answer);
        assert_eq!(reader.set_protocol(0, Protocol::T0), Ok(()));
        assert_eq!(sent_kinds(&mut reader), [SET_PARAMETERS, SET_RATE]);
        assert_eq!(reader.bits_per_second(0), Some(250_000));
    }
}

fn refuse_rate(command: &[u8], error: u8) -> Vec<u8> {
    match command[0] {
        SET_RATE => message(0x81, &[], [0x40, error, 0]),
        _ => agree(command),
    }
}

#[test]
fn ifsd_is_announced_unless_the_reader_does() {
    let features = TPDU | AUTOMATIC_PPS | AUTOMATIC_BAUD_RATE;
    let announced = [SET_PARAMETERS, XFR_BLOCK];
    assert_eq!(kinds(features, T1_ONLY, Protocol::T1), announced);
    let by_reader = kinds(features | AUTOMATIC_IFSD, T1_ONLY, Protocol::T1);
    assert_eq!(by_reader, [SET_PARAMETERS]);
    // 32 is what every card begins with.
    let mut interface = with_features(features);
    interface.descriptor.max_ifsd = 32;
    let mut reader = powered(&interface, T1_ONLY, agree);
    reader.set_protocol(0, Protocol::T1).unwrap();
    assert_eq!(sent_kinds(&mut reader), [SET_PARAMETERS]);
}

#[test]
fn pps_is_carried_as_characters_or_as_a_tpdu() {
    for (features, level) in [(CHARACTER, 4), (TPDU, 0)] {
        let mut reader = powered(
            &with_features(features | AUTOMATIC_BAUD_RATE),
            BOTH_AT_512_32,
            agree,
        );
        reader.set_protocol(0, Protocol::T0).unwrap();
        assert_eq!(sent_kinds(&mut reader), [XFR_BLOCK, SET_PARAMETERS]);
        let pps = &reader.transport().outgoing[0];
        // wLevelParameter: how many characters are expected.
        assert_eq!(pps[7..], [0, level, 0, 0xFF, 0x10, 0x96, 0x79]);
    }
}

#[test]
fn the_choice_of_a_reader_that_negotiates_is_looked_at_where_it_matters() {
    for (features, atr, expected) in [
        // The host speaks the protocol, and the card has two.
        (TPDU, BOTH, &[GET_PARAMETERS][..]),
        (TPDU, T0_ONLY, &[]),
        (SHORT_APDU, BOTH, &[]),
        (SHORT_APDU, T0_ONLY, &[]),
    ] {
        let kinds = kinds(features | AUTOMATIC_NEGOTIATION, atr, Protocol::T0);
        assert_eq!(kinds, expected, "{features:X} {atr:02X?}");
    }
}

#[test]
fn a_token_on_the_control_pipe_has_no_parameters_to_look_at() {
    let mut interface = with_features(TPDU);
    interface.flavour = Flavour::IccdB;
    // The answers to power-on, twice: at opening and here. Before each one, and after the first, is the
    // status after a power-off.
    let status = || Ok(vec![0, 1, 0]);
    let atr = || Ok([&[0x00], BOTH].concat());
    let script = Script {
        controls: [status(), status(), atr(), status(), status(), atr()].into(),
        ..Script::default()
    };
    let mut reader = script.open(&interface);
    assert_eq!(reader.power_on(0, Reset::Cold), Ok(BOTH));
    assert_eq!(reader.set_protocol(0, Protocol::T0), Ok(()));
}

/// Refuses parameters for T=1; the card gives the same ATR at each reset.
fn refuse_t1(command: &[u8]) -> Vec<u8> {
    match command[0] {
        SET_PARAMETERS if command[7] == 1 => message(0x82, &[], [0x40, 0xFB, 0]),
        POWER_ON => message(0x80, BOTH, [0, 0, 0]),
        _ => agree(command),
    }
}

#[test]
fn a_second_protocol_is_tried_at_each_speed_and_then_given_up() {
    // 372/1 alone: one PPS, then the reset that leaves the card ready for its first protocol.
    let mut reader = powered(&with_features(TPDU | AUTOMATIC_BAUD_RATE), BOTH, refuse_t1);
    assert_eq!(
        reader.set_protocol(0, Protocol::T1),
        Err(ReaderError::ProtocolUnsupported)
    );
    assert_eq!(
        sent_kinds(&mut reader),
        [XFR_BLOCK, SET_PARAMETERS, POWER_OFF, POWER_ON]
    );
    assert_eq!(reader.set_protocol(0, Protocol::T0), Ok(()));
}

#[test]
fn a_card_in_specific_mode_is_tried_once() {
    fn refuse(command: &[u8]) -> Vec<u8> {
        match command[0] {
            SET_PARAMETERS => message(0x82, &[], [0x40, 0xFB, 0]),
            _ => agree(command),
        }
    }
    let mut reader = powered(&with_features(TPDU | AUTOMATIC_BAUD_RATE), SPECIFIC_T1, refuse);
    let refused = Err(ReaderError::Slot(SlotErrorCode::Hardware));
    assert_eq!(reader.set_protocol(0, Protocol::T1), refused);
    assert_eq!(sent_kinds(&mut reader), [SET_PARAMETERS]);
}

#[test]
fn a_card_is_tried_at_each_speed_and_then_left_at_its_default() {
    /// Refuses all parameters.
    fn refuse(command: &[u8]) -> Vec<u8> {
        match command[0] {
            SET_PARAMETERS => message(0x82, &[], [0x40, 0xFB, 0]),
            POWER_ON => message(0x80, T1_AT_512_32, [0, 0, 0]),
            _ => agree(command),
        }
    }
    let mut reader = powered(
        &with_features(TPDU | AUTOMATIC_PPS | AUTOMATIC_BAUD_RATE | AUTOMATIC_IFSD),
        T1_AT_512_32,
        refuse,
    );
    assert_eq!(reader.set_protocol(0, Protocol::T1), Ok(()));
    let sent = sent_kinds(&mut reader);
    let tries = sent.iter().filter(|kind| **kind == SET_PARAMETERS).count();
    let resets = sent.iter().filter(|kind| **kind == POWER_ON).count();
    assert!(tries > 2, "{tries} speeds");
    assert_eq!(resets, tries, "one after each");
    assert_eq!(reader.bits_per_second(0), Some(10_752));
    // That is remembered: nothing more is tried after the next reset.
    reader.power_on(0, Reset::Cold).unwrap();
    reader.transport().outgoing.clear();
    assert_eq!(reader.set_protocol(0, Protocol::T1), Ok(()));
    assert!(sent_kinds(&mut reader).is_empty());
}

#[test]
fn a_failure_that_a_lower_speed_may_cure_slows_the_card_down() {
    fn agree_again(command: &[u8]) -> Vec<u8> {
        match command[0] {
            POWER_ON => message(0x80, T0_AT_512_32, [0, 0, 0]),
            _ => agree(command),
        }
    }
    let answer = |data: &[u8]| In::Bytes(message(0x80, data, [0, 0, 0]));
    let timeout = TransportError::Timeout;
    let unexpected = ReaderError::T0(T0Error::UnexpectedData);
    for (features, answer, expected) in [
        (TPDU, In::Nothing(timeout), ReaderError::CardReset),
        // No status word.
        (TPDU, answer(&[0x90]), ReaderError::CardReset),
        // No procedure byte.
        (CHARACTER, answer(&[0x00]), ReaderError::CardReset),
        // Data to a command that has none from the card: not the speed.
        (TPDU, answer(&[0x5A, 0x90, 0x00]), unexpected),
        (CHARACTER, answer(&[0x90, 0x00, 0x5A]), unexpected),
    ] {
        let features = with_features(features | AUTOMATIC_PPS | AUTOMATIC_BAUD_RATE);
        let mut reader = powered(&features, T0_AT_512_32, agree_again);
        reader.set_protocol(0, Protocol::T0).unwrap();
        assert_eq!(reader.bits_per_second(0), Some(250_000));
        reader.transport().incoming.push_back(answer);
        let update = [0x00, 0xD6, 0, 0, 1, 0xAA];
        assert_eq!(reader.transmit(0, &update, &mut [0; 2]), Err(expected));
        let is_slower = reader.bits_per_second(0) < Some(250_000);
        assert_eq!(is_slower, expected == ReaderError::CardReset);
    }
}

#[test]
fn the_parameters_in_force_are_believed_of_a_reader_that_makes_the_pps() {
    /// 372/1 is in force, for the protocol that was asked for.
    fn refuse_rate(command: &[u8]) -> Vec<u8> {
        match command[0] {
            SET_PARAMETERS => message(0x82, &[0x11, 0, 0, 10, 0], [0, 0, 0]),
            _ => agree(command),
        }
    }
    /// The parameters of T=1, which was not.
    fn answer_for_t1(command: &[u8]) -> Vec<u8> {
        match command[0] {
            SET_PARAMETERS => message(0x82, &[0x11, 0x10, 0, 0x4D, 0, 32, 0], [0, 0, 1]),
            _ => agree(command),
        }
    }
    for (features, answer, expected) in [
        (TPDU | AUTOMATIC_PPS, refuse_rate as Answer, 10_752),
        // The host has made the PPS itself, so its values are in force.
        (TPDU, refuse_rate, 250_000),
        (TPDU | AUTOMATIC_PPS, answer_for_t1, 250_000),
        (TPDU | AUTOMATIC_PPS, agree, 250_000),
    ] {
        let interface = with_features(features | AUTOMATIC_BAUD_RATE);
        let mut reader = powered(&interface, BOTH_AT_512_32, answer);
        reader.set_protocol(0, Protocol::T0).unwrap();
        assert_eq!(reader.bits_per_second(0), Some(expected), "{features:X}");
    }
}

#[test]
fn a_failure_slows_the_protocol_in_which_it_was() {
    fn agree_again(command: &[u8]) -> Vec<u8> {
        match command[0] {
            POWER_ON => message(0x80, BOTH_AT_512_32, [0, 0, 0]),
            _ => agree(command),
        }
    }
    let interface = with_features(TPDU | AUTOMATIC_PPS | AUTOMATIC_BAUD_RATE);
    let mut reader = powered(&interface, BOTH_AT_512_32, agree_again);
    reader.set_protocol(0, Protocol::T0).unwrap();
    let no_status_word = message(0x80, &[0x90], [0, 0, 0]);
    reader.transport().incoming.push_back(In::Bytes(no_status_word));
    let reset = Err(ReaderError::CardReset);
    assert_eq!(reader.transmit(0, &[0x00, 0xA4, 0, 0], &mut [0; 2]), reset);
    let mut speed = |protocol| {
        reader.power_on(0, Reset::Cold).unwrap();
        reader.set_protocol(0, protocol).unwrap();
        reader.bits_per_second(0).unwrap()
    };
    assert_eq!(speed(Protocol::T1), 250_000);
    assert!(speed(Protocol::T0) < 250_000);
}
