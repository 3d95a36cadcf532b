//! What readers do wrong with the answers to commands: each line a script of transfers, byte by byte.

#[path = "../common/mod.rs"]
mod common;
mod presence;

use std::time::Duration;

use common::script::{In, Script};
use common::{message, plain_interface, too_long};
use pcsc_ccid::attributes;
use pcsc_ccid::message::SlotErrorCode;
use pcsc_ccid::reader::{Presence, Protocol, Reader, ReaderError, Reset};
use pcsc_ccid::transport::TransportError;

const ATR: [u8; 2] = [0x3B, 0x00];
const OK: [u8; 2] = [0x90, 0x00];

fn data(data: &[u8]) -> Vec<u8> {
    message(0x80, data, [0, 0, 0])
}

fn opened(features: u32) -> Reader<Script> {
    let script = Script::answering([message(0x81, &[], [1, 0, 0])]);
    script.open(&plain_interface(features))
}

/// A short APDU reader with a powered card.
fn ready() -> Reader<Script> {
    let mut reader = opened(0x2_00BA);
    reader.transport().incoming.push_back(In::Bytes(data(&ATR)));
    assert_eq!(reader.power_on(0, Reset::Cold).unwrap(), ATR);
    reader
        .transport()
        .incoming
        .push_back(In::Bytes(message(0x82, &[0x11, 0, 0, 10, 0], [0, 0, 0])));
    reader.set_protocol(0, Protocol::T0).unwrap();
    reader.transport().outgoing.clear();
    reader
}

fn transmit(reader: &mut Reader<Script>, incoming: Vec<In>) -> Result<Vec<u8>, ReaderError> {
    reader.transport().incoming.extend(incoming);
    let mut response = [0; 258];
    let length = reader.transmit(0, &[0x00, 0xA4, 0x00, 0x00], &mut response)?;
    Ok(response[..length].to_vec())
}

/// What is left in the pipe is thrown away, and the next command works.
#[track_caller]
fn goes_on(reader: &mut Reader<Script>) {
    let nothing = In::Nothing(TransportError::Timeout);
    reader.transport().incoming.push_back(nothing);
    assert_eq!(transmit(reader, bytes(&[data(&OK)])), Ok(OK.to_vec()));
}

fn bytes(transfers: &[Vec<u8>]) -> Vec<In> {
    transfers.iter().cloned().map(In::Bytes).collect()
}

#[test]
fn an_apdu_costs_one_transfer_each_way() {
    let mut reader = ready();
    assert_eq!(transmit(&mut reader, bytes(&[data(&OK)])), Ok(OK.to_vec()));
    assert_eq!(reader.transport().outgoing.len(), 1);
    assert_eq!(
        reader.transport().outgoing[0],
        [0x6F, 4, 0, 0, 0, 0, 3, 0, 0, 0, 0x00, 0xA4, 0x00, 0x00]
    );
}

#[test]
fn replies_split_merged_padded_and_ended_by_empty_packets() {
    // The number of the first command after `ready`.
    let numbered = |mut message: Vec<u8>| {
        message[6] = 3;
        message
    };
    let reply = numbered(data(&OK));
    let extension = numbered(message(0x80, &[], [0x80, 2, 0]));
    let mut with_rubbish = reply.clone();
    with_rubbish.extend([0xAA; 7]);
    for transfers in [
        vec![reply[..4].to_vec(), reply[4..].to_vec()],
        vec![reply[..10].to_vec(), reply[10..].to_vec(), vec![]],
        vec![vec![], reply.clone()],
        vec![with_rubbish],
        vec![[&extension[..], &reply].concat()],
        vec![extension.clone(), extension.clone(), reply.clone()],
    ] {
        let mut reader = ready();
        assert_eq!(
            transmit(&mut reader, bytes(&transfers)),
            Ok(OK.to_vec()),
            "{transfers:02X?}"
        );
        assert_eq!(transmit(&mut reader, bytes(&[data(&OK)])), Ok(OK.to_vec()));
    }
}

