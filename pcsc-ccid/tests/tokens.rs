//! ICCD tokens without bulk pipes, request by request (ICCD 1.0, clause 6).

mod common;

use std::time::Duration;

use common::plain_interface;
use common::script::Script;
use pcsc_ccid::descriptor::Flavour;
use pcsc_ccid::message::SlotErrorCode;
use pcsc_ccid::reader::{DeviceInfo, Presence, Protocol, Reader, ReaderError, ReaderOptions, Reset};
use pcsc_ccid::transport::TransportError;

const ATR: [u8; 2] = [0x3B, 0x00];
const POWER_OFF: u8 = 0x63;
const XFR_BLOCK: u8 = 0x65;
const DATA_BLOCK: u8 = 0x6F;
const GET_ICC_STATUS: u8 = 0xA0;
const SLOT_STATUS: u8 = 0x81;

/// An open token whose card has no power.
fn opened(flavour: Flavour, features: u32) -> Reader<Script> {
    let mut interface = plain_interface(features);
    interface.flavour = flavour;
    interface.descriptor.max_message_length = 65_548;
    let mut reader = Reader::open(
        Script {
            controls: [Ok(vec![0, 1, 0])].into(),
            ..Script::default()
        },
        DeviceInfo::default(),
        &interface,
        ReaderOptions::default(),
    )
    .unwrap();
    let script = reader.transport();
    assert!(script.controls.is_empty());
    script.requests.clear();
    script.control_data.clear();
    reader
}

/// A token of version B with a card that is ready for the first command.
fn ready(features: u32) -> Reader<Script> {
    let mut reader = opened(Flavour::IccdB, features);
    // The status after power-off, and the ATR.
    answers(&mut reader, &[&[0, 1, 0], &[0x00, 0x3B, 0x00]]);
    assert_eq!(reader.power_on(0, Reset::Cold), Ok(&ATR[..]));
    reader.set_protocol(0, Protocol::T0).unwrap();
    reader.transport().requests.clear();
    reader.transport().control_data.clear();
    reader
}

fn answers(reader: &mut Reader<Script>, answers: &[&[u8]]) {
    let controls = &mut reader.transport().controls;
    controls.extend(answers.iter().map(|answer| Ok(answer.to_vec())));
}

fn transmit(reader: &mut Reader<Script>, apdu: &[u8]) -> Result<Vec<u8>, ReaderError> {
    let mut response = [0; 600];
    let length = reader.transmit(0, apdu, &mut response)?;
    Ok(response[..length].to_vec())
}

#[test]
fn a_token_is_powered_off() {
    let requests: [(Flavour, &[(u8, u16)]); 2] = [
        (Flavour::IccdA, &[(POWER_OFF, 0)]),
        // The status is the answer, and one that is refused does not matter.
        (Flavour::IccdB, &[(POWER_OFF, 0), (SLOT_STATUS, 0)]),
    ];
    for (flavour, requests) in requests {
        let mut reader = opened(flavour, 0x2_0840);
        assert_eq!(reader.power_off(0), Ok(()));
        assert_eq!(reader.transport().requests, requests);
    }
}

#[test]
fn version_b_reports_its_card_by_two_bits() {
    for (status, presence) in [
        (0xFC, Presence::Present),
        (0xFD, Presence::Present),
        (0xFE, Presence::Absent),
        (0xFF, Presence::Absent),
    ] {
        let mut reader = opened(Flavour::IccdB, 0x2_0840);
        answers(&mut reader, &[&[0xFF, status, 0xFF]]);
        assert_eq!(reader.presence(0), Ok(presence), "{status:02X}");
        assert_eq!(reader.transport().requests, [(SLOT_STATUS, 0)]);
    }
    // 00 is a card with power, 01 one that has lost it.
    let mut reader = ready(0x2_0840);
    answers(&mut reader, &[&[0, 0x00, 0], &[0, 0x01, 0]]);
    assert_eq!(reader.presence(0), Ok(Presence::Present));
    assert_eq!(reader.presence(0), Ok(Presence::Replaced));
}

#[test]
fn version_a_reports_a_card_that_does_not_answer() {
    let mut reader = opened(Flavour::IccdA, 0x848);
    answers(&mut reader, &[&[0x80], &[0x80], &[0x00]]);
    assert_eq!(reader.presence(0), Ok(Presence::Absent));
    let mute = Err(ReaderError::Slot(SlotErrorCode::Mute));
    assert_eq!(reader.power_on(0, Reset::Cold).map(drop), mute);
    assert_eq!(reader.presence(0), Ok(Presence::Present));
    assert_eq!(
        reader.transport().requests,
        [GET_ICC_STATUS, POWER_OFF, GET_ICC_STATUS, GET_ICC_STATUS].map(|request| (request, 0))
    );
}

#[test]
fn a_busy_token_is_asked_again_when_it_says() {
    // The two bytes behind 80 are units of 10 ms; none are one unit.
    for (delay, millis) in [(&[0x80, 0x07, 0x00][..], 70), (&[0x80, 0, 0], 10), (&[0x80], 10)] {
        let mut reader = ready(0x2_0840);
        let before = reader.transport().now;
        answers(&mut reader, &[delay, &[0x00, 0x90, 0x00]]);
        assert_eq!(
            transmit(&mut reader, &[0x00, 0xA4, 0x00, 0x00]),
            Ok(vec![0x90, 0x00])
        );
        let waited = reader.transport().now - before;
        assert_eq!(waited, Duration::from_millis(millis), "{delay:02X?}");
        let requests = &reader.transport().requests;
        assert_eq!(*requests, [(XFR_BLOCK, 0), (DATA_BLOCK, 0), (DATA_BLOCK, 0)]);
    }
}

