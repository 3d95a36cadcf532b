//! The node address of T=1 (ISO/IEC 7816-3, clause 11.3.2.1), which an application chooses for a card until
//! its reset.

mod common;

use common::{card, named, open, pattern, power_up, read, transmit};
use pcsc_ccid::part10::NAD;
use pcsc_ccid::reader::{Protocol, Reader, ReaderError};
use pcsc_sim::card::{Behaviour, Burst, CharacterCard, LineSettings, Offer, SimCard};
use pcsc_sim::{SimHandle, SimTransport};

/// A card that answers no blocks but those to NAD 0. A PPS request begins with FF.
struct Particular(SimCard);

impl CharacterCard for Particular {
    fn reset(&mut self, line: LineSettings) -> Burst {
        self.0.reset(line)
    }

    fn power_off(&mut self) {
        self.0.power_off();
    }

    fn hear(&mut self, bytes: &[u8], line: LineSettings) -> Burst {
        match bytes {
            [0x00 | 0xFF, ..] => self.0.hear(bytes, line),
            _ => Burst::default(),
        }
    }
}

fn ready(card: impl CharacterCard + 'static) -> (SimHandle, Reader<SimTransport>) {
    let (handle, mut reader) = open(named("gempc-express"));
    handle.insert(0, card);
    power_up(&mut reader, Protocol::T1).unwrap();
    (handle, reader)
}

fn set(reader: &mut Reader<SimTransport>, nad: u8) {
    let mut answer = [0; 4];
    assert_eq!(
        reader.control(0, NAD, &[0x3E, 0x00, 0x01, nad], &mut answer),
        Ok(4)
    );
    assert_eq!(answer, [0x3E, 0x00, 0x01, 0x00], "{nad:02X}");
}

fn get(reader: &mut Reader<SimTransport>) -> u8 {
    let mut answer = [0; 5];
    assert_eq!(reader.control(0, NAD, &[0x3F, 0x00, 0x00], &mut answer), Ok(5));
    assert_eq!(answer[..4], [0x3F, 0x00, 0x02, 0x00]);
    answer[4]
}

#[test]
fn it_lasts_until_the_reset() {
    let (_handle, mut reader) = ready(card(None, &[Offer::T1], Behaviour::default()));
    assert_eq!(get(&mut reader), 0);
    set(&mut reader, 0x21);
    assert_eq!(transmit(&mut reader, &read(200)), Ok(pattern(200)));
    assert_eq!(get(&mut reader), 0x21);
    power_up(&mut reader, Protocol::T1).unwrap();
    assert_eq!(get(&mut reader), 0);
    assert_eq!(transmit(&mut reader, &read(200)), Ok(pattern(200)));
}

/// CCID's example sends 2A. Nothing but FF, which begins a PPS request, is no node address.
#[test]
fn any_but_that_of_a_pps_request_is_taken() {
    let (_handle, mut reader) = ready(card(None, &[Offer::T1], Behaviour::default()));
    for nad in 0..=0xFE {
        set(&mut reader, nad);
        assert_eq!(transmit(&mut reader, &read(9)), Ok(pattern(9)), "{nad:02X}");
        assert_eq!(get(&mut reader), nad);
    }
    let mut answer = [0; 4];
    assert_eq!(reader.control(0, NAD, &[0x3E, 0, 1, 0xFF], &mut answer), Ok(4));
    assert_eq!(answer, [0x3E, 0, 1, 1]);
    assert_eq!(get(&mut reader), 0xFE);
}

/// Where the reader speaks T=1, there is no way to its node address.
#[test]
fn a_reader_of_apdus_has_none() {
    let (handle, mut reader) = open(named("omnikey-5321"));
    handle.insert(0, card(None, &[Offer::T1], Behaviour::default()));
    power_up(&mut reader, Protocol::T1).unwrap();
    for request in [&[0x3E, 0x00, 0x01, 0x2A][..], &[0x3F, 0x00, 0x00]] {
        assert_eq!(
            reader.control(0, NAD, request, &mut [0; 5]),
            Err(ReaderError::Unsupported)
        );
    }
}

#[test]
fn one_that_the_card_does_not_answer_is_left_by_a_reset() {
    // At its only speed the application resets it; at a raised one the driver does so by itself.
    for ta1 in [None, Some(0x96)] {
        let (_handle, mut reader) = ready(Particular(card(ta1, &[Offer::T1], Behaviour::default())));
        set(&mut reader, 0x21);
        let failed = transmit(&mut reader, &read(9)).unwrap_err();
        match ta1 {
            None => power_up(&mut reader, Protocol::T1).unwrap(),
            Some(_) => assert_eq!(failed, ReaderError::CardReset),
        }
        assert_eq!(transmit(&mut reader, &read(9)), Ok(pattern(9)), "{ta1:02X?}");
    }
}