#[test]
fn stale_and_foreign_replies_are_skipped() {
    let mut stale = data(&[0x6A, 0x82]);
    stale[6] = 0x77;
    let nonsense = message(0x42, &[], [0, 0, 0]);
    let mut reader = ready();
    let transfers = [stale.clone(), stale.clone(), nonsense, data(&OK)];
    assert_eq!(transmit(&mut reader, bytes(&transfers)), Ok(OK.to_vec()));
    let flood = vec![stale; 24];
    assert_eq!(transmit(&mut reader, bytes(&flood)), Err(ReaderError::WrongReply));
    // What is left of it is thrown away before the next command.
    goes_on(&mut reader);
}

#[test]
fn an_answer_of_another_slot_or_type_is_known_by_its_number() {
    let mut other_slot = data(&OK);
    other_slot[5] = 3;
    // RDR_to_PC_Parameters and RDR_to_PC_Escape.
    for answer in [other_slot, message(0x82, &OK, [0; 3]), message(0x83, &OK, [0; 3])] {
        assert_eq!(transmit(&mut ready(), bytes(&[answer])), Ok(OK.to_vec()));
    }
}

#[test]
fn a_length_that_lies_is_an_error_and_the_next_command_works() {
    for announced in [3u32, 300, 49_174, 0x8000_0000, u32::MAX] {
        let mut liar = data(&OK);
        liar[1..5].copy_from_slice(&announced.to_le_bytes());
        let mut reader = ready();
        let error = transmit(&mut reader, bytes(&[liar])).unwrap_err();
        assert!(
            matches!(error, ReaderError::Malformed(_) | ReaderError::WrongReply),
            "{announced}: {error}"
        );
        goes_on(&mut reader);
    }
}

#[test]
fn time_extensions_have_an_end() {
    let mut reader = ready();
    let for_ever = vec![message(0x80, &[], [0x80, 1, 0]); 5000];
    assert_eq!(transmit(&mut reader, bytes(&for_ever)), Err(ReaderError::TooSlow));
}

#[test]
fn a_command_whose_answer_is_not_waited_for_any_longer_is_aborted() {
    for error in [TransportError::Timeout, TransportError::Cancelled] {
        let mut reader = ready();
        let answers = vec![In::Nothing(error), In::Bytes(message(0x81, &[], [0, 0, 0]))];
        assert_eq!(transmit(&mut reader, answers), Err(ReaderError::Transport(error)));
        let seq = reader.transport().last_seq();
        let script = reader.transport();
        assert_eq!(script.requests.last(), Some(&(0x01, u16::from(seq) << 8)));
        assert_eq!(script.outgoing.last().unwrap()[..7], [0x72, 0, 0, 0, 0, 0, seq]);
        assert_eq!(transmit(&mut reader, bytes(&[data(&OK)])), Ok(OK.to_vec()));
    }
}

#[test]
fn a_stalled_pipe_is_cleared() {
    let mut reader = ready();
    let answers = vec![In::Nothing(TransportError::Stall)];
    assert_eq!(
        transmit(&mut reader, answers),
        Err(ReaderError::Transport(TransportError::Stall))
    );
    assert_eq!(reader.transport().halts_cleared, 1);
    goes_on(&mut reader);
}

#[test]
fn an_unplugged_reader_and_a_card_taken_out() {
    let mut reader = ready();
    let gone = vec![In::Nothing(TransportError::Gone)];
    assert!(transmit(&mut reader, gone).unwrap_err().is_gone());
    let mut reader = ready();
    let no_card = message(0x80, &[], [0x42, 0xFE, 0]);
    assert_eq!(transmit(&mut reader, bytes(&[no_card])), Err(ReaderError::NoCard));
    assert_eq!(transmit(&mut reader, vec![]), Err(ReaderError::NotPowered));
}

#[test]
fn a_response_that_does_not_fit_is_told_after_it_was_read() {
    let mut reader = ready();
    reader.transport().incoming.push_back(In::Bytes(data(&[0; 20])));
    assert_eq!(
        reader.transmit(0, &[0, 0xB0, 0, 0, 0], &mut [0; 4]),
        Err(ReaderError::BufferTooSmall)
    );
    assert_eq!(transmit(&mut reader, bytes(&[data(&OK)])), Ok(OK.to_vec()));
}

#[test]
fn a_command_beyond_the_reader_s_messages_is_refused_here() {
    let mut reader = ready();
    assert_eq!(
        reader.transmit(0, &[0; 262], &mut [0; 4]),
        Err(ReaderError::CommandTooLong { max: 261 })
    );
    assert!(reader.transport().outgoing.is_empty());
}

