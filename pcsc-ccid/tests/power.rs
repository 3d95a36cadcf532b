//! Power-up, message by message (CCID 1.1, clause 6.1.1).

mod common;

use std::time::Duration;

use common::script::{In, Script};
use common::{message, plain_interface};
use pcsc_ccid::message::SlotErrorCode;
use pcsc_ccid::reader::{DeviceInfo, Reader, ReaderError, ReaderOptions, Reset};

const ATR: [u8; 2] = [0x3B, 0x00];
const POWER_ON: u8 = 0x62;
const AUTOMATIC_VOLTAGE: u32 = 0x08;

fn opened(features: u32, voltages: u8) -> Reader<Script> {
    opened_with(ReaderOptions::default(), features, voltages)
}

fn opened_with(options: ReaderOptions, features: u32, voltages: u8) -> Reader<Script> {
    let mut interface = plain_interface(features);
    interface.descriptor.voltages = voltages;
    let script = Script {
        incoming: [In::Bytes(message(0x81, &[], [1, 0, 0]))].into(),
        ..Script::default()
    };
    let mut reader = Reader::open(script, DeviceInfo::default(), &interface, options).unwrap();
    reader.transport().outgoing.clear();
    reader
}

fn power_on(reader: &mut Reader<Script>, answers: &[Vec<u8>]) -> Result<(), ReaderError> {
    let incoming = answers.iter().cloned().map(In::Bytes);
    reader.transport().incoming.extend(incoming);
    reader.power_on(0, Reset::Cold).map(drop)
}

/// bPowerSelect of each IccPowerOn.
fn voltages(reader: &mut Reader<Script>) -> Vec<u8> {
    let sent = reader.transport().outgoing.iter();
    sent.filter(|message| message[0] == POWER_ON)
        .map(|message| message[7])
        .collect()
}

fn failed(error: u8) -> Vec<u8> {
    message(0x80, &[], [0x41, error, 0])
}

fn off() -> Vec<u8> {
    message(0x81, &[], [1, 0, 0])
}

#[test]
fn the_error_is_that_of_the_last_voltage_which_the_reader_has() {
    const HARDWARE: u8 = 0xFB;
    // bPowerSelect is at offset 7.
    let (parameter, hardware) = (SlotErrorCode::Parameter(7), SlotErrorCode::Hardware);
    for (last, expected) in [(7, hardware), (0xFE, SlotErrorCode::Mute)] {
        let mut reader = opened(0, 2);
        let result = power_on(&mut reader, &[failed(HARDWARE), off(), failed(last)]);
        assert_eq!(result, Err(ReaderError::Slot(expected)));
        assert_eq!(voltages(&mut reader), [2, 0]);
    }
    // A reader that chooses the voltage itself is asked once.
    let mut reader = opened(AUTOMATIC_VOLTAGE, 2);
    assert_eq!(
        power_on(&mut reader, &[failed(7)]),
        Err(ReaderError::Slot(parameter))
    );
    assert_eq!(voltages(&mut reader), [0]);
}

/// Bits 5 and 4 of libccid's `ifdDriverOptions`: a card of 1.8 V may not survive 5 V.
#[test]
fn the_user_chooses_the_first_voltage_of_those_that_the_reader_has() {
    for (bits, supported, expected) in [
        (0x00, 7, &[1, 2, 3, 0][..]),
        (0x10, 7, &[2, 1, 3, 0]),
        (0x20, 7, &[3, 2, 1, 0]),
        (0x30, 7, &[0]),
        (0x20, 3, &[2, 1, 0]),
        (0x10, 1, &[1, 0]),
        // A descriptor that has none is wrong.
        (0x20, 0, &[3, 2, 1, 0]),
        (0x00, 0xF8, &[1, 2, 3, 0]),
    ] {
        let options = ReaderOptions::default().with_driver_options(bits);
        let mut reader = opened_with(options, 0, supported);
        let last = expected.len() - 1;
        let answers: Vec<_> = (0..last).flat_map(|_| [failed(0xFE), off()]).collect();
        let atr = message(0x80, &ATR, [0, 0, 0]);
        assert_eq!(power_on(&mut reader, &[answers, vec![atr]].concat()), Ok(()));
        assert_eq!(voltages(&mut reader), expected, "{bits:02X} {supported:02X}");

        let mut choosy = opened_with(options, AUTOMATIC_VOLTAGE, supported);
        let atr = message(0x80, &ATR, [0, 0, 0]);
        assert_eq!(power_on(&mut choosy, &[atr]), Ok(()));
        assert_eq!(voltages(&mut choosy), [0], "{bits:02X} {supported:02X}");
    }
}

#[test]
fn a_reader_that_cannot_choose_the_voltage_gets_one() {
    let options = ReaderOptions::default().with_driver_options(0x30);
    let mut reader = opened_with(options, 0, 7);
    let atr = message(0x80, &ATR, [0, 0, 0]);
    // bPowerSelect is byte 7.
    assert_eq!(power_on(&mut reader, &[failed(7), atr]), Ok(()));
    assert_eq!(voltages(&mut reader), [0, 1]);
}

#[test]
fn a_busy_slot_is_tried_twenty_times_more() {
    // BUSY_WITH_AUTO_SEQUENCE: the reader is activating the card.
    let busy = |count| vec![failed(0xF2); count];
    let atr = vec![message(0x80, &ATR, [0, 0, 0])];
    for (refusals, expected) in [
        (20, Ok(())),
        (21, Err(ReaderError::Slot(SlotErrorCode::BusyWithAutoSequence))),
    ] {
        let mut reader = opened(AUTOMATIC_VOLTAGE, 1);
        let answers = [busy(refusals), atr.clone()].concat();
        assert_eq!(power_on(&mut reader, &answers), expected);
        assert_eq!(reader.transport().now, Duration::from_secs(2));
    }
}
