//! PIN entry at the reader, at each level of exchange: what is typed goes to the card and nowhere else, and
//! the application gets a status word.

mod common;

use std::time::Duration;

use common::{card, named, open_through, transmit};
use pcsc_ccid::internals::waiting::LONGEST;
use pcsc_ccid::part10::pin::{Modification, Verification};
use pcsc_ccid::part10::{Feature, GET_FEATURE_REQUEST};
use pcsc_ccid::reader::{Protocol, Reader, ReaderError, Reset};
use pcsc_ccid::t1::Edc;
use pcsc_ccid::transport::TransportError;
use pcsc_sim::card::{Behaviour, Offer};
use pcsc_sim::usb_record::{RecordTransport, RecordedDevice, UsbRecorder};
use pcsc_sim::{Key, KeypadEntry, SimHandle, SimTransport};

type Recorded = RecordTransport<SimTransport, Vec<u8>>;

/// Opens a reader whose transfers are recorded.
fn open_recorded(device: pcsc_sim::SimDevice) -> (SimHandle, Result<Reader<Recorded>, ReaderError>) {
    let recorded = RecordedDevice::of_model(device.model()).unwrap();
    let recorder = UsbRecorder::new(&recorded, Vec::new()).unwrap();
    open_through(device, |transport| recorder.transport(transport))
}

fn record(reader: &mut Reader<Recorded>) -> String {
    String::from_utf8(reader.transport().output()).unwrap()
}

/// A level and a protocol by a reader that has them.
const PADS: [(&str, Protocol); 6] = [
    ("gempc-pinpad", Protocol::T0),
    ("gempc-pinpad", Protocol::T1),
    ("omnikey-5321", Protocol::T0),
    ("omnikey-5321", Protocol::T1),
    ("acr1252-picc", Protocol::T1),
    ("yubikey", Protocol::T1),
];

/// The reader with a PIN pad, whatever it has in the field, and a card whose PIN is 1234.
fn pad(name: &str, protocol: Protocol, behaviour: Behaviour) -> (SimHandle, Reader<Recorded>) {
    let mut model = named(name).model().clone();
    if model.descriptor.pin_support == 0 {
        (model.identity.vendor_id, model.identity.product_id) = (0x1234, 0x5678);
        model.descriptor.pin_support = 3;
    }
    let (handle, reader) = open_recorded(pcsc_sim::SimDevice::new(model));
    let mut reader = reader.unwrap();
    let offers: &[Offer] = match protocol {
        Protocol::T0 => &[Offer::T0],
        Protocol::T1 => &[Offer::T1],
    };
    handle.insert(0, card(Some(0x95), offers, behaviour));
    reader.power_on(0, Reset::Cold).unwrap();
    reader.set_protocol(0, protocol).unwrap();
    (handle, reader)
}

fn types(handle: &SimHandle, digits: &str) {
    handle.with(|device| device.will_type(KeypadEntry::pin(digits)));
}

const VERIFY: [u8; 9] = [0x00, 0x20, 0x00, 0x01, 0x04, 0xFF, 0xFF, 0xFF, 0xFF];
const CHANGE: [u8; 13] = [
    0x00, 0x24, 0x00, 0x01, 0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
];

/// PIN_VERIFY: 30 s; ASCII, left, in bytes; a block of 4 bytes; 4 to 4 digits; ended with the key; one
/// message.
fn verification() -> Vec<u8> {
    let mut bytes = vec![
        30, 30, 0x82, 0x04, 0x00, 4, 4, 0x02, 1, 0x09, 0x04, 0, 0, 0, 0, 9, 0, 0, 0,
    ];
    bytes.extend(VERIFY);
    bytes
}

/// PIN_MODIFY: likewise; the old PIN at 0 and the new one at 4, both typed, the new one twice; three
/// messages.
fn modification() -> Vec<u8> {
    let mut bytes = vec![
        30, 30, 0x82, 0x04, 0x00, 0, 4, 4, 4, 0x03, 0x02, 3, 0x09, 0x04, 0, 1, 2, 0, 0, 0, 13, 0, 0, 0,
    ];
    bytes.extend(CHANGE);
    bytes
}

