//! The whole driver against a reader that does anything: every call ends, after a bounded number of
//! transfers and a bounded time, and its results are sane. A line of the table of quirks, choices, which
//! transfer fails and how, the class descriptor without its length and type, the calls after their length,
//! and what the reader sends ([`pcsc_fuzz::script`]).
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pcsc_ccid::attributes;
use pcsc_ccid::descriptor::{ClassDescriptor, Flavour, Interface};
use pcsc_ccid::part10::{self, Feature};
use pcsc_ccid::reader::{DeviceInfo, Protocol, Reader, ReaderError, ReaderOptions, Reset};
use pcsc_fuzz::script::{End, Script};
use pcsc_fuzz::{device_of, Input};

/// What a hostile reader can make of one call, at the longest.
const MAX_TIME: Duration = Duration::from_secs(3 * 3600);

/// Command APDUs of all cases; others come from the input.
const APDUS: [&[u8]; 6] = [
    &[0x00, 0x44, 0x00, 0x00],
    &[0x00, 0xB0, 0x00, 0x00, 0x00],
    &[0x00, 0xD6, 0x00, 0x00, 0x02, 0x5A, 0x5A],
    &[0x00, 0xA4, 0x04, 0x00, 0x02, 0x3F, 0x00, 0x00],
    &[0x00, 0xB0, 0x00, 0x00, 0x00, 0x01, 0x00],
    &[0xFF, 0xCA, 0x00, 0x00, 0x00],
];

const CONTROLS: [u32; 10] = [
    part10::GET_FEATURE_REQUEST,
    part10::GET_FEATURE_REQUEST_WINDOWS,
    Feature::VerifyPinDirect.code(),
    Feature::ModifyPinDirect.code(),
    Feature::IfdPinProperties.code(),
    Feature::GetTlvProperties.code(),
    Feature::MctReaderDirect.code(),
    part10::VENDOR_IFD_EXCHANGE,
    part10::NAD,
    part10::USB_PATH,
];

/// A call of the driver, which must end within its bounds.
fn bounded<R>(reader: &mut Reader<Script>, call: impl FnOnce(&mut Reader<Script>) -> R) -> R {
    let transport = reader.transport();
    transport.begin_call();
    let begin = pcsc_ccid::transport::Transport::now(transport);
    let result = call(reader);
    let transport = reader.transport();
    let taken = pcsc_ccid::transport::Transport::now(transport) - begin;
    assert!(
        taken <= MAX_TIME,
        "{taken:?} with {} transfers",
        transport.transfers()
    );
    result
}

fn length(result: Result<usize, ReaderError>, room: usize) {
    match result {
        Ok(length) => assert!(length <= room),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn call(reader: &mut Reader<Script>, input: &mut Input<'_>) {
    let (operation, choice) = (input.byte(), input.byte());
    let slot = choice & 0x0F;
    let mut buffer = [0; 65_538];
    let room = [258, 2, 65_538, 0][usize::from(choice >> 6)];
    let answer = &mut buffer[..room];
    match operation % 12 {
        0 | 1 => {
            let reset = if operation % 12 == 0 {
                Reset::Cold
            } else {
                Reset::Warm
            };
            if let Ok(atr) = bounded(reader, |reader| reader.power_on(slot, reset).map(<[u8]>::to_vec)) {
                assert!((1..=33).contains(&atr.len()));
                assert_eq!(reader.atr(slot), atr);
            } else {
                assert!(reader.atr(slot).is_empty());
            }
        }
        2 => {
            let _ = bounded(reader, |reader| reader.power_off(slot));
            assert!(reader.atr(slot).is_empty());
        }
        3 | 4 => {
            let protocol = if operation % 12 == 3 {
                Protocol::T0
            } else {
                Protocol::T1
            };
            let result = bounded(reader, |reader| reader.set_protocol(slot, protocol));
            let current = reader.current(slot);
            if result.is_ok() {
                let current = current.expect("a protocol was chosen");
                assert_eq!(current.parameters.protocol(), protocol as u8);
                assert!((1..=254).contains(&current.ifsd));
            }
            assert_eq!(reader.bits_per_second(slot).is_some(), current.is_some());
        }
        5 => {
            let apdu = APDUS[usize::from(choice >> 4 & 3)];
            length(
                bounded(reader, |reader| reader.transmit(slot, apdu, answer)),
                room,
            );
        }
        6 => {
            let apdu = match choice >> 4 & 3 {
                0 => APDUS[4].to_vec(),
                1 => APDUS[5].to_vec(),
                // An extended one, as long as T=0 needs ENVELOPE for, and more than one message.
                2 => [&[0x00, 0xD6, 0x00, 0x00, 0x00, 0x02, 0x58][..], &[0x5A; 600]].concat(),
                _ => input.piece().to_vec(),
            };
            length(
                bounded(reader, |reader| reader.transmit(slot, &apdu, answer)),
                room,
            );
        }
        7 => {
            let _ = bounded(reader, |reader| reader.presence(slot));
        }
        8 => {
            let code = CONTROLS[usize::from(input.byte()) % CONTROLS.len()];
            let data = input.piece();
            length(
                bounded(reader, |reader| reader.control(slot, code, data, answer)),
                room,
            );
        }
        9 => {
            let data = input.piece();
            length(bounded(reader, |reader| reader.escape(slot, data, answer)), room);
        }
        10 => {
            const OTHERS: [u32; 6] = [
                attributes::ICC_PRESENCE,
                attributes::ICC_INTERFACE_STATUS,
                attributes::ATR_STRING,
                attributes::MAXINPUT,
                attributes::DEVICE_FRIENDLY_NAME,
                attributes::VENDOR_NAME,
            ];
            let number = u32::from(input.byte());
            let id = match OTHERS.get(usize::from(choice >> 4 & 3)) {
                Some(id) if number & 0x10 == 0 => *id,
                _ => attributes::CURRENT_PROTOCOL_TYPE + number % 12,
            };
            let name = Some("reader");
            length(
                bounded(reader, |reader| reader.attribute(slot, id, name, answer)),
                room,
            );
        }
        _ => {
            let function = input.byte();
            let _ = bounded(reader, |reader| reader.mechanical(slot, function));
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let (line, choices) = (input.byte(), input.byte());
    let fault = (input.byte(), input.byte());
    let Ok(descriptor) = ClassDescriptor::parse(&[&[54, 0x21], input.bytes(52)].concat()) else {
        return;
    };
    let mut interface = Interface::default();
    interface.class = 0x0B;
    interface.flavour =
        [Flavour::Ccid, Flavour::Ccid, Flavour::IccdA, Flavour::IccdB][usize::from(choices & 3)];
    (interface.bulk_out, interface.bulk_in) = (Some(0x01), Some(0x82));
    interface.descriptor = descriptor;
    let [vendor, product, release] = device_of(line);
    let mut device = DeviceInfo::new(vendor, product, release);
    if choices & 0x40 != 0 {
        device.path = "1-2:1.0".into();
    }
    let mut options = ReaderOptions::default();
    options.any_firmware = choices & 0x04 == 0;
    options.allow_escape = choices & 0x08 == 0;
    let mut calls = Input(input.piece());
    let end = [End::Silence, End::Last, End::Again, End::Gone][usize::from(choices >> 4 & 3)];
    let script = Script::new(input.0, end, fault);
    let mut reader = match Reader::open(script, device, &interface, options) {
        Ok(reader) => reader,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    while !calls.0.is_empty() {
        call(&mut reader, &mut calls);
    }
});
