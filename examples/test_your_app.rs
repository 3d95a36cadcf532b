//! How to test a program that uses smart cards: a program, the card that it expects, and the tests.
//!
//! The program opens a door for the holder of a badge. It selects the badge's application, verifies the
//! holder's PIN and reads the holder's name. The tests give it a card in a simulated reader: no hardware, no
//! daemon, no root.

#![allow(missing_docs, reason = "a test")]

/// The program under test. It has no code for the simulation.
mod door {
    use std::ffi::CStr;

    use pcsc_client::{Card, Context, Disposition, Error, Protocols, ShareMode};

    pub const AID: &[u8] = b"\xF0BADGE";

    #[derive(Debug, PartialEq)]
    pub enum Refusal {
        /// No card, or none that answers.
        NoBadge(Error),
        /// A card without our application.
        WrongCard,
        /// So many tries are left.
        WrongPin(u8),
        /// The card was pulled out too early.
        Interrupted,
    }

    /// Returns the name of the badge's holder.
    pub fn open(context: &Context, reader: &CStr, pin: &str) -> Result<String, Refusal> {
        let mut card = context
            .connect(reader, ShareMode::Shared, Protocols::ANY)
            .map_err(Refusal::NoBadge)?;
        let badge = card.transaction().map_err(Refusal::NoBadge)?;
        match exchange(&badge, &[0x00, 0xA4, 0x04, 0x00], AID)? {
            (_, 0x9000) => (),
            _ => return Err(Refusal::WrongCard),
        }
        match exchange(&badge, &[0x00, 0x20, 0x00, 0x81], pin.as_bytes())? {
            (_, 0x9000) => (),
            (_, status @ 0x63C0..=0x63CF) => return Err(Refusal::WrongPin((status & 0x0F) as u8)),
            (_, 0x6983) => return Err(Refusal::WrongPin(0)),
            _ => return Err(Refusal::WrongCard),
        }
        let (name, status) = exchange(&badge, &[0x00, 0xB0, 0x00, 0x00, 0x00], &[])?;
        // The PIN counts as verified until the card is reset.
        badge
            .end(Disposition::ResetCard)
            .map_err(|(_, _)| Refusal::Interrupted)?;
        match (String::from_utf8(name), status) {
            (Ok(name), 0x9000) => Ok(name),
            _ => Err(Refusal::WrongCard),
        }
    }

    fn exchange(card: &Card, header: &[u8], data: &[u8]) -> Result<(Vec<u8>, u16), Refusal> {
        let mut command = header.to_vec();
        if !data.is_empty() {
            command.push(data.len() as u8);
            command.extend(data);
        }
        let mut buffer = [0; pcsc_client::MAX_BUFFER_SIZE];
        let response = card.transmit(&command, &mut buffer);
        let response = response.map_err(|_| Refusal::Interrupted)?;
        let Some((data, status)) = response.split_last_chunk() else {
            return Err(Refusal::WrongCard);
        };
        Ok((data.to_vec(), u16::from_be_bytes(*status)))
    }
}

use door::Refusal;
use pcsc_client::sim::{Behaviour, Simulation, VirtualCard, VirtualReader};
use pcsc_client::{Context, Error};

/// A badge, as far as the program uses it.
struct Badge {
    holder: &'static str,
    tries: u8,
    is_selected: bool,
    is_verified: bool,
}

impl Badge {
    fn of(holder: &'static str) -> Badge {
        Badge {
            holder,
            tries: 3,
            is_selected: false,
            is_verified: false,
        }
    }
}

impl VirtualCard for Badge {
    fn reset(&mut self) {
        (self.is_selected, self.is_verified) = (false, false);
    }

    fn transmit(&mut self, command: &[u8]) -> Vec<u8> {
        match command {
            [0x00, 0xA4, 0x04, 0x00, _, aid @ ..] if aid == door::AID => {
                self.is_selected = true;
                vec![0x90, 0x00]
            }
            [0x00, 0xA4, 0x04, ..] => vec![0x6A, 0x82],
            _ if !self.is_selected => vec![0x6D, 0x00],
            [0x00, 0x20, 0x00, 0x81, ..] if self.tries == 0 => vec![0x69, 0x83],
            [0x00, 0x20, 0x00, 0x81, _, pin @ ..] => {
                self.is_verified = pin == b"1234";
                self.tries = if self.is_verified { 3 } else { self.tries - 1 };
                match self.is_verified {
                    true => vec![0x90, 0x00],
                    false => vec![0x63, 0xC0 | self.tries],
                }
            }
            [0x00, 0xB0, 0x00, 0x00, _] if !self.is_verified => vec![0x69, 0x82],
            [0x00, 0xB0, 0x00, 0x00, _] => [self.holder.as_bytes(), &[0x90, 0x00]].concat(),
            _ => vec![0x6D, 0x00],
        }
    }
}

/// A reader and a context on it. Each test has its own, so that tests run in parallel.
fn simulate() -> (VirtualReader, Context) {
    let bus = Simulation::new();
    let reader = bus.plug("scr3310").unwrap();
    (reader, bus.context().unwrap())
}

#[test]
fn the_door_opens_for_a_badge_and_its_pin() {
    let (reader, context) = simulate();
    reader.insert(Badge::of("Ada Lovelace"));
    let opened = door::open(&context, reader.name(), "1234");
    assert_eq!(opened, Ok("Ada Lovelace".into()));
}

#[test]
fn the_next_person_has_to_enter_the_pin_again() {
    let (reader, context) = simulate();
    reader.insert(Badge::of("Ada Lovelace"));
    assert!(door::open(&context, reader.name(), "1234").is_ok());
    let opened = door::open(&context, reader.name(), "4321");
    assert_eq!(opened, Err(Refusal::WrongPin(2)));
}

#[test]
fn three_wrong_pins_block_the_badge() {
    let (reader, context) = simulate();
    reader.insert(Badge::of("Mallory"));
    let opened = ["0000", "1111", "2222", "1234"].map(|pin| door::open(&context, reader.name(), pin));
    assert_eq!(opened, [2, 1, 0, 0].map(|left| Err(Refusal::WrongPin(left))));
}

#[test]
fn another_card_or_none_opens_nothing() {
    struct Other;
    impl VirtualCard for Other {
        fn transmit(&mut self, _: &[u8]) -> Vec<u8> {
            vec![0x6A, 0x82]
        }
    }
    let (reader, context) = simulate();
    let opened = door::open(&context, reader.name(), "1234");
    assert_eq!(opened, Err(Refusal::NoBadge(Error::NoSmartcard)));
    reader.insert(Other);
    let opened = door::open(&context, reader.name(), "1234");
    assert_eq!(opened, Err(Refusal::WrongCard));
}

#[test]
fn a_badge_that_is_pulled_out_too_early_opens_nothing() {
    // SELECT has 11 bytes and VERIFY 9; T=1 adds four bytes to each.
    for after in 1..40 {
        let (reader, context) = simulate();
        reader.set_behaviour(Behaviour {
            removed_after: Some(after),
            ..Behaviour::default()
        });
        reader.insert(Badge::of("Ada Lovelace"));
        let opened = door::open(&context, reader.name(), "1234");
        assert!(
            matches!(opened, Err(Refusal::Interrupted | Refusal::NoBadge(_))),
            "after {after} bytes: {opened:?}"
        );
    }
}
