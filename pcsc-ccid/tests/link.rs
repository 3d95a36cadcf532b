//! Messages over bulk pipes: how they lie in transfers, and how many of each kind are too many.

mod common;

use std::iter::repeat_n;
use std::time::Duration;

use common::script::{In, Script};
use common::{message, plain_interface, too_long};
use pcsc_ccid::message::SlotErrorCode;
use pcsc_ccid::reader::{Protocol, Reader, ReaderError, Reset};
use pcsc_ccid::transport::TransportError;

const SELECT: [u8; 4] = [0x00, 0xA4, 0x00, 0x00];
const OK: [u8; 2] = [0x90, 0x00];
const TIMEOUT: ReaderError = ReaderError::Transport(TransportError::Timeout);
const GONE: ReaderError = ReaderError::Transport(TransportError::Gone);

fn data(data: &[u8]) -> Vec<u8> {
    message(0x80, data, [0, 0, 0])
}

fn extension() -> Vec<u8> {
    message(0x80, &[], [0x80, 1, 0])
}

/// The answer to an earlier command.
fn stale(data: &[u8]) -> Vec<u8> {
    let mut stale = message(0x80, data, [0, 0, 0]);
    stale[6] = 0x77;
    stale
}

fn in_slot(slot: u8, mut message: Vec<u8>) -> Vec<u8> {
    message[5] = slot;
    message
}

/// The pipe is empty.
fn nothing() -> In {
    In::Nothing(TransportError::Timeout)
}

/// A reader of short APDUs whose slots all have a powered card.
fn ready(max_message: u32, slots: u8) -> Reader<Script> {
    let script = Script::answering([message(0x81, &[], [1, 0, 0])]);
    let mut interface = plain_interface(0x2_00BA);
    interface.descriptor.max_message_length = max_message;
    interface.descriptor.max_slot_index = slots - 1;
    let mut reader = script.open(&interface);
    for slot in 0..slots {
        let parameters = message(0x82, &[0x11, 0, 0, 10, 0], [0, 0, 0]);
        let answers = [data(&[0x3B, 0x00]), parameters];
        let answers = answers.map(|answer| In::Bytes(in_slot(slot, answer)));
        reader.transport().incoming.extend(answers);
        reader.power_on(slot, Reset::Cold).unwrap();
        reader.set_protocol(slot, Protocol::T0).unwrap();
    }
    reader.transport().outgoing.clear();
    reader
}

/// The response of slot 0 to these transfers.
fn transmit(max_message: u32, incoming: impl IntoIterator<Item = In>) -> Result<Vec<u8>, ReaderError> {
    let mut reader = ready(max_message, 1);
    reader.transport().incoming.extend(incoming);
    send(&mut reader, 0)
}

fn send(reader: &mut Reader<Script>, slot: u8) -> Result<Vec<u8>, ReaderError> {
    let mut response = vec![0; 65_538];
    let length = reader.transmit(slot, &SELECT, &mut response)?;
    response.truncate(length);
    Ok(response)
}

/// The commands of this type that the reader got.
fn count(reader: &mut Reader<Script>, kind: u8) -> usize {
    let sent = reader.transport().outgoing.iter();
    sent.filter(|message| message[0] == kind).count()
}

/// Answers `accepted` times with `before`, then with the answer; once more is an error.
fn check_limit(before: impl Fn() -> In, accepted: usize, error: ReaderError) {
    let answers = |count| repeat_n((), count).map(|()| before());
    let answer = || In::Bytes(data(&OK));
    assert_eq!(
        transmit(271, answers(accepted).chain([answer()])),
        Ok(OK.to_vec())
    );
    assert_eq!(transmit(271, answers(accepted + 1).chain([answer()])), Err(error));
}

#[test]
fn sixteen_stale_answers_are_skipped() {
    check_limit(|| In::Bytes(stale(&[])), 16, ReaderError::WrongReply);
}

#[test]
fn sixteen_empty_transfers_are_skipped() {
    check_limit(|| In::Bytes(Vec::new()), 16, ReaderError::WrongReply);
}

#[test]
fn sixteen_transfers_of_garbage_are_skipped() {
    check_limit(
        || In::Bytes(vec![0x01, 0xF0, 0x00, 0x00, 0x00]),
        16,
        ReaderError::WrongReply,
    );
}

#[test]
fn four_thousand_time_extensions_are_granted() {
    check_limit(|| In::Bytes(extension()), 4096, ReaderError::TooSlow);
}

