//! APDUs at each level of exchange, message by message (CCID 1.1, clause 3.2).

mod common;

use common::script::{In, Script};
use common::{message, plain_interface, too_long, verify};
use pcsc_ccid::message::{Malformed, SlotErrorCode};
use pcsc_ccid::reader::{Protocol, Reader, ReaderError, Reset};
use pcsc_ccid::t0::T0Error;
use pcsc_ccid::t1::{Block, Edc, Pcb, Supervisory, MAX_BLOCK};
use pcsc_ccid::transport::TransportError;
use pcsc_sim::card::Behaviour;

/// The levels, and all else by the reader; IFSD is 32.
const CHARACTER: u32 = 0x0_00BA;
const TPDU: u32 = 0x1_00BA;
const EXTENDED_APDU: u32 = 0x4_00BA;
const OK: [u8; 2] = [0x90, 0x00];
const SELECT: [u8; 4] = [0x00, 0xA4, 0x00, 0x00];
const T0: &[u8] = &[0x3B, 0x00];
const T1: &[u8] = &[0x3B, 0x80, 0x01, 0x81];
/// TC3 01: a CRC.
const T1_CRC: &[u8] = &[0x3B, 0x80, 0x81, 0x41, 0x01, 0x41];

/// A reader with a card that is ready for the first command.
fn ready(features: u32, atr: &[u8], max_message: u32) -> Reader<Script> {
    let mut interface = plain_interface(features);
    interface.descriptor.max_message_length = max_message;
    let (protocol, parameters): (_, &[u8]) = match atr {
        T0 => (Protocol::T0, &[0x11, 0, 0, 10, 0]),
        _ => (Protocol::T1, &[0x11, 0x10, 0, 0x4D, 0, 32, 0]),
    };
    let incoming = [
        message(0x81, &[], [1, 0, 0]),
        message(0x80, atr, [0, 0, 0]),
        message(0x82, parameters, [0, 0, 0]),
    ];
    let script = Script::answering(incoming);
    let mut reader = script.open(&interface);
    reader.power_on(0, Reset::Cold).unwrap();
    reader.set_protocol(0, protocol).unwrap();
    reader.transport().outgoing.clear();
    reader
}

/// What an APDU gives if the reader answers so, and each XfrBlock that it got: bBWI, wLevelParameter, data.
type Exchanged = (Result<Vec<u8>, ReaderError>, Vec<(u8, u16, Vec<u8>)>);

fn exchange(reader: &mut Reader<Script>, apdu: &[u8], answers: &[Vec<u8>]) -> Exchanged {
    let incoming = answers.iter().cloned().map(In::Bytes);
    reader.transport().incoming.extend(incoming);
    let mut response = vec![0; 65_538];
    let result = reader
        .transmit(0, apdu, &mut response)
        .map(|length| response[..length].to_vec());
    (result, blocks(reader))
}

fn blocks(reader: &mut Reader<Script>) -> Vec<(u8, u16, Vec<u8>)> {
    let sent = std::mem::take(&mut reader.transport().outgoing);
    let blocks = sent.iter().filter(|message| message[0] == 0x6F);
    blocks
        .map(|m| (m[7], u16::from_le_bytes([m[8], m[9]]), m[10..].to_vec()))
        .collect()
}

fn data(data: &[u8]) -> Vec<u8> {
    message(0x80, data, [0, 0, 0])
}

fn block(edc: Edc, pcb: Pcb, inf: &[u8]) -> Vec<u8> {
    let mut bytes = [0; MAX_BLOCK];
    let length = Block { nad: 0, pcb, inf }.encode(edc, &mut bytes);
    bytes[..length].to_vec()
}

/// The card's first answer.
fn first(edc: Edc, inf: &[u8]) -> Vec<u8> {
    block(edc, Pcb::I { seq: 0, more: false }, inf)
}

#[test]
fn a_response_chain_may_be_as_long_as_a_response() {
    // The longest response in parts, of which the last is empty.
    let part = |length, chain| message(0x80, &vec![0x5A; length], [0, 0, chain]);
    let (begins, ends, continues) = (1, 2, 3);
    let mut reader = ready(EXTENDED_APDU, T0, 65_548);
    let answers = [part(65_000, begins), part(538, continues), part(0, ends)];
    let (result, sent) = exchange(&mut reader, &SELECT, &answers);
    assert_eq!(result, Ok(vec![0x5A; 65_538]));
    assert_eq!(sent.len(), 3);
    // One byte more, and it is not asked for the rest.
    let answers = [part(65_000, begins), part(539, continues)];
    let (result, sent) = exchange(&mut reader, &SELECT, &answers);
    assert_eq!(result, Err(ReaderError::WrongReply));
    assert_eq!(sent.len(), 2);
}