fn control(reader: &mut Reader<Recorded>, feature: Feature, data: &[u8]) -> Result<Vec<u8>, ReaderError> {
    let mut answer = [0; 300];
    let length = reader.control(0, feature.code(), data, &mut answer)?;
    Ok(answer[..length].to_vec())
}

fn verify(reader: &mut Reader<Recorded>) -> Result<Vec<u8>, ReaderError> {
    control(reader, Feature::VerifyPinDirect, &verification())
}

/// The file that the PIN protects: in DF 5015, EF 4403.
fn read_secret(reader: &mut Reader<Recorded>) -> Vec<u8> {
    let df = [&[0x00, 0xA4, 0x04, 0x0C, 7][..], b"PKCS-15"].concat();
    assert_eq!(transmit(reader, &df), Ok(vec![0x90, 0x00]));
    assert_eq!(
        transmit(reader, &[0x00, 0xA4, 0x02, 0x0C, 2, 0x44, 0x03]),
        Ok(vec![0x90, 0x00])
    );
    transmit(reader, &[0x00, 0xB0, 0x00, 0x00, 6]).unwrap()
}

/// Neither the digits nor their codes went over USB, and none are in the record.
fn check_secrecy(handle: &SimHandle, reader: &mut Reader<Recorded>, digits: &[&str]) {
    for digits in digits {
        let ascii = digits.as_bytes();
        let hex: String = ascii.iter().map(|byte| format!("{byte:02X}")).collect();
        assert!(!record(reader).contains(&hex), "{digits} is recorded");
        handle.with(|device| {
            for entry in device.log() {
                let is_there = entry.bytes.windows(ascii.len()).any(|window| window == ascii);
                assert!(!is_there, "{digits} in {:02X?}", entry.bytes);
            }
        });
    }
}

#[test]
fn features_are_told() {
    for (name, protocol) in PADS {
        let (_, mut reader) = pad(name, protocol, Behaviour::default());
        let mut answer = [0; 64];
        let length = reader.control(0, GET_FEATURE_REQUEST, &[], &mut answer).unwrap();
        let tags: Vec<u8> = answer[..length].chunks(6).map(|entry| entry[0]).collect();
        assert!(
            tags.contains(&0x06) && tags.contains(&0x07),
            "{name}: {tags:02X?}"
        );
    }
}

#[test]
fn the_right_pin_opens_the_card() {
    for (name, protocol) in PADS {
        let (handle, mut reader) = pad(name, protocol, Behaviour::default());
        assert_eq!(read_secret(&mut reader), [0x69, 0x82], "{name} {protocol:?}");
        types(&handle, "1234");
        assert_eq!(verify(&mut reader), Ok(vec![0x90, 0x00]), "{name} {protocol:?}");
        assert_eq!(read_secret(&mut reader), b"secret\x90\x00", "{name} {protocol:?}");
        check_secrecy(&handle, &mut reader, &["1234"]);
    }
}

#[test]
fn a_wrong_pin_is_counted_by_the_card() {
    for (name, protocol) in PADS {
        let (handle, mut reader) = pad(name, protocol, Behaviour::default());
        for (typed, status) in [
            ("1111", [0x63, 0xC2]),
            ("2222", [0x63, 0xC1]),
            ("1234", [0x90, 0]),
        ] {
            types(&handle, typed);
            assert_eq!(verify(&mut reader), Ok(status.to_vec()), "{name} {protocol:?}");
        }
        assert_eq!(read_secret(&mut reader), b"secret\x90\x00", "{name} {protocol:?}");
    }
}

