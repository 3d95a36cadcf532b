//! Power-up, message by message (CCID 1.1, clause 6.1.1).

mod common;

use std::time::Duration;

use common::script::{In, Script};
use common::{message, plain_interface};
use pcsc_ccid::message::SlotError;
use pcsc_ccid::reader::{DeviceInfo, Error, Options, Reader, Reset};

const ATR: [u8; 2] = [0x3B, 0x00];
const POWER_ON: u8 = 0x62;
const AUTOMATIC_VOLTAGE: u32 = 0x08;

fn opened(features: u32, voltages: u8) -> Reader<Script> {
    let mut interface = plain_interface(features);
    interface.descriptor.voltages = voltages;
    let script = Script {
        incoming: [In::Bytes(message(0x81, &[], [1, 0, 0]))].into(),
        ..Script::default()
    };
    let mut reader = Reader::open(script, DeviceInfo::default(), &interface, Options::default()).unwrap();
    reader.transport().outgoing.clear();
    reader
}

fn power_on(reader: &mut Reader<Script>, answers: &[Vec<u8>]) -> Result<(), Error> {
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
    let (parameter, hardware) = (SlotError::Parameter(7), SlotError::Hardware);
    for (last, expected) in [(7, hardware), (0xFE, SlotError::Mute)] {
        let mut reader = opened(0, 2);
        let result = power_on(&mut reader, &[failed(HARDWARE), off(), failed(last)]);
        assert_eq!(result, Err(Error::Slot(expected)));
        assert_eq!(voltages(&mut reader), [2, 0]);
    }
    // A reader that chooses the voltage itself is asked once.
    let mut reader = opened(AUTOMATIC_VOLTAGE, 2);
    assert_eq!(power_on(&mut reader, &[failed(7)]), Err(Error::Slot(parameter)));
    assert_eq!(voltages(&mut reader), [0]);
}

#[test]
fn a_busy_slot_is_tried_twenty_times_more() {
    // BUSY_WITH_AUTO_SEQUENCE: the reader is activating the card.
    let busy = |count| vec![failed(0xF2); count];
    let atr = vec![message(0x80, &ATR, [0, 0, 0])];
    for (refusals, expected) in [
        (20, Ok(())),
        (21, Err(Error::Slot(SlotError::BusyWithAutoSequence))),
    ] {
        let mut reader = opened(AUTOMATIC_VOLTAGE, 1);
        let answers = [busy(refusals), atr.clone()].concat();
        assert_eq!(power_on(&mut reader, &answers), expected);
        assert_eq!(reader.transport().now, Duration::from_secs(2));
    }
}