#[test]
fn no_command_is_longer_than_an_extended_apdu() {
    let mut reader = ready(EXTENDED_APDU, T0, 65_548);
    let (result, sent) = exchange(&mut reader, &[0; 65_544], &[data(&OK)]);
    assert_eq!((result, sent.len()), (Ok(OK.to_vec()), 1));
    let (result, sent) = exchange(&mut reader, &[0; 65_545], &[]);
    let too_long = Err(ReaderError::CommandTooLong { max: 65_544 });
    assert_eq!((result, sent.len()), (too_long, 0));
}

#[test]
fn a_waiting_time_extension_multiplies_the_next_wait_only() {
    let wtx = |times| block(Edc::Lrc, Pcb::Request(Supervisory::Wtx), &[times]);
    let more = block(Edc::Lrc, Pcb::I { seq: 0, more: true }, &[0x5A]);
    let last = block(Edc::Lrc, Pcb::I { seq: 1, more: false }, &OK);
    let mut reader = ready(TPDU, T1, 271);
    let answers = [wtx(7), wtx(1), more, last].map(|block| data(&block));
    let (result, sent) = exchange(&mut reader, &SELECT, &answers);
    assert_eq!(result, Ok(vec![0x5A, 0x90, 0x00]));
    let multipliers: Vec<u8> = sent.iter().map(|(bwi, ..)| *bwi).collect();
    assert_eq!(multipliers, [0, 7, 0, 0]);
}

#[test]
fn a_block_is_asked_for_by_its_length() {
    for (atr, edc) in [(T1, Edc::Lrc), (T1_CRC, Edc::Crc)] {
        let answer = first(edc, &[&[0x5A; 70][..], &OK].concat());
        let (prologue, rest) = answer.split_at(3);
        let mut reader = ready(CHARACTER, atr, 271);
        let (result, sent) = exchange(&mut reader, &SELECT, &[data(prologue), data(rest)]);
        assert_eq!(result, Ok([&[0x5A; 70][..], &OK].concat()));
        let levels: Vec<u16> = sent.iter().map(|(_, level, _)| *level).collect();
        assert_eq!(levels, [3, rest.len() as u16], "{edc:?}");

        // In messages of 54 bytes of data.
        let mut reader = ready(CHARACTER, atr, 64);
        let (one, two) = rest.split_at(54);
        let answers = [prologue, one, two].map(data);
        let (result, sent) = exchange(&mut reader, &SELECT, &answers);
        assert_eq!(result, Ok([&[0x5A; 70][..], &OK].concat()));
        let levels: Vec<u16> = sent.iter().map(|(_, level, _)| *level).collect();
        assert_eq!(levels, [3, 54, rest.len() as u16 - 54], "{edc:?}");
    }
}

#[test]
fn a_block_that_ends_early_is_asked_for_again() {
    let answer = first(Edc::Lrc, &OK);
    let repeated = [data(&answer[..3]), data(&answer[3..])];
    let long = first(Edc::Lrc, &[0x5A; 22]);
    let mut reserved = [0; 259];
    (reserved[2], reserved[258]) = (0xFF, 0xFF);
    for (atr, broken) in [
        // Within the prologue, behind it, and in the second of three parts.
        (T1, vec![data(&long[..2])]),
        (T1, vec![data(&long[..3]), data(&long[3..20])]),
        (T1, vec![data(&long[..3]), data(&[])]),
        // The reserved LEN FF.
        (T1, vec![data(&reserved[..3]), data(&reserved[3..])]),
    ] {
        let mut reader = ready(CHARACTER, atr, 271);
        let count = broken.len();
        let answers = [broken, repeated.to_vec()].concat();
        let (result, sent) = exchange(&mut reader, &SELECT, &answers);
        assert_eq!(result, Ok(OK.to_vec()));
        let asks = block(Edc::Lrc, Pcb::R { seq: 0, error: 2 }, &[]);
        assert_eq!((sent[count].1, &sent[count].2), (3, &asks));
    }
}

