use std::time::{Duration, Instant};

use pcsc_ccid::reader::{DeviceInfo, Protocol, Reader, ReaderOptions, Reset};
use pcsc_ccid::shared::InterruptSource;
use pcsc_ccid::transport::{Transport, TransportError};
use proptest::prelude::*;

use super::*;
use crate::card::apps::Several;
use crate::card::{Offer, Profile, SimCard};
use crate::{SimDevice, SimHandle, NAMES};

const SECOND: Duration = Duration::from_secs(1);
/// The lines about a reader with the endpoints 01, 81 and 82.
fn reader() -> String {
    let device = RecordedDevice::of_model(&crate::model("gempc-express").unwrap()).unwrap();
    let recorder = UsbRecorder::new(&device, Vec::new()).unwrap();
    String::from_utf8(recorder.output()).unwrap()
}

fn replay(lines: &str) -> UsbReplay {
    let text = format!("{}{lines}", reader());
    UsbReplay::new(UsbRecord::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

fn use_reader(transport: impl Transport, device: &RecordedDevice) -> Option<Vec<u8>> {
    let mut reader = Reader::open(
        transport,
        DeviceInfo::default(),
        &device.interface,
        ReaderOptions::default(),
    )
    .ok()?;
    reader.power_on(0, Reset::Cold).ok()?;
    reader.set_protocol(0, Protocol::T1).ok()?;
    let mut response = [0; 300];
    let length = reader
        .transmit(0, b"\x80\xEC\x00\x00\x05hello\x00", &mut response)
        .ok()?;
    Some(response[..length].to_vec())
}

/// The record of a reader of this model with a card.
fn record(model: &str) -> String {
    let device = SimDevice::named(model).unwrap();
    let recorded = RecordedDevice::of_model(device.model()).unwrap();
    let handle = SimHandle::new(device);
    handle.insert(
        0,
        SimCard::good(Profile::new(&[Offer::T1]), Box::new(Several::demo())),
    );
    let recorder = UsbRecorder::new(&recorded, Vec::new()).unwrap();
    let answer = use_reader(recorder.transport(handle.transport()), &recorded);
    assert_eq!(answer.as_deref(), Some(&b"hello\x90\x00"[..]), "{model}");
    String::from_utf8(recorder.output()).unwrap()
}

#[test]
fn the_reader_of_a_record_is_the_one_that_was_recorded() {
    for (name, _) in NAMES {
        let device = RecordedDevice::of_model(&crate::model(name).unwrap()).unwrap();
        let text = UsbRecorder::new(&device, Vec::new()).unwrap().output();
        let mut read = UsbRecord::parse(&text).unwrap().device;
        // The packets of bulk pipes and bInterfaceSubClass are of no use to the driver.
        assert_eq!(read.interface.descriptor, device.interface.descriptor, "{name}");
        read.interface = device.interface;
        assert_eq!(read, device, "{name}");
    }
}

#[test]
fn an_error_names_the_line_and_the_reason() {
    let number = reader().lines().count() + 1;
    let with = |lines: &str| format!("{}{lines}", reader());
    let at = |line: usize, reason: &str| format!("line {line}: {reason}");
    let foreign = "this is no record of transfers: it does not begin with pcsc-usb-record";
    let unsent = "nothing was sent before it: lines are missing or in another order";
    for (text, expected) in [
        (String::new(), at(1, "the file is empty")),
        ("{}\n".into(), at(1, foreign)),
        (
            "pcsc-usb-record 2\n".into(),
            at(1, "the record has version 2, and this program reads version 1"),
        ),
        ("pcsc-usb-record x\n".into(), at(1, "\"x\" is no version")),
        (
            "pcsc-usb-record 1\n".into(),
            at(2, "the line descriptors is missing: the file is cut"),
        ),
        (
            "pcsc-usb-record 1\n0 out 01 65\n".into(),
            at(
                2,
                "\"0\" is no line about the reader: device, manufacturer, product, interface-name or \
                   descriptors",
            ),
        ),
        (
            "pcsc-usb-record 1\ndescriptors 0904\n".into(),
            at(2, "the line device must come before"),
        ),
        (
            "pcsc-usb-record 1\ndevice 08e6:34ec 1.00\ndescriptors 0904\n".into(),
            at(3, "the descriptors are no reader's"),
        ),
        (
            "pcsc-usb-record 1\ndevice 08e6 1.00\n".into(),
            at(2, "\"08e6 1.00\" is not VENDOR:PRODUCT RELEASE"),
        ),
        (
            "pcsc-usb-record 1\ndevice 08e6:+4ec 1.00\n".into(),
            at(2, "\"08e6:+4ec 1.00\" is not VENDOR:PRODUCT RELEASE"),
        ),
        (
            with("0 out 01 650"),
            at(number, "the line has no end: the file is cut"),
        ),
        (
            with("0 out 01 650\n"),
            at(number, "the data have an odd number of digits, 3"),
        ),
        (
            with("0 out 01 6G\n"),
            at(number, "byte 1 of the data is no two hexadecimal digits"),
        ),
        (
            with("0 out 07 65\n"),
            at(number, "the reader has no endpoint 07 of this direction"),
        ),
        (with("0 in 81 65\n"), at(number, unsent)),
        (with("0 clear-halt\n"), at(number, unsent)),
        (
            with("5 out 01 65\n4 in 81 65\n"),
            at(number + 1, "the time goes back, from 5"),
        ),
        (
            with("x out 01 65\n"),
            at(number, "\"x\" is no time in microseconds"),
        ),
        (
            with("0 sideways 01 65\n"),
            at(number, "\"sideways\" is no direction: in, out or clear-halt"),
        ),
        (with("0 out 01\n"), at(number, "the data or the error is missing")),
        (
            with("0 out 01 65 65\n"),
            at(number, "\"65\" is one field too many"),
        ),
        (
            with("0 out 01 65\n1 in 81 !late\n"),
            at(number + 1, "!\"late\" is no error of a transfer"),
        ),
        (
            with("0 out 01 65\n1 in 81 **\n"),
            at(number + 1, "a byte from the reader is hidden"),
        ),
        (
            with("0 in 00 0x02 0000 -\n"),
            at(number, "bRequest is \"0x02\", not 2 hexadecimal digits"),
        ),
        (
            with(&format!("0 out 01 {}\n", "65".repeat(200_000))),
            at(number, "the line has 400010 bytes, more than 262144"),
        ),
    ] {
        assert_eq!(
            UsbRecord::parse(text.as_bytes()).unwrap_err().to_string(),
            expected
        );
    }
    let bytes = [reader().as_bytes(), b"0 out \xFF\n"].concat();
    assert_eq!(
        UsbRecord::parse(&bytes).unwrap_err().to_string(),
        at(number, "byte 7 is no UTF-8")
    );
    let commented = with("\n# a comment\r\n0 out 01 65 # and another one\n");
    assert!(UsbRecord::parse(commented.as_bytes()).is_ok());
}

fn receive(transport: &mut impl Transport) -> Result<Vec<u8>, TransportError> {
    let mut buffer = [0; 300];
    let length = transport.receive(&mut buffer, SECOND)?;
    Ok(buffer[..length].to_vec())
}

#[test]
fn answers_follow_the_host_in_b_seq_and_errors_are_played() {
    let replay = replay(
        "0 out 01 6C000000000007000000\n\
         10 in 81 !timeout\n\
         20 in 81 82000000000007000000\n\
         30 out 01 62000000000008000000 !stall\n\
         40 clear-halt\n",
    );
    let mut transport = replay.transport();
    transport
        .send(&[0x6C, 0, 0, 0, 0, 0, 0x55, 0, 0, 0], SECOND)
        .unwrap();
    assert_eq!(receive(&mut transport), Err(TransportError::Timeout));
    assert_eq!(transport.now(), SECOND, "the host has waited so long");
    assert_eq!(
        receive(&mut transport),
        Ok(vec![0x82, 0, 0, 0, 0, 0, 0x55, 0, 0, 0])
    );
    assert_eq!(
        transport.send(&[0x62, 0, 0, 0, 0, 0, 0x56, 0, 0, 0], SECOND),
        Err(TransportError::Stall)
    );
    assert_eq!(transport.clear_halt(), Ok(()));
    assert_eq!(replay.outcome(), Ok(()));
    assert_eq!(receive(&mut transport), Err(TransportError::Fault));
    let mismatch = replay.outcome().unwrap_err();
    assert_eq!(
        (mismatch.number, mismatch.found.as_deref()),
        (2, Some("a wait for one more answer after its last answer"))
    );
}

#[test]
fn the_state_of_a_slot_may_be_asked_for_at_any_time() {
    const STATUS: [u8; 10] = [0x65, 0, 0, 0, 0, 0, 9, 0, 0, 0];
    const POWER_OFF: [u8; 10] = [0x63, 0, 0, 0, 0, 0, 9, 0, 0, 0];
    const POWER_ON: [u8; 10] = [0x62, 0, 0, 0, 0, 0, 9, 0, 0, 0];
    let lines = "0 out 01 65000000000001000000\n\
         1 in 81 81000000000001010000\n\
         2 out 01 65000000000002000000\n\
         3 in 81 81000000000002010000\n\
         4 out 01 62000000000003000000\n\
         5 in 81 800200000000030000003B00\n";
    let status = |transport: &mut ReplayTransport, message: &[u8]| {
        transport.send(message, SECOND).unwrap();
        receive(transport).unwrap()[7]
    };
    // As recorded, more often, and not at all.
    for count in [2, 5, 0] {
        let replay = replay(lines);
        let mut transport = replay.transport();
        for _ in 0..count {
            assert_eq!(status(&mut transport, &STATUS), 1);
        }
        assert_eq!(status(&mut transport, &POWER_ON), 0);
        assert_eq!(status(&mut transport, &STATUS), 0, "active");
        assert_eq!(status(&mut transport, &POWER_OFF), 1, "inactive");
        assert_eq!(replay.outcome(), Ok(()), "{count}");
    }
}

#[test]
fn slots_are_played_in_any_order() {
    let replay = replay(
        "0 out 01 62000000000001000000\n1 in 81 800200000000010000003B00\n\
         2 out 01 62000000000102000000\n3 in 81 800200000001020000003B01\n",
    );
    let mut transport = replay.transport();
    for (slot, last) in [(1, 1), (0, 0)] {
        transport
            .send(&[0x62, 0, 0, 0, 0, slot, 5, 0, 0, 0], SECOND)
            .unwrap();
        assert_eq!(receive(&mut transport).unwrap().last(), Some(&last));
    }
    assert_eq!(replay.outcome(), Ok(()));
}

#[test]
fn b_seq_is_adapted_where_messages_begin_and_nowhere_else() {
    // A message in two transfers, which asks for time, and one more.
    let replay = replay(
        "0 out 01 65000000000001000000\n\
         1 in 81 80080000000001000000\n2 in 81 1111111111111111\n\
         3 in 81 81000000000001000000\n",
    );
    let mut transport = replay.transport();
    transport
        .send(&[0x65, 0, 0, 0, 0, 0, 9, 0, 0, 0], SECOND)
        .unwrap();
    assert_eq!(receive(&mut transport).unwrap()[6], 9);
    assert_eq!(receive(&mut transport).unwrap(), [0x11; 8]);
    assert_eq!(receive(&mut transport).unwrap()[6], 9);
}

#[test]
fn a_card_comes_after_what_was_before_it_and_at_the_latest_before_what_was_after_it() {
    const POWER_ON: [u8; 10] = [0x62, 0, 0, 0, 0, 0, 9, 0, 0, 0];
    let lines = "0 out 01 62000000000001000000\n1 in 81 8100000000000142FE00\n".to_owned()
        + "9000000 in 82 5003\n9000001 out 01 62000000000002000000\n9000002 in 81 800200000000020000003B00\n";
    let replay = replay(&lines);
    let (mut transport, mut watch) = (replay.transport(), replay.watch());
    let mut notifications = Vec::new();
    let next = |watch: &mut ReplayWatch, notifications: &mut Vec<u8>| {
        watch.next(Some(Instant::now()), &mut |message| notifications.extend(message))
    };
    assert_eq!(
        next(&mut watch, &mut notifications),
        Err(TransportError::Timeout),
        "before the first message"
    );
    transport.send(&POWER_ON, SECOND).unwrap();
    assert_eq!(receive(&mut transport).unwrap()[7], 0x42);
    transport.send(&POWER_ON, SECOND).unwrap();
    assert_eq!(
        next(&mut watch, &mut notifications),
        Ok(()),
        "what follows it has come"
    );
    assert_eq!(notifications, [0x50, 0x03]);
    watch.interrupter()();
    assert_eq!(
        next(&mut watch, &mut notifications),
        Err(TransportError::Cancelled)
    );
}

#[test]
fn a_reader_that_goes_is_gone_until_the_record_has_more_of_it() {
    // Without an end of the reader the test fails, and does not hang.
    let next = |watch: &mut ReplayWatch| watch.next(Some(Instant::now() + 60 * SECOND), &mut |_| ());
    let power_on = |slot| [0x62, 0, 0, 0, 0, slot, 9, 0, 0, 0];
    let end = "0 out 01 62000000000001000000\n1 in 81 !gone\n2 in 82 !gone\n";
    for (lines, has_more) in [
        (end.to_owned(), false),
        (format!("{end}3 out 01 62000000000002000000\n"), true),
    ] {
        let replay = replay(&lines);
        let (mut transport, mut watch) = (replay.transport(), replay.watch());
        transport.send(&power_on(0), SECOND).unwrap();
        assert_eq!(receive(&mut transport), Err(TransportError::Gone));
        assert_eq!(next(&mut watch), Err(TransportError::Gone));
        assert_eq!(transport.send(&power_on(0), SECOND), Err(TransportError::Gone));
        assert_eq!(replay.reopen(), has_more);
        let again = transport.send(&power_on(0), SECOND);
        assert_eq!(
            again,
            if has_more {
                Ok(())
            } else {
                Err(TransportError::Gone)
            }
        );
        assert_eq!(replay.outcome(), Ok(()));
    }
    // The interrupt pipe may be the first to notice.
    let replay = replay("0 in 82 !gone\n");
    assert_eq!(next(&mut replay.watch()), Err(TransportError::Gone));
    assert_eq!(
        replay.transport().send(&power_on(0), SECOND),
        Err(TransportError::Gone)
    );
}

#[test]
fn hidden_bytes_are_those_of_pins_keys_and_pin_pads() {
    let device = RecordedDevice::of_model(&crate::model("gempc-express").unwrap()).unwrap();
    let recorder = UsbRecorder::new(&device, Vec::new()).unwrap();
    let handle = SimHandle::new(SimDevice::named("gempc-express").unwrap());
    let mut transport = recorder.transport(handle.transport());
    let mut send = |kind: u8, data: &[u8]| {
        let message = [&[kind, data.len() as u8, 0, 0, 0, 0, 0, 0, 0, 0][..], data].concat();
        transport.send(&message, SECOND).unwrap();
        let text = String::from_utf8(recorder.output()).unwrap();
        let line = text.lines().last().unwrap();
        line.rsplit(' ').next().unwrap()[20..].to_owned()
    };
    // VERIFY, PUT DATA with a key, IMPORT KEY; a key for the reader; PPS, which is no command to it.
    assert_eq!(send(0x6F, b"\x00\x20\x00\x80\x0212"), "0020008002****");
    assert_eq!(send(0x6F, b"\x00\xDB\x3F\xFF\x0212"), "00DB3FFF02****");
    assert_eq!(send(0x6F, b"\x00\xFE\x07\x9A\x0212"), "00FE079A02****");
    assert_eq!(send(0x6F, b"\xFF\x82\x00\x00\x0212"), "FF82000002****");
    assert_eq!(send(0x6F, &[0xFF, 0x11, 0x95, 0x7B]), "FF11957B");
    assert_eq!(send(0x6F, b"\x00\xB0\x00\x00\x02"), "00B0000002");
    // Escapes: all but what the driver's own have.
    assert_eq!(send(0x6B, b"\x01\x02\x03\x041234"), "01020304********");
    // PIN_VERIFY and PIN_MODIFY: their commands.
    let verify = [&[0; 15][..], b"\x00\x20\x00\x80\x0212"].concat();
    assert_eq!(send(0x69, &verify), format!("{}0020008002****", "00".repeat(15)));
    let modify = [&[1][..], &[0; 19], b"\x00\x24\x00\x80\x041212"].concat();
    let shown = send(0x69, &modify);
    assert!(
        !shown.contains("3132") && shown.ends_with(&"**".repeat(4)),
        "{shown}"
    );
}

#[test]
fn a_command_after_the_answer_to_a_pin_is_shown() {
    let device = RecordedDevice::of_model(&crate::model("gempc-express").unwrap()).unwrap();
    let recorder = UsbRecorder::new(&device, Vec::new()).unwrap();
    let handle = SimHandle::new(SimDevice::named("gempc-express").unwrap());
    let card = SimCard::good(
        Profile::new(&[Offer::T1]),
        Box::new(crate::card::apps::FileSystem::example()),
    );
    handle.insert(0, card);
    let mut transport = recorder.transport(handle.transport());
    let mut say = |kind: u8, specific: [u8; 3], data: &[u8]| {
        let header = [kind, data.len() as u8, 0, 0, 0, 0, 0];
        transport
            .send(&[&header[..], &specific, data].concat(), SECOND)
            .unwrap();
        let reply = receive(&mut transport).unwrap();
        assert_eq!(reply[7], 0, "{reply:02X?}");
        let text = String::from_utf8(recorder.output()).unwrap();
        let sent = text.lines().rfind(|line| line.contains(" out ")).unwrap();
        (sent.rsplit(' ').next().unwrap()[20..].to_owned(), reply)
    };
    let block = |pcb: u8, data: &[u8]| {
        let mut block = [&[0x00, pcb, data.len() as u8][..], data].concat();
        block.push(block.iter().fold(0, |lrc, byte| lrc ^ byte));
        block
    };
    say(0x62, [1, 0, 0], &[]);
    say(0x61, [1, 0, 0], &[0x11, 0x10, 0x00, 0x45, 0x00, 0xFE, 0x00]);
    let (shown, _) = say(0x6F, [0; 3], &block(0x20, b"\x00\x20\x00\x81\x0412"));
    // PCB is INS of VERIFY too: what follows P2 of it is hidden.
    assert_eq!(shown, "00200700**************");
    let (shown, reply) = say(0x6F, [0; 3], &block(0x40, b"34"));
    assert_eq!(
        (shown.as_str(), &reply[13..15]),
        ("004002******", &[0x90, 0x00][..])
    );
    let (shown, _) = say(0x6F, [0; 3], &block(0x00, b"\x00\xB0\x00\x00\x02"));
    assert_eq!(shown, "00000500B0000002B7");
}

proptest! {
    /// No file makes the parser panic.
    #[test]
    fn any_lines_are_a_record_or_an_error(
        lines in "([0-9]{1,3} (in|out|clear-halt) ?(0[0-3]|8[0-3])? \
                  ?[0-9A-F*!a-z-]{0,12} ?[0-9A-F]{0,9}\n){0,9}"
    ) {
        let text = format!("{}{lines}", reader());
        let _ = UsbRecord::parse(text.as_bytes());
        let _ = UsbRecord::parse(lines.as_bytes());
    }

    /// A driver ends with a damaged record, and panics on none.
    #[test]
    fn a_damaged_record_is_an_error_or_is_played(
        place in 0..10_000_usize,
        byte in any::<u8>(),
        model in 0..3_usize,
    ) {
        let mut text = record(["gempc-express", "omnikey-3x21", "starsign"][model]).into_bytes();
        let place = place % text.len();
        text[place] = byte;
        if let Ok(record) = UsbRecord::parse(&text) {
            let device = record.device.clone();
            let replay = UsbReplay::new(record);
            let _ = use_reader(replay.transport(), &device);
            let _ = replay.outcome();
        }
    }
}
