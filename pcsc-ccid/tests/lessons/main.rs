//! What readers and cards in the field have broken other drivers with: LESSONS.md says which test answers
//! what.

mod answers;
#[path = "../common/mod.rs"]
mod common;

use std::time::Duration;

use common::liar::Liar;
use common::{
    card, identity, interface, line, named, now, offers, open, open_through, pattern, power_up, read,
    transmit, LEVELS,
};
use pcsc_ccid::descriptor::{self, Features};
use pcsc_ccid::message::{CommandMessage, SlotErrorCode};
use pcsc_ccid::reader::{Presence, Protocol, Reader, ReaderError, ReaderOptions, Reset};
use pcsc_ccid::t1::Edc;
use pcsc_ccid::transport::TransportError;
use pcsc_sim::card::{Behaviour, Offer};
use pcsc_sim::{Lists, MessageDirection, Model, Oddities, SimHandle};

/// The reply with other data, and another announced length.
fn with_data(reply: &[u8], data: &[u8], announced: u32) -> Vec<u8> {
    let mut bytes = reply[..10].to_vec();
    bytes[1..5].copy_from_slice(&announced.to_le_bytes());
    bytes.extend(data);
    bytes
}

const POWER_ON: u8 = 0x62;
const POWER_OFF: u8 = 0x63;
const SET_PARAMETERS: u8 = 0x61;
const EXCHANGE: u8 = 0x6F;

#[test]
fn an_atr_of_any_length() {
    for (sent, announced, expected) in [
        (0usize, 0u32, Err(ReaderError::Slot(SlotErrorCode::Mute))),
        (1, 1, Ok(1)),
        (33, 33, Ok(33)),
        (34, 34, Ok(33)),
        (250, 250, Ok(33)),
        // None of the bytes that are not there.
        (
            2,
            33,
            Err(ReaderError::Malformed(pcsc_ccid::message::Malformed::Truncated)),
        ),
        (2, 0x8000_0000, Err(ReaderError::WrongReply)),
        (2, u32::MAX, Err(ReaderError::WrongReply)),
    ] {
        let mut lies = true;
        let (handle, reader) = open_through(named("gempc-express"), |transport| {
            Liar::new(transport, move |command, reply| {
                let is_it = command[0] == POWER_ON && core::mem::take(&mut lies);
                Ok(match is_it {
                    true => with_data(&reply, &[0x3B; 256][..sent], announced),
                    false => reply,
                })
            })
        });
        let mut reader = reader.unwrap();
        handle.insert(0, card(None, &[Offer::T0], Behaviour::default()));
        let result = reader.power_on(0, Reset::Cold).map(<[u8]>::len);
        let is_as_expected = match (result, expected) {
            // A card that seems mute is tried at the next voltage, and answers there.
            (Ok(2), Err(ReaderError::Slot(_))) => true,
            _ => result == expected,
        };
        assert!(is_as_expected, "{sent} bytes, {announced} announced: {result:?}");
        power_up(&mut reader, Protocol::T0).unwrap();
        assert_eq!(
            transmit(&mut reader, &read(9)),
            Ok(pattern(9)),
            "{announced} announced"
        );
    }
}

/// RDR_to_PC_Parameters with any protocol number and any bytes of any length. Of these the driver believes
/// one statement: that the card has refused the rate, and only from a reader that makes the PPS.
#[test]
fn parameters_of_any_length() {
    const REFUSED: u8 = 0x11;
    for name in ["gempc-express", "scr3310", "omnikey-5321"] {
        for protocol in [Protocol::T0, Protocol::T1] {
            let set_up = |lie: Option<(usize, u8, u8)>| {
                let (handle, reader) = open_through(named(name), |transport| {
                    Liar::new(transport, move |command, reply| {
                        Ok(match lie {
                            Some((length, byte, number)) if command[0] == SET_PARAMETERS => {
                                let mut bytes = with_data(&reply, &vec![byte; length], length as u32);
                                bytes[9] = number;
                                bytes
                            }
                            _ => reply,
                        })
                    })
                });
                let mut reader = reader.unwrap();
                handle.insert(0, card(Some(0x94), offers(protocol), Behaviour::default()));
                power_up(&mut reader, protocol).unwrap();
                (handle, reader)
            };
            let ta1 = |reader: &Reader<_>| reader.current(0).unwrap().parameters.f_index_d_index;
            let (_handle, honest) = set_up(None);
            let asked = ta1(&honest);
            let makes_pps = honest.descriptor().features.has(Features::AUTOMATIC_PPS);
            assert_ne!(asked, REFUSED, "{name}");
            for length in [0usize, 1, 4, 5, 6, 7, 8, 200] {
                for byte in [0x00, REFUSED, asked, 0x96, 0xFF] {
                    for number in [0, 1, 2, 0xFF] {
                        let context = format!("{name} {protocol:?} {length} {byte:02X} {number}");
                        let (_handle, mut reader) = set_up(Some((length, byte, number)));
                        let is_whole = length >= [5, 7][protocol as usize] && number == protocol as u8;
                        let is_refused = makes_pps && is_whole && byte == REFUSED;
                        let expected = if is_refused { REFUSED } else { asked };
                        assert_eq!(ta1(&reader), expected, "{context}");
                        assert_eq!(transmit(&mut reader, &read(200)), Ok(pattern(200)), "{context}");
                    }
                }
            }
        }
    }
}