#[test]
fn a_block_of_the_reserved_length_with_a_crc_is_asked_for_again() {
    let answer = first(Edc::Crc, &OK);
    let answers = [
        data(&[0, 0, 0xFF]),
        data(&[0; 256]),
        data(&answer[..3]),
        data(&answer[3..]),
    ];
    let mut reader = ready(CHARACTER, T1_CRC, 271);
    let (result, sent) = exchange(&mut reader, &SELECT, &answers);
    assert_eq!(result, Ok(OK.to_vec()));
    let levels: Vec<u16> = sent.iter().map(|(_, level, _)| *level).collect();
    assert_eq!(levels, [3, 256, 3, 4]);
}

#[test]
fn more_than_a_block_is_a_wrong_reply() {
    let answer = first(Edc::Lrc, &OK);
    for answers in [vec![data(&[0; 260])], vec![data(&answer[..3]), data(&[0; 257])]] {
        let mut reader = ready(CHARACTER, T1, 271);
        let (result, _) = exchange(&mut reader, &SELECT, &answers);
        assert_eq!(result, Err(ReaderError::WrongReply));
    }
}

#[test]
fn status_words_of_one_tpdu_are_the_applications() {
    let get_response = vec![0x00, 0xC0, 0, 0, 2];
    let again = vec![0x00, 0xB0, 0, 0, 2];
    for (apdu, status, further) in [
        // Case 2, short: 61xx and 6Cxx go to the caller.
        (&[0x00, 0xB0, 0, 0, 0][..], [0x61, 0x02], None),
        (&[0x00, 0xB0, 0, 0, 8], [0x6C, 0x02], None),
        // Case 2 with Ne 256 and 257 in extended form: T=0 carries the former as a short one.
        (&[0x00, 0xB0, 0, 0, 0, 1, 0], [0x61, 0x02], None),
        (
            &[0x00, 0xB0, 0, 0, 0, 1, 1],
            [0x61, 0x02],
            Some(get_response.clone()),
        ),
        (&[0x00, 0xB0, 0, 0, 0, 1, 1], [0x6C, 0x02], Some(again)),
        // Case 3, and 4.
        (&[0x00, 0xD6, 0, 0, 1, 0xAA], [0x61, 0x02], None),
        (&[0x00, 0xD6, 0, 0, 1, 0xAA, 2], [0x61, 0x02], Some(get_response)),
    ] {
        let mut reader = ready(TPDU, T0, 271);
        let answers = [data(&status), data(&[0xAB, 0xCD, 0x90, 0x00])];
        let count = 1 + usize::from(further.is_some());
        let (result, sent) = exchange(&mut reader, apdu, &answers[..count]);
        let expected = match &further {
            None => status.to_vec(),
            Some(_) => vec![0xAB, 0xCD, 0x90, 0x00],
        };
        assert_eq!(result, Ok(expected), "{apdu:02X?}");
        assert_eq!(
            sent.get(1).map(|(.., tpdu)| tpdu),
            further.as_ref(),
            "{apdu:02X?}"
        );
    }
}

#[test]
fn characters_that_do_not_fit_a_message_go_in_several() {
    let mut apdu = vec![0x00, 0xD6, 0, 0, 120];
    apdu.extend(0..120);
    // Header, procedure byte; the data in messages of 54, of which only the last is answered.
    let answers = [data(&[0xD6]), data(&[]), data(&[]), data(&OK)];
    let mut reader = ready(CHARACTER, T0, 64);
    let (result, sent) = exchange(&mut reader, &apdu, &answers);
    assert_eq!(result, Ok(OK.to_vec()));
    let expected: Vec<_> = [
        (1, &apdu[..5]),
        (0, &apdu[5..59]),
        (0, &apdu[59..113]),
        (2, &apdu[113..]),
    ]
    .map(|(level, data)| (0, level, data.to_vec()))
    .into();
    assert_eq!(sent, expected);
    // An answer before the last one, and a refusal.
    for (early, error) in [
        (data(&[0x90]), ReaderError::WrongReply),
        (
            message(0x80, &[], [0x40, 0xFB, 0]),
            ReaderError::Slot(SlotErrorCode::Hardware),
        ),
    ] {
        let mut reader = ready(CHARACTER, T0, 64);
        let (result, sent) = exchange(&mut reader, &apdu, &[data(&[0xD6]), early]);
        assert_eq!(result.map_err(|e| (e, sent.len())), Err((error, 2)));
    }
}