#[test]
fn cancel_and_no_entry_are_status_words_and_the_card_hears_nothing() {
    for (name, protocol) in PADS {
        let (handle, mut reader) = pad(name, protocol, Behaviour::default());
        let heard = |handle: &SimHandle| handle.with(|device| device.tally(0).to_card);
        for (key, status) in [
            (Key::Cancel, [0x64, 0x01]),
            (Key::Nothing, [0x64, 0x00]),
            // Three digits: the pad does not end with them.
            (Key::Pin("123".into()), [0x64, 0x00]),
        ] {
            let before = heard(&handle);
            let takes = Duration::from_secs(2);
            handle.with(|device| device.will_type(KeypadEntry { takes, key }));
            assert_eq!(verify(&mut reader), Ok(status.to_vec()), "{name} {protocol:?}");
            assert_eq!(heard(&handle), before, "{name} {protocol:?}");
            // T=1 goes on as if nothing had been.
            assert_eq!(
                read_secret(&mut reader),
                [0x69, 0x82],
                "{name} {protocol:?} {status:02X?}"
            );
        }
        types(&handle, "1234");
        assert_eq!(verify(&mut reader), Ok(vec![0x90, 0x00]), "{name} {protocol:?}");
        assert_eq!(read_secret(&mut reader), b"secret\x90\x00", "{name} {protocol:?}");
    }
}

/// Nobody types at once: the reader asks for time, once a second, up to what the structure allows.
#[test]
fn a_slow_typist_is_waited_for() {
    for (name, protocol) in PADS {
        let (handle, mut reader) = pad(name, protocol, Behaviour::default());
        let begin = handle.with(|device| {
            let takes = Duration::from_millis(29_500);
            let key = Key::Pin("1234".into());
            device.will_type(KeypadEntry { takes, key });
            device.now()
        });
        assert_eq!(verify(&mut reader), Ok(vec![0x90, 0x00]), "{name} {protocol:?}");
        let took = handle.with(|device| device.now()) - begin;
        assert!(took >= Duration::from_millis(29_500), "{took:?}");
        // One that takes longer than the reader waits.
        let begin = handle.with(|device| {
            let takes = Duration::from_secs(40);
            let key = Key::Pin("1234".into());
            device.will_type(KeypadEntry { takes, key });
            device.now()
        });
        assert_eq!(verify(&mut reader), Ok(vec![0x64, 0x00]), "{name} {protocol:?}");
        let took = handle.with(|device| device.now()) - begin;
        assert!(took < Duration::from_secs(31), "{took:?}");
    }
}

/// A card asks for time while it checks the PIN: at TPDU level the block comes to us, before the status word.
#[test]
fn a_card_s_waiting_time_extension_before_the_status_word() {
    for (name, protocol) in PADS {
        for wtx in [1, 5] {
            let behaviour = Behaviour {
                wtx,
                wtx_multiplier: 4,
                nulls: wtx,
                ..Behaviour::default()
            };
            let context = format!("{name} {protocol:?} {wtx}");
            let (handle, mut reader) = pad(name, protocol, behaviour);
            for (typed, status) in [("1111", [0x63, 0xC2]), ("1234", [0x90, 0x00])] {
                types(&handle, typed);
                assert_eq!(verify(&mut reader), Ok(status.to_vec()), "{context}");
            }
            assert_eq!(read_secret(&mut reader), b"secret\x90\x00", "{context}");
        }
    }
}

#[test]
fn a_card_may_ask_for_time_as_often_as_it_needs() {
    let behaviour = Behaviour {
        wtx: 1100,
        ..Behaviour::default()
    };
    let (handle, mut reader) = pad("gempc-pinpad", Protocol::T1, behaviour);
    types(&handle, "1234");
    assert_eq!(verify(&mut reader), Ok(vec![0x90, 0x00]));
}

#[test]
fn a_card_that_asks_for_time_for_ever_is_an_error() {
    let (handle, mut reader) = pad("gempc-pinpad", Protocol::T1, Behaviour::wtx_for_ever());
    let begin = handle.with(|device| device.now());
    types(&handle, "1234");
    assert_eq!(verify(&mut reader), Err(ReaderError::TooSlow));
    let took = handle.with(|device| device.now()) - begin;
    assert!(took < Duration::from_secs(600) + LONGEST, "{took:?}");
}