/// Some readers support no parameters but the default, or none that the host sets (CCID 1.1, table 6.2-2:
/// bError 0 is "not supported", 7 the offset of bProtocolNum, 10 that of bmFindexDindex).
#[test]
fn parameters_that_are_refused() {
    for (name, ta1, is_refused_for_good) in [
        ("gempc-express", None, false),
        ("gempc-express", Some(0x94), true),
        ("omnikey-3x21", Some(0x94), false),
    ] {
        for error in [0, 7, 10] {
            let (handle, reader) = open_through(named(name), |transport| {
                Liar::new(transport, move |command, reply| {
                    let mut reply = reply;
                    if command[0] == SET_PARAMETERS {
                        reply = with_data(&reply, &[], 0);
                        (reply[7], reply[8]) = (0x40, error);
                    }
                    Ok(reply)
                })
            });
            let mut reader = reader.unwrap();
            handle.insert(0, card(ta1, &[Offer::T1], Behaviour::default()));
            power_up(&mut reader, Protocol::T1).unwrap();
            let chosen = reader.current(0).unwrap().parameters.f_index_d_index;
            // What cannot be set is not used: the card goes on at 372/1.
            assert_eq!(
                chosen == 0x11,
                is_refused_for_good || ta1.is_none(),
                "{name} {ta1:02X?} {error}"
            );
            assert_eq!(
                transmit(&mut reader, &read(200)),
                Ok(pattern(200)),
                "{name} {ta1:02X?} {error}"
            );
        }
    }
}

#[test]
fn lists_that_are_refused_short_padded_or_empty() {
    for count in [0, 53] {
        for lists in [
            Lists::Stalled,
            Lists::Short(0),
            Lists::Short(3),
            Lists::Short(9),
            Lists::Padded,
            Lists::Empty,
        ] {
            let mut model = named("gempc-express").model().clone();
            model.descriptor.data_rate_count = count;
            let device = pcsc_sim::SimDevice::new(model).with(Oddities {
                lists,
                ..Oddities::default()
            });
            let (handle, mut reader) = open(device);
            handle.insert(0, card(Some(0x96), &[Offer::T1], Behaviour::default()));
            power_up(&mut reader, Protocol::T1).unwrap();
            // 512/32 is in the list, and below the maximum for a reader without one. A list that is cut where
            // this cannot be detected is used as it is: its two rates are no better than 372/1.
            let expected = match (count, lists) {
                (0, Lists::Short(9)) => (4_000_000, 372, 1),
                _ => (4_000_000, 512, 32),
            };
            assert_eq!(line(&handle), expected, "{count} {lists:?}");
            assert_eq!(transmit(&mut reader, &read(200)), Ok(pattern(200)));
        }
    }
}

#[test]
fn a_slot_that_always_looks_occupied() {
    for (name, protocols) in LEVELS {
        let device = named(name).with(Oddities {
            always_present: true,
            ..Oddities::default()
        });
        let (handle, mut reader) = open(device);
        for _ in 0..3 {
            assert!(reader.power_on(0, Reset::Cold).is_err(), "{name}");
            assert!(reader.atr(0).is_empty());
            assert_eq!(
                transmit(&mut reader, &read(1)),
                Err(ReaderError::NotPowered),
                "{name}"
            );
        }
        handle.insert(0, card(None, offers(protocols[0]), Behaviour::default()));
        power_up(&mut reader, protocols[0]).unwrap();
        assert_eq!(transmit(&mut reader, &read(9)), Ok(pattern(9)), "{name}");
    }
}