#[test]
fn a_t0_command_that_may_have_reached_the_card_in_part_is_followed_by_a_reset() {
    let nothing = || In::Nothing(TransportError::Timeout);
    let parameters = message(0x82, &[0x11, 0, 0, 10, 0], [0, 0, 0]);
    let reset = || [message(0x81, &[], [1, 0, 0]), data(T0), parameters.clone()].map(In::Bytes);
    let mut cut = data(&OK);
    cut[1] = 3;
    for (failing, expected, is_reset) in [
        // The abort is answered.
        (
            vec![nothing(), In::Bytes(message(0x81, &[], [0, 0, 0]))],
            ReaderError::Transport(TransportError::Timeout),
            true,
        ),
        (
            vec![In::Bytes(too_long()), nothing()],
            ReaderError::WrongReply,
            true,
        ),
        (
            vec![In::Bytes(cut), nothing(), nothing()],
            ReaderError::Malformed(Malformed::Truncated),
            true,
        ),
        (
            vec![In::Bytes(message(0x80, &[], [0x40, 0x00, 0]))],
            ReaderError::Slot(SlotErrorCode::CommandUnsupported),
            false,
        ),
    ] {
        let mut reader = ready(TPDU, T0, 271);
        let count = failing.len();
        reader.transport().incoming.extend(failing);
        let mut response = [0; 2];
        assert_eq!(
            reader.transmit(0, &SELECT, &mut response),
            Err(expected),
            "{count}"
        );
        let script = reader.transport();
        script.incoming.retain(|_| false);
        if matches!(expected, ReaderError::WrongReply | ReaderError::Malformed(_)) {
            // What is left in the pipe is thrown away first.
            script.incoming.push_back(nothing());
        }
        if is_reset {
            script.incoming.extend(reset());
            assert_eq!(
                reader.transmit(0, &SELECT, &mut response),
                Err(ReaderError::CardReset)
            );
        }
        let (result, _) = exchange(&mut reader, &SELECT, &[data(&OK)]);
        assert_eq!(result, Ok(OK.to_vec()), "{expected}");
    }
}

#[test]
fn a_pin_command_that_the_reader_refuses_does_not_disturb_t1() {
    let (code, verify) = verify();
    // A parameter that it does not support; a card that may have got the command.
    for (error, next) in [
        (0x15, Pcb::I { seq: 0, more: false }),
        (0xFB, Pcb::Request(Supervisory::Resynch)),
    ] {
        let mut reader = ready(TPDU, T1, 271);
        let refused = message(0x80, &[], [0x40, error, 0]);
        reader.transport().incoming.push_back(In::Bytes(refused));
        let expected = Err(ReaderError::Slot(SlotErrorCode::decode(error)));
        assert_eq!(reader.control(0, code, &verify, &mut [0; 2]), expected);
        reader.transport().outgoing.clear();
        let (_, sent) = exchange(&mut reader, &SELECT, &[data(&first(Edc::Lrc, &OK))]);
        let sent = Block::decode(&sent[0].2, Edc::Lrc).unwrap();
        assert_eq!(sent.pcb, next, "{error:02X}");
    }
}

/// The card has sent its response by then, so that the next command finds it ready.
#[test]
fn a_response_that_does_not_fit_the_buffer_is_told_and_the_next_one_comes() {
    for (name, protocols) in common::LEVELS {
        for &protocol in protocols {
            let (handle, mut reader) = common::open(common::named(name));
            handle.insert(
                0,
                common::card(None, common::offers(protocol), Behaviour::default()),
            );
            common::power_up(&mut reader, protocol).unwrap();
            let resets = common::resets(&handle);
            let result = reader.transmit(0, &common::read(100), &mut [0; 50]);
            assert_eq!(result, Err(ReaderError::BufferTooSmall), "{name} {protocol:?}");
            let result = common::transmit(&mut reader, &common::read(200));
            assert_eq!(result, Ok(common::pattern(200)), "{name} {protocol:?}");
            assert_eq!(common::resets(&handle), resets, "{name} {protocol:?}");
        }
    }
}

#[test]
fn a_tpdu_of_more_bytes_than_t0_has_is_an_error() {
    for (length, expected) in [
        (256, Ok(258)),
        (257, Err(ReaderError::T0(T0Error::UnexpectedData))),
    ] {
        let mut reader = ready(TPDU, T0, 1024);
        let answer = [&vec![0x5A; length][..], &OK].concat();
        let answer = message(0x80, &answer, [0, 0, 0]);
        reader.transport().incoming.push_back(In::Bytes(answer));
        let read = [0x00, 0xB0, 0x00, 0x00, 0x00];
        assert_eq!(reader.transmit(0, &read, &mut [0; 1024]), expected);
    }
}