/// A command that was given up leaves the card with other sequence numbers than the driver.
#[test]
fn a_card_out_of_step_is_resynchronised_before_a_pin_is_typed() {
    let slow = Behaviour {
        time: Duration::from_secs(20),
        ..Behaviour::default()
    };
    let (handle, mut reader) = pad("gempc-pinpad", Protocol::T1, slow);
    let soon = handle.with(|device| device.now()) + Duration::from_secs(1);
    let given_up = reader.with_deadline(Some(soon), |reader| transmit(reader, &common::read(9)));
    assert_eq!(given_up, Err(TransportError::Cancelled.into()));
    types(&handle, "1234");
    assert_eq!(verify(&mut reader), Ok(vec![0x90, 0x00]));
    assert_eq!(read_secret(&mut reader), b"secret\x90\x00");
}

#[test]
fn a_card_pulled_while_a_pin_is_typed() {
    for (name, protocol) in PADS {
        let (handle, mut reader) = pad(name, protocol, Behaviour::default());
        let now = handle.with(|device| {
            let takes = Duration::from_secs(10);
            let key = Key::Pin("1234".into());
            device.will_type(KeypadEntry { takes, key });
            device.now()
        });
        handle.schedule(now + Duration::from_secs(3), pcsc_sim::SimEvent::Remove(0));
        assert_eq!(
            verify(&mut reader),
            Err(ReaderError::NoCard),
            "{name} {protocol:?}"
        );
        assert!(reader.atr(0).is_empty());
    }
}

#[test]
fn the_pin_is_changed() {
    for (name, protocol) in PADS {
        let context = format!("{name} {protocol:?}");
        let (handle, mut reader) = pad(name, protocol, Behaviour::default());
        let mut modify = |typed: &[&str]| {
            typed.iter().for_each(|digits| types(&handle, digits));
            control(&mut reader, Feature::ModifyPinDirect, &modification())
        };
        assert_eq!(
            modify(&["1111", "5678", "5678"]),
            Ok(vec![0x63, 0xC2]),
            "{context}"
        );
        assert_eq!(
            modify(&["1234", "5678", "5679"]),
            Ok(vec![0x64, 0x01]),
            "{context}: the new PIN was typed twice, differently"
        );
        assert_eq!(
            modify(&["1234", "5678", "5678"]),
            Ok(vec![0x90, 0x00]),
            "{context}"
        );
        types(&handle, "1234");
        assert_eq!(verify(&mut reader), Ok(vec![0x63, 0xC2]), "{context}");
        types(&handle, "5678");
        assert_eq!(verify(&mut reader), Ok(vec![0x90, 0x00]), "{context}");
        assert_eq!(read_secret(&mut reader), b"secret\x90\x00", "{context}");
        check_secrecy(&handle, &mut reader, &["1234", "5678"]);
    }
}

/// A PIN that the application sends itself is in no record either; nor is one that it puts into a structure.
#[test]
fn no_pin_is_in_a_record_or_in_debug_output() {
    for (name, protocol) in PADS {
        let (_, mut reader) = pad(name, protocol, Behaviour::default());
        let apdu = [&VERIFY[..5], b"1234"].concat();
        assert_eq!(transmit(&mut reader, &apdu), Ok(vec![0x90, 0x00]));
        assert!(!record(&mut reader).contains("31323334"), "{name} {protocol:?}");
        let text = format!("{reader:?}");
        assert!(text.contains("max_message_length"), "{text}");
        assert!(!text.contains("49, 50, 51, 52"), "{text}");
    }
    let mut verify = verification();
    verify[24..].copy_from_slice(b"1234");
    let mut modify = modification();
    modify[29..33].copy_from_slice(b"1234");
    let texts = [
        format!("{:?}", Verification::decode(&verify).unwrap()),
        format!("{:?}", Modification::decode(&modify).unwrap()),
    ];
    for text in texts {
        for digits in ["31, 32", "49, 50", "31323334", "1234", "0x31"] {
            assert!(!text.contains(digits), "{text}");
        }
    }
}

