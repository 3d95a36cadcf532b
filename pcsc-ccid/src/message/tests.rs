use super::*;
use alloc::{vec, vec::Vec};
use proptest::prelude::*;

const COMMANDS: [CommandMessage<'static>; 14] = [
    CommandMessage::IccPowerOn(Voltage::V3),
    CommandMessage::IccPowerOff,
    CommandMessage::GetSlotStatus,
    CommandMessage::XfrBlock {
        bwi: 2,
        level: 0x0103,
        data: &[1, 2, 3],
    },
    CommandMessage::GetParameters,
    CommandMessage::ResetParameters,
    CommandMessage::SetParameters {
        protocol: 1,
        data: &[0x11, 0x10, 0, 0x4D, 0, 0xFE, 0],
    },
    CommandMessage::Escape(&[9]),
    CommandMessage::IccClock { stop: true },
    CommandMessage::T0Apdu {
        changes: 3,
        get_response: 0xFF,
        envelope: 0,
    },
    CommandMessage::Secure {
        bwi: 0,
        level: 0,
        data: &[0, 30],
    },
    CommandMessage::Mechanical(2),
    CommandMessage::Abort,
    CommandMessage::SetDataRateAndClockFrequency {
        clock_khz: 4800,
        rate_bps: 12_903,
    },
];

#[test]
fn a_reserved_card_status_is_no_card() {
    let statuses = [0x00, 0x41, 0x82, 0xC3].map(IccStatus::from_bits);
    let expected = [
        IccStatus::Active,
        IccStatus::Inactive,
        IccStatus::Absent,
        IccStatus::Absent,
    ];
    assert_eq!(statuses, expected);
}

#[test]
fn commands_are_laid_out_as_the_clauses_say() {
    let mut out = [0; 32];
    let mut bytes = |command: CommandMessage<'_>| {
        let length = command.encode(1, 7, &mut out).unwrap();
        out[..length].to_vec()
    };
    assert_eq!(
        bytes(CommandMessage::IccPowerOn(Voltage::V5)),
        [0x62, 0, 0, 0, 0, 1, 7, 1, 0, 0]
    );
    assert_eq!(
        bytes(CommandMessage::XfrBlock {
            bwi: 2,
            level: 0x0103,
            data: &[0xAA]
        }),
        [0x6F, 1, 0, 0, 0, 1, 7, 2, 0x03, 0x01, 0xAA]
    );
    assert_eq!(
        bytes(CommandMessage::SetDataRateAndClockFrequency {
            clock_khz: 4000,
            rate_bps: 10_752
        }),
        [0x73, 8, 0, 0, 0, 1, 7, 0, 0, 0, 0xA0, 0x0F, 0, 0, 0, 0x2A, 0, 0]
    );
    assert_eq!(CommandMessage::GetSlotStatus.encode(0, 0, &mut [0; 9]), None);
}

#[test]
fn a_reader_reads_every_command_back() {
    for command in COMMANDS {
        let mut out = [0; 64];
        let length = command.encode(3, 9, &mut out).unwrap();
        assert_eq!(CommandMessage::decode(&out[..length]), Ok((command, 3, 9)));
    }
}

#[test]
fn responses_tell_the_card_s_state_and_the_outcome() {
    let bytes = [0x80, 2, 0, 0, 0, 1, 7, 0, 0x81, 0x01, 0x90, 0x00, 0xFF];
    let response = ResponseMessage::decode(&bytes).unwrap();
    assert_eq!(response.data, [0x90, 0x00], "what follows is not looked at");
    assert_eq!(
        (response.outcome, response.specific),
        (CommandStatus::Done, Chain::Begins as u8)
    );
    let mute = [0x80, 0, 0, 0, 0, 0, 0, 0x41, 0xFE, 0];
    let response = ResponseMessage::decode(&mute).unwrap();
    assert_eq!(
        (response.icc, response.outcome),
        (IccStatus::Inactive, CommandStatus::Failed(SlotErrorCode::Mute))
    );
    let time = [0x80, 0, 0, 0, 0, 0, 0, 0x80, 3, 0];
    assert_eq!(
        ResponseMessage::decode(&time).unwrap().outcome,
        CommandStatus::TimeExtension(3)
    );
}

#[test]
fn each_type_of_response_reads_back() {
    for (kind, byte) in [
        (ResponseKind::DataBlock, 0x80),
        (ResponseKind::SlotStatus, 0x81),
        (ResponseKind::Parameters, 0x82),
        (ResponseKind::Escape, 0x83),
        (ResponseKind::DataRateAndClockFrequency, 0x84),
    ] {
        let response = ResponseMessage {
            kind,
            slot: 0,
            seq: 0,
            icc: IccStatus::Absent,
            outcome: CommandStatus::TimeExtension(1),
            specific: 0,
            data: &[],
        };
        let mut out = [0; HEADER_SIZE];
        assert_eq!(response.encode(&mut out), Some(HEADER_SIZE));
        assert_eq!(out, [byte, 0, 0, 0, 0, 0, 0, 0x82, 1, 0]);
        assert_eq!(ResponseMessage::decode(&out), Ok(response));
    }
}