/// ACR122U, Elatec TWN4 and SCL011 by the table; others by patience.
#[test]
fn a_first_answer_that_comes_late() {
    for (vendor, product, delay) in [
        (0x072F, 0x2200, 1000),
        (0x09D8, 0x0427, 1000),
        (0x04E6, 0x5293, 350),
        (0x04E6, 0x5724, 350),
        (0x1234, 0x5678, 350),
        (0x1234, 0x5678, 1000),
    ] {
        let mut model = named("acr1252-picc").model().clone();
        (
            model.identity.vendor_id,
            model.identity.product_id,
            model.identity.release,
        ) = (vendor, product, 0x0300);
        let device = pcsc_sim::SimDevice::new(model).with(Oddities {
            first_status_delay: Duration::from_millis(delay),
            ..Oddities::default()
        });
        let (handle, mut reader) = open(device);
        let took = now(&handle);
        assert!(took < Duration::from_secs(5), "{vendor:04X}: {took:?}");
        handle.insert(0, card(None, &[Offer::T1], Behaviour::default()));
        power_up(&mut reader, Protocol::T1).unwrap();
        assert_eq!(transmit(&mut reader, &read(9)), Ok(pattern(9)));
    }
}

/// The card goes while its power is taken, and no reply comes.
#[test]
fn a_card_pulled_during_power_off() {
    let handle_of_the_slot = std::sync::Arc::new(std::sync::Mutex::new(None::<SimHandle>));
    let slot = handle_of_the_slot.clone();
    let (handle, reader) = open_through(named("gempc-express"), |transport| {
        let mut is_first = true;
        Liar::new(transport, move |command, reply| {
            if command[0] == POWER_OFF && core::mem::take(&mut is_first) {
                if let Some(handle) = &*slot.lock().unwrap() {
                    handle.remove(0);
                }
                return Err(TransportError::Timeout);
            }
            Ok(reply)
        })
    });
    *handle_of_the_slot.lock().unwrap() = Some(handle.clone());
    let mut reader = reader.unwrap();
    handle.insert(0, card(None, &[Offer::T1], Behaviour::default()));
    power_up(&mut reader, Protocol::T1).unwrap();
    let begin = now(&handle);
    assert_eq!(
        reader.power_off(0),
        Err(ReaderError::Transport(TransportError::Timeout))
    );
    assert!(now(&handle) - begin < Duration::from_secs(5));
    assert_eq!(reader.presence(0), Ok(Presence::Absent));
    assert_eq!(transmit(&mut reader, &read(1)), Err(ReaderError::NotPowered));
    handle.insert(0, card(None, &[Offer::T1], Behaviour::default()));
    power_up(&mut reader, Protocol::T1).unwrap();
    assert_eq!(transmit(&mut reader, &read(9)), Ok(pattern(9)));
}

#[test]
fn every_reader_of_a_composite_device() {
    let mut first = named("gempc-express").model().clone();
    let mut second = named("acr1252-picc").model().clone();
    (first.number, second.number) = (1, 3);
    let configuration = Model::configuration_descriptor(&[&first, &second], 4);
    let found: Vec<_> = descriptor::interfaces(&configuration)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(found.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 3]);
    assert_ne!(found[0].bulk_in, found[1].bulk_in);
    let mut readers: Vec<_> = [first, second]
        .into_iter()
        .zip(&found)
        .map(|(model, interface)| {
            let identity = identity(&model);
            let handle = SimHandle::new(pcsc_sim::SimDevice::new(model));
            handle.insert(0, card(None, &[Offer::T1], Behaviour::default()));
            Reader::open(handle.transport(), identity, interface, ReaderOptions::default()).unwrap()
        })
        .collect();
    for reader in &mut readers {
        power_up(reader, Protocol::T1).unwrap();
    }
    for length in [1, 100, 256] {
        for reader in &mut readers {
            let answer = pattern(usize::from(length));
            assert_eq!(transmit(reader, &read(length)), Ok(answer));
        }
    }
}