#[test]
fn empty_transfers_within_an_answer_are_counted_too() {
    let answer = data(&[0x5A; 40]);
    let (begin, end) = answer.split_at(16);
    let in_parts = |empty| {
        let empty = repeat_n(Vec::new(), empty);
        let parts = [begin.to_vec()].into_iter().chain(empty);
        // The sequence number is in the first part, which is byte 6 of that transfer alone.
        transmit(271, parts.chain([end.to_vec()]).map(In::Bytes))
    };
    assert_eq!(in_parts(16), Ok(vec![0x5A; 40]));
    assert_eq!(in_parts(17), Err(ReaderError::WrongReply));
}

#[test]
fn a_transfer_may_end_within_the_second_message() {
    // The answer begins behind a stale one, in the last bytes of the buffer, and goes on in the next
    // transfer. The script numbers the first message of a transfer only. The second buffer is larger than
    // the answer needs.
    let mut answer = data(&[0x5A; 40]);
    answer[6] = 3;
    for (max_message, buffer) in [(271, 1024), (3000, 3072)] {
        for begun in [1, 9, 10, 11, 40] {
            let first = [&stale(&vec![0; buffer - 10 - begun])[..], &answer[..begun]].concat();
            assert_eq!(first.len(), buffer);
            let transfers = [first, answer[begun..].to_vec()];
            assert_eq!(
                transmit(max_message, transfers.map(In::Bytes)),
                Ok(vec![0x5A; 40]),
                "{begun} of {buffer}"
            );
        }
    }
}

#[test]
fn a_whole_message_within_another_ends_it() {
    let begun = data(&[0; 40])[..20].to_vec();
    let mut whole = data(&OK);
    whole[6] = 0x77;
    let mut reader = ready(271, 1);
    reader
        .transport()
        .incoming
        .extend([begun, whole, vec![0; 18]].map(In::Bytes));
    assert!(matches!(send(&mut reader, 0), Err(ReaderError::Malformed(_))));
    assert_eq!(reader.transport().incoming.len(), 1);
}

#[test]
fn data_that_look_like_the_begin_of_a_message_are_data() {
    // The type of an answer without its length, and the length of a message with no answer's type.
    let mut no_type = vec![0x5A; 12];
    no_type[1..5].copy_from_slice(&[2, 0, 0, 0]);
    for part in [vec![0x80; 12], no_type] {
        let response = [&part[..], &[0x90, 0x00]].concat();
        let answer = data(&response);
        let transfers = [&answer[..10], &answer[10..22], &answer[22..]];
        let transfers = transfers.map(|transfer| In::Bytes(transfer.to_vec()));
        assert_eq!(transmit(271, transfers), Ok(response), "{part:02X?}");
    }
}

/// Whatever the reader announces for its messages.
#[test]
fn an_answer_may_be_as_long_as_a_response_apdu_and_no_longer() {
    let longest = 65_538;
    let in_two = |length| {
        let answer = data(&vec![0x5A; length]);
        let (begin, rest) = answer.split_at(100);
        [begin, rest].map(|part| In::Bytes(part.to_vec()))
    };
    for announced in [64, 271, 1400, 65_548] {
        for length in [1014, 1015, 1400, longest] {
            assert_eq!(transmit(announced, in_two(length)), Ok(vec![0x5A; length]));
        }
    }
    let mut reader = ready(2000, 1);
    reader.transport().incoming.extend(in_two(longest + 1));
    assert_eq!(send(&mut reader, 0), Err(ReaderError::WrongReply));
    assert_eq!(
        reader.transport().incoming.len(),
        1,
        "it is refused by its header"
    );
}

#[test]
fn no_reader_gets_longer_messages_than_an_extended_apdu_needs() {
    let mut reader = ready(u32::MAX, 1);
    assert_eq!(
        reader.transmit(0, &[0; 65_539], &mut [0; 4]),
        Err(ReaderError::CommandTooLong { max: 65_538 })
    );
    assert_eq!(
        transmit(u32::MAX, [In::Bytes(data(&vec![0x5A; 65_538]))]),
        Ok(vec![0x5A; 65_538])
    );
}

#[test]
fn an_answer_of_another_of_several_slots_is_skipped() {
    let mut reader = ready(271, 2);
    let answers = [in_slot(1, data(&[0x6A, 0x82])), data(&OK)].map(In::Bytes);
    reader.transport().incoming.extend(answers);
    assert_eq!(send(&mut reader, 0), Ok(OK.to_vec()));
}