#[test]
fn each_voltage_reads_back() {
    for voltage in [Voltage::Automatic, Voltage::V5, Voltage::V3, Voltage::V1_8] {
        let command = CommandMessage::IccPowerOn(voltage);
        let mut out = [0; HEADER_SIZE];
        command.encode(0, 0, &mut out).unwrap();
        assert_eq!(CommandMessage::decode(&out), Ok((command, 0, 0)));
    }
    let unknown = [0x62, 0, 0, 0, 0, 0, 0, 4, 0, 0];
    assert_eq!(
        CommandMessage::decode(&unknown),
        Err(Malformed::Value { offset: 7 })
    );
}

#[test]
fn wrong_lengths_and_types_are_errors() {
    assert_eq!(ResponseMessage::decode(&[0x80; 9]), Err(Malformed::Truncated));
    assert_eq!(ResponseMessage::announced(&[0x80; 9]), None);
    let liar = [0x80, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 1];
    assert_eq!(ResponseMessage::decode(&liar), Err(Malformed::Truncated));
    assert_eq!(
        ResponseMessage::announced(&liar),
        Some(0xFFFF_FFFF_usize.saturating_add(10))
    );
    assert_eq!(ResponseMessage::decode(&[0; 10]), Err(Malformed::Kind(0)));
    assert_eq!(CommandMessage::decode(&[0; 10]), Err(Malformed::Kind(0)));
}

#[test]
fn every_error_code_has_one_name() {
    for code in 0..=255 {
        assert_eq!(SlotErrorCode::decode(code).code(), code);
    }
    assert_eq!(SlotErrorCode::decode(7), SlotErrorCode::Parameter(7));
    assert_eq!(SlotErrorCode::decode(0x7F), SlotErrorCode::Parameter(0x7F));
    assert_eq!(SlotErrorCode::decode(0x80), SlotErrorCode::Other(0x80));
    assert_eq!(SlotErrorCode::decode(0x81), SlotErrorCode::Other(0x81));
}

#[test]
fn notifications_tell_slot_by_slot() {
    let change = Notification::decode(&[0x50, 0b1100_0011, 0b01]).unwrap();
    assert_eq!(change.slot(0), Some((true, true)));
    assert_eq!(change.slot(1), Some((false, false)));
    assert_eq!(change.slot(3), Some((true, true)));
    assert_eq!(change.slot(4), Some((true, false)));
    assert_eq!(change.slot(8), None);
    assert_eq!(
        Notification::decode(&[0x51, 0, 4, 1]),
        Some(Notification::HardwareError {
            slot: 0,
            seq: 4,
            code: 1
        })
    );
    assert_eq!(Notification::decode(&[]), None);
    assert_eq!(Notification::decode(&[0x42, 0, 0, 0]), None);
}

#[test]
fn a_notification_concerns_the_slots_that_it_names() {
    let concerned = |bytes: &[u8], slots| {
        let notification = Notification::decode(bytes).unwrap();
        let concerned = (0..8u8).filter(|slot| notification.concerns(*slot, slots));
        concerned.collect::<Vec<u8>>()
    };
    // Slots 1 and 2 have changed.
    assert_eq!(concerned(&[0x50, 0b0011_1000], 4), [1, 2]);
    // No slot has: it may be any of those in the message.
    assert_eq!(concerned(&[0x50, 0b0001_0001], 4), [0, 1, 2, 3]);
    // Slot 3 is none of a reader of two slots.
    assert_eq!(concerned(&[0x50, 0b1000_0000], 2), [0, 1, 2, 3]);
    assert_eq!(concerned(&[0x50, 0, 0b10], 5), [4]);
    assert_eq!(concerned(&[0x51, 3, 0, 1], 4), [3]);
}

#[test]
fn a_notification_reports_empty_slots() {
    let change = Notification::decode(&[0x50, 0b1110_0100]).unwrap();
    let empty = [0, 1, 2, 3, 4].map(|slot| change.reports_empty(slot));
    assert_eq!(empty, [true, false, true, false, false]);
    let error = Notification::decode(&[0x51, 0, 0, 1]).unwrap();
    assert!(!error.reports_empty(0));
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = CommandMessage::decode(&bytes);
        if let Ok(response) = ResponseMessage::decode(&bytes) {
            prop_assert!(response.data.len() + HEADER_SIZE <= bytes.len());
        }
        if let Some(notification) = Notification::decode(&bytes) {
            for slot in 0..=255 {
                notification.slot(slot);
            }
        }
    }

    #[test]
    fn a_response_reads_back(
        slot: u8, seq: u8, icc in 0u8..3, outcome in 0u8..3, error: u8, specific: u8, data: Vec<u8>
    ) {
        let response = ResponseMessage {
            kind: ResponseKind::DataBlock,
            slot,
            seq,
            icc: [IccStatus::Active, IccStatus::Inactive, IccStatus::Absent][usize::from(icc)],
            outcome: [
                CommandStatus::Done,
                CommandStatus::Failed(SlotErrorCode::decode(error)),
                CommandStatus::TimeExtension(error),
            ][usize::from(outcome)],
            specific,
            data: &data,
        };
        let mut out = vec![0; data.len() + HEADER_SIZE];
        prop_assert_eq!(response.encode(&mut out), Some(out.len()));
        prop_assert_eq!(ResponseMessage::decode(&out), Ok(response));
    }
}