#[test]
fn voltages_are_tried_downwards() {
    let mute = || message(0x80, &[], [0x41, 0xFE, 0]);
    let off = || message(0x81, &[], [1, 0, 0]);
    // At last the reader is asked for its own choice.
    for (voltages, expected) in [
        (1, &[(0x62, 1), (0x63, 0), (0x62, 0)][..]),
        (
            7,
            &[
                (0x62, 1),
                (0x63, 0),
                (0x62, 2),
                (0x63, 0),
                (0x62, 3),
                (0x63, 0),
                (0x62, 0),
            ],
        ),
    ] {
        let script = Script::answering([off()]);
        let mut interface = plain_interface(0x1_0030);
        interface.descriptor.voltages = voltages;
        let mut reader = script.open(&interface);
        let tries = (0..expected.len()).map(|number| if number % 2 == 0 { mute() } else { off() });
        reader.transport().incoming.extend(tries.map(In::Bytes));
        assert_eq!(
            reader.power_on(0, Reset::Cold).map(|_| ()),
            Err(ReaderError::Slot(SlotErrorCode::Mute))
        );
        let sent = &reader.transport().outgoing[1..];
        let sent: Vec<_> = sent.iter().map(|message| (message[0], message[7])).collect();
        assert_eq!(sent, expected);
    }
}

#[test]
fn the_late_rest_of_a_message_is_no_answer() {
    let mut reader = ready();
    let half = [&data(&[0; 20])[..15], &[]].concat();
    let transfers = vec![In::Bytes(half), In::Nothing(TransportError::Timeout)];
    assert!(matches!(
        transmit(&mut reader, transfers),
        Err(ReaderError::Malformed(_))
    ));
    // The rest comes when the next command goes out, and could be its answer: the numbers fit.
    let rest = data(&[0x6A, 0x82]);
    let transfers = vec![
        In::Bytes(rest),
        In::Nothing(TransportError::Timeout),
        In::Bytes(data(&OK)),
    ];
    assert_eq!(transmit(&mut reader, transfers), Ok(OK.to_vec()));
}

#[test]
fn an_abort_that_was_cut_short_is_taken_up_again() {
    let mut reader = ready();
    // Neither the command nor the abort is answered; then the abort is, and the next command.
    let silence = || In::Nothing(TransportError::Timeout);
    assert_eq!(
        transmit(&mut reader, vec![silence(), silence()]),
        Err(ReaderError::Transport(TransportError::Timeout))
    );
    let aborted = In::Bytes(message(0x81, &[], [0, 0, 0]));
    assert_eq!(
        transmit(&mut reader, vec![aborted, In::Bytes(data(&OK))]),
        Ok(OK.to_vec())
    );
    let kinds: Vec<u8> = reader.transport().outgoing.iter().map(|m| m[0]).collect();
    assert_eq!(kinds, [0x6F, 0x72, 0x72, 0x6F]);
    // A reader that reports this without a request was left in the middle of an abort by another process.
    let refused = In::Bytes(message(0x80, &[], [0x40, 0xFF, 0]));
    assert_eq!(
        transmit(&mut reader, vec![refused]),
        Err(ReaderError::Slot(SlotErrorCode::Aborted))
    );
    let aborted = In::Bytes(message(0x81, &[], [0, 0, 0]));
    assert_eq!(
        transmit(&mut reader, vec![aborted, In::Bytes(data(&OK))]),
        Ok(OK.to_vec())
    );
}

