//! Where a command stops half-way, the next one finds the card as it must be; where it did not begin, nothing
//! is reset.

mod common;

use common::liar::Liar;
use common::{card, message, named, offers, open, open_through, pattern, power_up, read, resets, transmit};
use pcsc_ccid::message::SlotErrorCode;
use pcsc_ccid::part10::Feature;
use pcsc_ccid::reader::{Protocol, Reader, ReaderError};
use pcsc_ccid::transport::Transport;
use pcsc_ccid::{t0::T0Error, t1};
use pcsc_sim::card::{Behaviour, Offer};
use pcsc_sim::{KeypadEntry, Model, SimDevice, SimHandle};

const READERS: &str = include_str!("data/readers.txt");

const SECURE: u8 = 0x69;
const XFR_BLOCK: u8 = 0x6F;

/// PIN_VERIFY for a PIN of 4 digits.
const VERIFICATION: [u8; 28] = [
    30, 30, 0x82, 0x04, 0x00, 4, 4, 0x02, 1, 0x09, 0x04, 0, 0, 0, 0, 9, 0, 0, 0, 0x00, 0x20, 0x00, 0x01,
    0x04, 0xFF, 0xFF, 0xFF, 0xFF,
];

fn listed(name: &str) -> SimDevice {
    let line = READERS.lines().find(|line| line.split('\t').next() == Some(name));
    SimDevice::new(Model::parse(line.unwrap()).unwrap())
}

fn verify<T: Transport>(reader: &mut Reader<T>) -> Result<Vec<u8>, ReaderError> {
    let mut answer = [0; 300];
    let length = reader.control(0, Feature::VerifyPinDirect.code(), &VERIFICATION, &mut answer)?;
    Ok(answer[..length].to_vec())
}

/// The card is mute, says the reader about the first command of this kind that it is asked for.
fn mute_once(
    kind: u8,
    is_asked: impl Fn() -> bool + Send,
) -> impl FnMut(&[u8], Vec<u8>) -> Result<Vec<u8>, pcsc_ccid::transport::TransportError> + Send {
    let mut is_told = false;
    move |command, reply| {
        if is_told || command[0] != kind || !is_asked() {
            return Ok(reply);
        }
        is_told = true;
        let mut lie = message(0x80, &[], [0x40, 0xFE, 0]);
        lie[6] = reply[6];
        Ok(lie)
    }
}

#[test]
fn the_answer_to_a_pin_that_is_lost_is_not_the_next_commands() {
    for protocol in [Protocol::T0, Protocol::T1] {
        let (handle, reader) = open_through(named("gempc-pinpad"), |transport| {
            Liar::new(transport, mute_once(SECURE, || true))
        });
        let mut reader = reader.unwrap();
        handle.insert(0, card(None, offers(protocol), Behaviour::default()));
        power_up(&mut reader, protocol).unwrap();
        handle.with(|device| device.will_type(KeypadEntry::pin("1234")));
        assert_eq!(verify(&mut reader), Err(ReaderError::Slot(SlotErrorCode::Mute)));
        if protocol == Protocol::T0 {
            // There is no other way back.
            assert_eq!(transmit(&mut reader, &read(9)), Err(ReaderError::CardReset));
        }
        assert_eq!(transmit(&mut reader, &read(9)), Ok(pattern(9)), "{protocol:?}");
    }
}

#[test]
fn no_pin_goes_into_what_is_left_of_another_command() {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::Arc;

    let fails = Arc::new(AtomicBool::new(false));
    let is_asked = {
        let fails = fails.clone();
        move || fails.load(Ordering::Relaxed)
    };
    let (handle, reader) = open_through(named("gempc-pinpad"), |transport| {
        Liar::new(transport, mute_once(XFR_BLOCK, is_asked))
    });
    let mut reader = reader.unwrap();
    handle.insert(0, card(None, &[Offer::T0], Behaviour::default()));
    power_up(&mut reader, Protocol::T0).unwrap();
    fails.store(true, Ordering::Relaxed);
    assert_eq!(
        transmit(&mut reader, &read(9)),
        Err(ReaderError::Slot(SlotErrorCode::Mute))
    );
    let heard = || {
        handle.with(|device| {
            device
                .log()
                .filter(|entry| entry.bytes.first() == Some(&SECURE))
                .count()
        })
    };
    assert_eq!(verify(&mut reader), Err(ReaderError::CardReset));
    assert_eq!(heard(), 0);
    handle.with(|device| device.will_type(KeypadEntry::pin("1234")));
    assert_eq!(verify(&mut reader), Ok(vec![0x90, 0x00]));
    assert_eq!(heard(), 1);
}

