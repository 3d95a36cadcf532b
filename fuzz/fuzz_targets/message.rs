//! CCID messages, both directions and the interrupt pipe: whatever the bytes, no panic; what is read is
//! written back, but for bits that have no meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pcsc_ccid::message::{
    CommandMessage, CommandStatus, IccStatus, Notification, ResponseKind, ResponseMessage, HEADER_SIZE,
};

/// The length that the header announces, if the bytes hold as much.
fn message(bytes: &[u8]) -> Option<&[u8]> {
    let length = u32::from_le_bytes(bytes.get(1..5)?.try_into().ok()?);
    bytes.get(..HEADER_SIZE.checked_add(usize::try_from(length).ok()?)?)
}

fn command(bytes: &[u8]) {
    let Ok((command, slot, seq)) = CommandMessage::decode(bytes) else {
        return;
    };
    let message = message(bytes).expect("what was decoded is whole");
    assert_eq!((command.kind(), slot, seq), (message[0], message[5], message[6]));
    let mut out = vec![0; message.len()];
    let length = command
        .encode(slot, seq, &mut out)
        .expect("no command grows when it is read");
    assert_eq!(CommandMessage::decode(&out[..length]), Ok((command, slot, seq)));
    assert_eq!(command.encode(slot, seq, &mut out[..length - 1]), None);
    match command {
        CommandMessage::XfrBlock { data, .. } | CommandMessage::Secure { data, .. } => {
            assert_eq!(out, message);
            assert_eq!(data, &message[HEADER_SIZE..]);
        }
        CommandMessage::SetParameters { data, .. } | CommandMessage::Escape(data) => {
            assert_eq!(data, &message[HEADER_SIZE..]);
        }
        _ => assert!(length <= HEADER_SIZE + 8),
    }
    // A reader that answers with the right type is understood.
    let kind = command.answered_by();
    let answer = ResponseMessage {
        kind,
        slot,
        seq,
        icc: IccStatus::Active,
        outcome: CommandStatus::Done,
        specific: 0,
        data: &[],
    };
    let mut header = [0; HEADER_SIZE];
    assert_eq!(answer.encode(&mut header), Some(HEADER_SIZE));
    assert_eq!(ResponseMessage::decode(&header), Ok(answer));
}

fn response(bytes: &[u8]) {
    let announced = ResponseMessage::announced(bytes);
    assert_eq!(announced.is_some(), bytes.len() >= HEADER_SIZE);
    let Ok(response) = ResponseMessage::decode(bytes) else {
        return;
    };
    let message = message(bytes).expect("what was decoded is whole");
    assert_eq!(announced, Some(message.len()));
    assert_eq!(response.data, &message[HEADER_SIZE..]);
    let mut out = vec![0; message.len()];
    assert_eq!(response.encode(&mut out), Some(message.len()));
    assert_eq!(ResponseMessage::decode(&out), Ok(response));
    // The status byte has reserved bits, and a reserved value for the card; an error has one meaning.
    assert_eq!(out[..7], message[..7]);
    assert_eq!(out[9..], message[9..]);
    if let CommandStatus::Failed(error) = response.outcome {
        assert_eq!(error.code(), message[8]);
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(response.kind as u8, message[0]);
    assert_ne!(response.kind == ResponseKind::DataBlock, message[0] != 0x80);
}

fn notification(bytes: &[u8]) {
    let Some(notification) = Notification::decode(bytes) else {
        return;
    };
    for slot in 0..=255 {
        let byte = bytes.get(1 + usize::from(slot / 4));
        let is_told = matches!(notification, Notification::SlotChange(_)) && byte.is_some();
        assert_eq!(notification.slot(slot).is_some(), is_told);
    }
}

fuzz_target!(|bytes: &[u8]| {
    command(bytes);
    response(bytes);
    notification(bytes);
});