#[test]
fn a_configuration_without_interfaces_or_settings_has_no_readers() {
    let model = named("gempc-express").model().clone();
    let configuration = Model::configuration_descriptor(&[&model], 4);
    assert_eq!(descriptor::interfaces(&configuration).len(), 1);
    assert!(descriptor::interfaces(&configuration[..9]).is_empty());
    assert!(descriptor::interfaces(&[]).is_empty());
    // Cut anywhere, there is one or none, and one without its endpoints says so.
    for length in 0..configuration.len() {
        let found = descriptor::interfaces(&configuration[..length]);
        assert!(found.len() <= 1);
        let has_pipes = length >= 9 + 9 + 54 + 14;
        assert!(found.iter().all(|one| one.is_ok() == has_pipes), "{length}");
    }
    assert_eq!(interface(&model).number, 0);
}

/// The card's own way of T=1, in readers that leave it to the driver: its check bytes and its information
/// field size.
#[test]
fn blocks_are_made_as_the_card_wants_them() {
    for (name, edc, ifsc) in [
        ("gempc-express", Edc::Crc, Some(254)),
        ("gempc-express", Edc::Lrc, Some(16)),
        ("scr3310", Edc::Crc, None),
        ("oz776", Edc::Crc, Some(254)),
        ("oz776", Edc::Lrc, Some(1)),
    ] {
        let (handle, mut reader) = open(named(name));
        let offer = Offer::T1 {
            ifsc,
            bwi_cwi: None,
            edc,
        };
        handle.insert(0, card(None, &[offer], Behaviour::default()));
        power_up(&mut reader, Protocol::T1).unwrap();
        let context = format!("{name} {edc:?} {ifsc:?}");
        for length in [1, 100, 256] {
            assert_eq!(
                transmit(&mut reader, &read(length)),
                Ok(pattern(length.into())),
                "{context}"
            );
        }
        let data = [0x5A; 100];
        let update = [&[0x80, 0xEC, 0, 0, 100][..], &data, &[0]].concat();
        assert_eq!(
            transmit(&mut reader, &update),
            Ok([&data[..], &[0x90, 0]].concat()),
            "{context}"
        );
        // NAD, PCB and LEN before, one or two check bytes behind.
        let longest = 3 + usize::from(ifsc.unwrap_or(32)) + edc.size();
        handle.with(|device| {
            for entry in device
                .log()
                .filter(|entry| entry.direction == MessageDirection::ToReader)
            {
                if let Ok((CommandMessage::XfrBlock { data, .. }, ..)) = CommandMessage::decode(&entry.bytes)
                {
                    assert!(
                        data.len() <= longest.max(5 + edc.size()),
                        "{context}: {data:02X?}"
                    );
                }
            }
        });
    }
}

/// Each of the commands at opening that a reader need not support.
#[test]
fn a_reader_that_goes_while_it_is_asked_for_its_firmware_is_gone() {
    const ESCAPE: u8 = 0x6B;
    for (name, escapes) in [("gempc-express", 2), ("gempc-pinpad", 4)] {
        for last in 1..=escapes {
            let mut seen = 0;
            let (_handle, reader) = open_through(named(name), |transport| {
                Liar::new(transport, move |command, reply| {
                    seen += u32::from(command[0] == ESCAPE);
                    match seen == last {
                        true => Err(TransportError::Gone),
                        false => Ok(reply),
                    }
                })
            });
            let gone = ReaderError::Transport(TransportError::Gone);
            assert_eq!(reader.err(), Some(gone), "{name}, command {last}");
        }
    }
}

/// LESSONS.md names tests that are there.
#[test]
fn the_list_of_lessons_is_true() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut folders = vec![root.join("src"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                Some(kind) if kind == "rs" => sources += &std::fs::read_to_string(path).unwrap(),
                _ if path.is_dir() => folders.push(path),
                _ => (),
            }
        }
    }
    let list = std::fs::read_to_string(root.join("LESSONS.md")).unwrap();
    let named = list
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.rsplit_once("::"));
    let mut count = 0;
    for (_, name) in named.filter(|(_, name)| *name != "CARDS") {
        assert!(sources.contains(&format!("fn {name}(")), "no test {name}");
        count += 1;
    }
    assert!(count > 30, "{count} tests are named");
}