#[test]
fn more_characters_than_were_asked_for_are_an_error() {
    use T0Error::{InvalidProcedure, UnexpectedData};

    for (procedure, more, error) in [
        (0xEE, 300, InvalidProcedure(0xEE)),
        (!0xEE, 600, InvalidProcedure(!0xEE)),
        (0x90, 300, UnexpectedData),
        (0x61, 2, UnexpectedData),
    ] {
        let mut is_told = false;
        let (handle, reader) = open_through(named("oz776"), |transport| {
            Liar::new(transport, move |command, reply| {
                // The header of READ, in a message of its own.
                if is_told || command[0] != XFR_BLOCK || command.get(11) != Some(&0xEE) {
                    return Ok(reply);
                }
                is_told = true;
                let mut flood = message(0x80, &vec![procedure; more + 1], [0, 0, 0]);
                flood[6] = reply[6];
                Ok(flood)
            })
        });
        let mut reader = reader.unwrap();
        handle.insert(0, card(None, &[Offer::T0], Behaviour::default()));
        power_up(&mut reader, Protocol::T0).unwrap();
        let flooded = transmit(&mut reader, &read(1));
        assert_eq!(flooded, Err(ReaderError::T0(error)), "{procedure:02X}");
        assert_eq!(transmit(&mut reader, &read(9)), Err(ReaderError::CardReset));
        assert_eq!(transmit(&mut reader, &read(9)), Ok(pattern(9)));
    }
}

#[test]
fn a_command_that_was_refused_or_answered_costs_no_reset() {
    let (handle, mut reader) = open(named("scr3310"));
    let knows_no_envelope = Behaviour {
        no_envelope: true,
        ..Behaviour::default()
    };
    handle.insert(0, card(None, &[Offer::T0], knows_no_envelope));
    power_up(&mut reader, Protocol::T0).unwrap();
    let before = resets(&handle);
    let refused = transmit(&mut reader, &[0x80, 0x60, 0, 0]);
    assert_eq!(refused, Err(ReaderError::T0(T0Error::InvalidInstruction(0x60))));
    assert_eq!(transmit(&mut reader, &read(9)), Ok(pattern(9)));
    let long = [&[0x80, 0xEC, 0, 0, 0, 1, 44][..], &[7; 300], &[0, 0]].concat();
    let answered = transmit(&mut reader, &long);
    assert_eq!(answered, Err(ReaderError::T0(T0Error::EnvelopeUnsupported)));
    assert_eq!(transmit(&mut reader, &read(9)), Ok(pattern(9)));
    assert_eq!(resets(&handle), before);
}

/// A reader with a T=0 card. Its answer to the XfrBlock of this number, from 1, is the error.
fn refuses(model: &str, number: u32, error: u8) -> (SimHandle, Reader<impl Transport>) {
    let mut messages = 0;
    let (handle, reader) = open_through(named(model), |transport| {
        Liar::new(transport, move |command, reply| {
            messages += u32::from(command[0] == XFR_BLOCK);
            if messages != number || command[0] != XFR_BLOCK {
                return Ok(reply);
            }
            let mut refusal = message(0x80, &[], [0x40, error, 0]);
            refusal[6] = reply[6];
            Ok(refusal)
        })
    });
    let mut reader = reader.unwrap();
    handle.insert(0, card(None, &[Offer::T0], Behaviour::default()));
    power_up(&mut reader, Protocol::T0).unwrap();
    (handle, reader)
}