#[test]
fn a_slot_whose_command_was_given_up_is_aborted_after_others_have_worked() {
    let mut reader = ready(271, 2);
    reader
        .transport()
        .incoming
        .extend([In::Bytes(too_long()), nothing()]);
    assert_eq!(send(&mut reader, 0), Err(ReaderError::WrongReply));
    let good = In::Bytes(in_slot(1, data(&OK)));
    reader.transport().incoming.push_back(good);
    assert_eq!(send(&mut reader, 1), Ok(OK.to_vec()));

    let busy = || message(0x80, &[], [0x40, 0xE0, 0]);
    let aborted = || message(0x81, &[], [0, 0, 0]);
    let incoming = [busy(), aborted(), data(&OK), busy()].map(In::Bytes);
    reader.transport().incoming.extend(incoming);
    let refused = Err(ReaderError::Slot(SlotErrorCode::SlotBusy));
    assert_eq!(send(&mut reader, 0), refused);
    assert_eq!(count(&mut reader, 0x72), 1);
    // After a command that has worked, a busy slot is left in peace again.
    assert_eq!(send(&mut reader, 0), Ok(OK.to_vec()));
    assert_eq!(send(&mut reader, 0), refused);
    assert_eq!(count(&mut reader, 0x72), 1);
}

/// Eight times it may be busy with something of its own; an abort begins the count anew.
#[test]
fn a_slot_that_stays_busy_is_aborted_every_ninth_time() {
    let mut reader = ready(271, 1);
    let busy = || In::Bytes(message(0x80, &[], [0x40, 0xE0, 0]));
    let aborted = || In::Bytes(message(0x81, &[], [0, 0, 0]));
    for (commands, aborts) in [(8, 0), (1, 1), (8, 1), (1, 2)] {
        for _ in 0..commands {
            // The answer to an abort stays in the pipe if there is none, and is skipped then.
            reader.transport().incoming = [busy(), aborted()].into();
            assert_eq!(
                send(&mut reader, 0),
                Err(ReaderError::Slot(SlotErrorCode::SlotBusy))
            );
        }
        assert_eq!(count(&mut reader, 0x72), aborts);
    }
}

#[test]
fn a_slot_that_stays_busy_after_a_command_was_given_up_is_aborted_once() {
    let mut reader = ready(271, 1);
    reader.transport().incoming.push_back(In::Bytes(too_long()));
    assert_eq!(send(&mut reader, 0), Err(ReaderError::WrongReply));
    // The pipe is empty.
    reader.transport().incoming.push_back(nothing());
    for _ in 0..2 {
        let (busy, aborted) = (message(0x80, &[], [0x40, 0xE0, 0]), message(0x81, &[], [0, 0, 0]));
        reader.transport().incoming.extend([busy, aborted].map(In::Bytes));
        assert_eq!(
            send(&mut reader, 0),
            Err(ReaderError::Slot(SlotErrorCode::SlotBusy))
        );
        assert_eq!(count(&mut reader, 0x72), 1);
    }
}

#[test]
fn a_reader_that_goes_during_an_abort_is_gone() {
    let gone = || In::Nothing(TransportError::Gone);
    assert_eq!(transmit(271, [nothing(), gone()]), Err(GONE));
    // One that does not answer the abort has timed out.
    assert_eq!(transmit(271, [nothing(), nothing()]), Err(TIMEOUT));
}

#[test]
fn time_extensions_end_after_five_minutes() {
    let mut reader = ready(271, 1);
    // Times the 60 seconds of an APDU.
    let long = message(0x80, &[], [0x80, 255, 0]);
    reader
        .transport()
        .incoming
        .extend([In::Bytes(long), nothing(), nothing()]);
    let before = reader.transport().now;
    assert_eq!(send(&mut reader, 0), Err(TIMEOUT));
    // And a second for the abort.
    assert_eq!(reader.transport().now - before, Duration::from_secs(301));
}

/// As after a PIN entry that a client has asked for by a control function.
#[test]
fn a_pin_pad_that_gets_no_pin_answers_an_apdu_with_a_status_word() {
    for (error, status) in [(0xF0, [0x64, 0x00]), (0xEF, [0x64, 0x01])] {
        let failed = message(0x80, &[], [0x40, error, 0]);
        assert_eq!(transmit(271, [In::Bytes(failed)]), Ok(status.to_vec()));
    }
}