#[test]
fn what_a_slot_is_busy_with_is_aborted() {
    let busy = || In::Bytes(message(0x80, &[], [0x40, 0xE0, 0]));
    let aborted = || In::Bytes(message(0x81, &[], [0, 0, 0]));
    let aborts = |reader: &mut Reader<Script>| {
        let sent = reader.transport().outgoing.iter();
        sent.filter(|message| message[0] == 0x72).count()
    };
    let refused = Err(ReaderError::Slot(SlotErrorCode::SlotBusy));
    let mut reader = ready();
    // The answer is none, and the command may go on.
    assert_eq!(
        transmit(&mut reader, bytes(&[too_long()])),
        Err(ReaderError::WrongReply)
    );
    let nothing_left = In::Nothing(TransportError::Timeout);
    assert_eq!(
        transmit(&mut reader, vec![nothing_left, busy(), aborted()]),
        refused
    );
    assert_eq!(aborts(&mut reader), 1);
    assert_eq!(transmit(&mut reader, bytes(&[data(&OK)])), Ok(OK.to_vec()));
    // One that is busy by itself is given the time.
    for _ in 0..8 {
        assert_eq!(transmit(&mut reader, vec![busy()]), refused);
    }
    assert_eq!(aborts(&mut reader), 1);
    assert_eq!(transmit(&mut reader, vec![busy(), aborted()]), refused);
    assert_eq!(aborts(&mut reader), 2);
    assert_eq!(transmit(&mut reader, bytes(&[data(&OK)])), Ok(OK.to_vec()));
}

#[test]
fn what_a_reader_can_do_besides_goes_out_as_the_clauses_say() {
    let mut interface = plain_interface(0x2_00BA);
    interface.descriptor.mechanical = 0x02;
    let script = Script::answering([message(0x81, &[], [1, 0, 0])]);
    let mut reader = script.open(&interface);
    let ok = || In::Bytes(message(0x81, &[], [0, 0, 0]));
    reader.transport().incoming.push_back(ok());
    reader.mechanical(0, 2).unwrap();
    // A slot that accepts no card, and a function that there is not, are not asked.
    assert_eq!(reader.mechanical(0, 1), Err(ReaderError::Unsupported));
    assert_eq!(reader.mechanical(0, 9), Err(ReaderError::InvalidParameter));
    let sent: Vec<_> = reader.transport().outgoing[1..]
        .iter()
        .map(|m| (m[0], [m[7], m[8], m[9]]))
        .collect();
    assert_eq!(sent, [(0x71, [2, 0, 0])]);
}

#[test]
fn a_reader_that_is_busy_is_asked_again() {
    for error in [0xE0, 0xF2] {
        let busy = || message(0x80, &[], [0x41, error, 0]);
        let mut reader = opened(0x2_00BA);
        reader
            .transport()
            .incoming
            .extend(bytes(&[busy(), busy(), data(&ATR)]));
        assert_eq!(reader.power_on(0, Reset::Cold).unwrap(), ATR);
        assert_eq!(reader.transport().outgoing.len(), 4);
        // Not for ever.
        let mut reader = opened(0x2_00BA);
        reader.transport().incoming.extend(bytes(&vec![busy(); 1000]));
        assert!(reader.power_on(0, Reset::Cold).is_err());
        let waited = reader.transport().now;
        assert!((1..10).contains(&waited.as_secs()), "{waited:?}");
    }
}

#[test]
fn a_reader_that_gives_no_atr_has_a_mute_card() {
    let mut reader = opened(0x2_00BA);
    let result = reader.power_on(0, Reset::Cold).map(drop);
    assert_eq!(result, Err(ReaderError::Slot(SlotErrorCode::Mute)));
    // 33 characters, 9,600 etu apart at 4 MHz, are 29.5 s (ISO 7816-3, clause 8.1).
    assert!(reader.transport().now >= Duration::from_millis(29_500));
}

#[test]
fn a_reader_that_negotiates_alone_has_chosen_the_protocol_too() {
    const BOTH: [u8; 5] = [0x3B, 0x80, 0x80, 0x01, 0x01];
    const T0: [u8; 5] = [0x11, 0x00, 0x00, 0x0A, 0x00];
    let chosen = || message(0x82, &T0, [0, 0, 0]);
    for (protocol, expected) in [
        (Protocol::T1, Err(ReaderError::ProtocolUnsupported)),
        (Protocol::T0, Ok(())),
    ] {
        // TPDU level, and negotiation by rules of its own.
        let mut reader = opened(0x1_007A);
        reader
            .transport()
            .incoming
            .extend(bytes(&[data(&BOTH), chosen()]));
        reader.power_on(0, Reset::Cold).unwrap();
        assert_eq!(reader.set_protocol(0, protocol), expected);
        let kinds: Vec<u8> = reader.transport().outgoing.iter().map(|sent| sent[0]).collect();
        // GetSlotStatus, IccPowerOn, GetParameters.
        assert_eq!(kinds, [0x65, 0x62, 0x6C]);
    }
}