#[test]
fn data_that_the_reader_refuses_after_the_header_leave_the_card_half_way() {
    let parameter = Err(ReaderError::Slot(SlotErrorCode::Parameter(8)));
    for (error, refused) in [(8, parameter), (0xF0, Ok(vec![0x64, 0x00]))] {
        let (_handle, mut reader) = refuses("oz776", 2, error);
        let sent = transmit(&mut reader, &[0x80, 0xEC, 0, 0, 3, 1, 2, 3]);
        assert_eq!(sent, refused);
        assert_eq!(transmit(&mut reader, &read(9)), Err(ReaderError::CardReset));
        assert_eq!(transmit(&mut reader, &read(9)), Ok(pattern(9)));
    }
}

#[test]
fn a_command_that_waits_for_its_pin_in_vain_costs_no_reset() {
    let (handle, mut reader) = refuses("scr3310", 1, 0xEF);
    let before = resets(&handle);
    let sent = transmit(&mut reader, &read(9));
    assert_eq!(sent, Ok(vec![0x64, 0x01]));
    assert_eq!(transmit(&mut reader, &read(9)), Ok(pattern(9)));
    assert_eq!(resets(&handle), before);
}

#[test]
fn a_card_that_failed_inside_the_reader_is_doubted_over_t0() {
    for (protocol, after) in [
        (Protocol::T0, Err(ReaderError::CardReset)),
        (Protocol::T1, Ok(pattern(9))),
    ] {
        let (handle, reader) = open_through(named("omnikey-5321"), |transport| {
            Liar::new(transport, mute_once(XFR_BLOCK, || true))
        });
        let mut reader = reader.unwrap();
        handle.insert(0, card(None, offers(protocol), Behaviour::default()));
        power_up(&mut reader, protocol).unwrap();
        assert_eq!(
            transmit(&mut reader, &read(9)),
            Err(ReaderError::Slot(SlotErrorCode::Mute))
        );
        assert_eq!(transmit(&mut reader, &read(9)), after);
        assert_eq!(transmit(&mut reader, &read(9)), Ok(pattern(9)));
    }
}

/// One transfer of the control pipe holds 4096 bytes, with the one that says whether the answer goes on.
#[test]
fn an_answer_that_fills_a_transfer_and_does_not_go_on_was_cut() {
    let mut model = named("starsign").model().clone();
    model.descriptor.max_message_length = 8000;
    let (handle, mut reader) = open(SimDevice::new(model));
    handle.insert(0, card(None, &[Offer::T1], Behaviour::default()));
    power_up(&mut reader, Protocol::T1).unwrap();
    let echo = |length: u16| {
        let [high, low] = length.to_be_bytes();
        [0x80, 0xEE, high, low, 0, high, low]
    };
    assert_eq!(transmit(&mut reader, &echo(4000)), Ok(pattern(4000)));
    assert_eq!(transmit(&mut reader, &echo(5000)), Err(ReaderError::WrongReply));
}

#[test]
fn a_card_that_takes_long_blocks_is_sent_what_the_reader_holds() {
    for name in ["Winbond", "bit4id_minilector-AIR"] {
        let (handle, mut reader) = open(listed(name));
        let takes_more = Behaviour {
            new_ifsc: Some(254),
            ..Behaviour::default()
        };
        handle.insert(0, card(None, &[Offer::T1], takes_more));
        power_up(&mut reader, Protocol::T1).unwrap();
        let data: Vec<u8> = (0..255).collect();
        let command = [&[0x80, 0xEC, 0, 0, 255][..], &data, &[0]].concat();
        for _ in 0..3 {
            let answer = transmit(&mut reader, &command);
            assert_eq!(answer, Ok([&data[..], &[0x90, 0x00]].concat()), "{name}");
        }
    }
}

#[test]
fn an_engine_sends_no_more_than_it_may() {
    let mut engine = t1::Engine::new(t1::Config {
        ifsc: 254,
        longest: 128,
        ifsd: 32,
        ..t1::Config::default()
    });
    let mut response = [0; 258];
    let mut exchange = engine.exchange(&[0; 200], &mut response);
    assert!(matches!(exchange.start(), t1::T1Action::Send { .. }));
    assert_eq!(exchange.block().len(), 3 + 128 + 1);
}