/// As characters, as a chain of blocks, as parts of an APDU.
#[test]
fn no_pin_is_in_a_record_of_more_messages_than_one() {
    let with_small_messages = |device: pcsc_sim::SimDevice| {
        let mut model = device.model().clone();
        model.descriptor.max_message_length = 64;
        pcsc_sim::SimDevice::new(model)
    };
    // IFSC 32.
    let short_blocks = Offer::T1 {
        ifsc: None,
        bwi_cwi: None,
        edc: Edc::Lrc,
    };
    for (device, protocol, offer) in [
        (named("oz776"), Protocol::T0, Offer::T0),
        (named("ibank2key"), Protocol::T0, Offer::T0),
        (named("gempc-pinpad"), Protocol::T1, short_blocks),
        (with_small_messages(named("yubikey")), Protocol::T1, Offer::T1),
    ] {
        let name = device.model().name.clone();
        let (handle, reader) = open_recorded(device);
        let mut reader = reader.unwrap();
        let byte_by_byte = Behaviour {
            byte_by_byte: true,
            ..Behaviour::default()
        };
        handle.insert(0, card(None, &[offer], byte_by_byte));
        common::power_up(&mut reader, protocol).unwrap();
        let apdu = [&CHANGE[..4], &[64], &b"12345678".repeat(8)].concat();
        let answer = transmit(&mut reader, &apdu).unwrap();
        assert_eq!(answer.len(), 2, "{name}");
        let recorded = record(&mut reader);
        let shows = |line: &&str| {
            let mut fields = line.split(' ').skip(2);
            fields.any(|field| {
                ["3132", "3334", "3536", "3738"]
                    .iter()
                    .any(|two| field.contains(two))
            })
        };
        assert_eq!(recorded.lines().find(shows), None, "{name}");
        // What comes after it is no secret.
        transmit(&mut reader, &common::read(9)).unwrap();
        assert!(record(&mut reader).contains("80EE0009"), "{name}");
    }
}

/// One wrong byte each, of the lengths and of the number of messages: where, and what.
#[test]
fn a_structure_with_a_wrong_field_is_refused_before_anything_is_sent() {
    let wrong_verifications: &[(usize, u8)] = &[(15, 8), (15, 0x0A), (18, 0x01)];
    let wrong_modifications: &[(usize, u8)] = &[(11, 0x04), (20, 12)];
    for (name, protocol) in PADS {
        let (handle, mut reader) = pad(name, protocol, Behaviour::default());
        let before = handle.with(|device| device.counters());
        for (feature, good, wrong) in [
            (Feature::VerifyPinDirect, verification(), wrong_verifications),
            (Feature::ModifyPinDirect, modification(), wrong_modifications),
        ] {
            for &(at, value) in wrong {
                let mut bad = good.clone();
                assert_ne!(bad[at], value);
                bad[at] = value;
                assert_eq!(
                    control(&mut reader, feature, &bad),
                    Err(ReaderError::InvalidParameter),
                    "{name} {feature:?}: byte {at} is {value:02X}"
                );
            }
            for length in 0..good.len() {
                assert_eq!(
                    control(&mut reader, feature, &good[..length]),
                    Err(ReaderError::InvalidParameter),
                    "{name} {feature:?}: {length} bytes"
                );
            }
        }
        assert_eq!(
            handle.with(|device| device.counters()),
            before,
            "{name}: something was sent"
        );
    }
}

/// A card without a protocol chosen, and a reader without a pad.
#[test]
fn what_cannot_be_is_an_error() {
    let (_, mut reader) = pad("gempc-pinpad", Protocol::T1, Behaviour::default());
    reader.power_off(0).unwrap();
    assert_eq!(verify(&mut reader), Err(ReaderError::NotPowered));
    let (_, reader) = open_recorded(named("gempc-express"));
    let mut reader = reader.unwrap();
    assert_eq!(verify(&mut reader), Err(ReaderError::Unsupported));
    assert_eq!(
        control(&mut reader, Feature::ModifyPinDirect, &modification()),
        Err(ReaderError::Unsupported)
    );
}