#[test]
fn version_b_chains_by_the_high_byte_of_w_value() {
    let mut reader = ready(0x4_0840);
    let command = [&[0x00, 0xD6, 0, 0, 0, 0x20, 0x00][..], &[0x5A; 0x2000]].concat();
    // The command takes three parts, the response two.
    answers(
        &mut reader,
        &[&[0x10], &[0x10], &[0x01, 0xAA], &[0x02, 0x90, 0x00]],
    );
    assert_eq!(transmit(&mut reader, &command), Ok(vec![0xAA, 0x90, 0x00]));
    let script = reader.transport();
    let (begins, ends, continues, expected) = (0x0100, 0x0200, 0x0300, 0x1000);
    let requests = [begins, continues, ends, expected].map(|value| [(XFR_BLOCK, value), (DATA_BLOCK, 0)]);
    assert_eq!(script.requests, requests.concat());
    assert_eq!(script.control_data.concat(), command);
    let lengths: Vec<usize> = script.control_data.iter().map(Vec::len).collect();
    assert_eq!(lengths, [4096, 4096, 7, 0]);
}

#[test]
fn version_a_carries_a_tpdu_in_two_stages() {
    let mut reader = opened(Flavour::IccdA, 0x840);
    answers(&mut reader, &[&[0x00], &ATR]);
    reader.power_on(0, Reset::Cold).unwrap();
    reader.set_protocol(0, Protocol::T0).unwrap();
    let mut exchange = |apdu: &[u8], given: &[&[u8]]| {
        let script = reader.transport();
        (script.requests, script.control_data) = (Vec::new(), Vec::new());
        answers(&mut reader, given);
        let result = transmit(&mut reader, apdu);
        assert!(reader.transport().controls.is_empty());
        let script = reader.transport();
        let requests: Vec<u8> = script.requests.iter().map(|(request, _)| *request).collect();
        (result, requests, script.control_data.clone())
    };
    let (ready_for_data, ready_for_status): (&[u8], &[u8]) = (&[0x10], &[0x20]);
    let ok: &[u8] = &[0x90, 0x00];
    // Data to the card.
    let apdu = [0x00, 0xD6, 0, 0, 2, 0xAB, 0xCD];
    let (result, requests, data) = exchange(&apdu, &[ready_for_data, ready_for_status, ok]);
    assert_eq!(result, Ok(ok.to_vec()));
    let expected = [XFR_BLOCK, GET_ICC_STATUS, XFR_BLOCK, GET_ICC_STATUS, DATA_BLOCK];
    assert_eq!(requests, expected);
    assert_eq!(data, [&apdu[..5], &apdu[5..]]);
    // Data from the card; 0 is 256.
    for le in [2, 0] {
        let sent = vec![0x5A; if le == 0 { 256 } else { 2 }];
        let (result, requests, data) = exchange(
            &[0x00, 0xB0, 0, 0, le],
            &[ready_for_data, &sent, ready_for_status, ok],
        );
        assert_eq!(result, Ok([&sent, ok].concat()));
        let expected = [XFR_BLOCK, GET_ICC_STATUS, DATA_BLOCK, GET_ICC_STATUS, DATA_BLOCK];
        assert_eq!(requests, expected);
        assert_eq!(data, [[0x00, 0xB0, 0, 0, le]]);
    }
    // A card that has no data, and one that does not come to its status.
    let (result, ..) = exchange(
        &[0x00, 0xB0, 0, 0, 2],
        &[ready_for_status, ready_for_status, &[0x6A, 0x82]],
    );
    assert_eq!(result, Ok(vec![0x6A, 0x82]));
    let (result, ..) = exchange(&[0x00, 0xB0, 0, 0, 2], &[ready_for_data, &[1, 2], ready_for_data]);
    assert_eq!(result, Err(ReaderError::WrongReply));
}

#[test]
fn a_request_carries_4096_bytes() {
    // Class FF is for the reader itself, and is passed on as it is.
    let mut reader = ready(0x1_0840);
    answers(&mut reader, &[&[0x00, 0x90, 0x00]]);
    assert_eq!(transmit(&mut reader, &[0xFF; 4096]), Ok(vec![0x90, 0x00]));
    let too_long = Err(ReaderError::CommandTooLong { max: 4096 });
    assert_eq!(transmit(&mut reader, &[0xFF; 4097]), too_long);
}

#[test]
fn a_command_that_a_token_has_no_request_for_is_unsupported() {
    let mut reader = ready(0x2_0840);
    assert_eq!(
        reader.escape(0, &[0x02], &mut [0; 8]),
        Err(ReaderError::Unsupported)
    );
    assert!(reader.transport().requests.is_empty());
    let stalled = Err(ReaderError::Transport(TransportError::Stall));
    assert_eq!(transmit(&mut reader, &[0x00, 0xA4, 0x00, 0x00]), stalled);
    assert_eq!(reader.transport().requests, [(XFR_BLOCK, 0), (DATA_BLOCK, 0)]);
}
