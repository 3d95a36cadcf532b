//! A card application behind a vpcd driver, whose messages are APDUs.

use std::time::Duration;

use apdu_app::App;
use iso7816::{Command, Instruction, Interface, Status};

/// What an OpenPGP card may send or receive in one APDU.
const LONGEST: usize = 7609;
/// T=1 and the historical bytes of an OpenPGP card, which OpenSC recognises it by.
const ATR: &[u8] = &[
    0x3B, 0xDA, 0x18, 0xFF, 0x81, 0xB1, 0xFE, 0x75, 0x1F, 0x03, 0x00, 0x31, 0xF5, 0x73, 0xC0, 0x01, 0x60,
    0x00, 0x90, 0x00, 0x1C,
];

/// When to look for the next driver. One of our library's gives its first card a second.
const AGAIN: Duration = Duration::from_millis(2);

/// One application as a card: command chaining and GET RESPONSE (ISO 7816-4 clauses 5.3.3 and 11.7.1), which
/// an application leaves to its platform.
struct Card<A> {
    app: A,
    chained: Option<Command<LONGEST>>,
    pending: Vec<u8>,
    status: [u8; 2],
}

impl<A: App> Card<A> {
    /// Sends up to `ne` bytes of what is pending, then how much is left or the status.
    fn answer(&mut self, ne: usize) -> Vec<u8> {
        let rest = self.pending.split_off(ne.min(self.pending.len()));
        let mut response = std::mem::replace(&mut self.pending, rest);
        response.extend(match self.pending.len() {
            0 => self.status,
            left => [0x61, left.min(255) as u8],
        });
        response
    }

    /// A DF name may be cut on its right (clause 11.1.1), down to the RID.
    fn is_named(&self, name: &[u8]) -> bool {
        let aid = self.app.aid();
        name.starts_with(aid.truncated()) || (name.len() >= 5 && aid.as_bytes().starts_with(name))
    }

    fn run(&mut self, command: &Command<LONGEST>) {
        let mut reply = heapless::Vec::<u8, LONGEST>::new();
        let view = command.as_view();
        let is_by_name = command.instruction() == Instruction::Select && command.p1 == 0x04;
        let result = if is_by_name && self.is_named(command.data()) {
            self.app.select(Interface::Contact, view, &mut reply)
        } else if is_by_name {
            Err(Status::NotFound)
        } else {
            self.app.call(Interface::Contact, view, &mut reply)
        };
        let status = result.err().unwrap_or_default();
        self.pending = if status == Status::Success {
            reply.to_vec()
        } else {
            Vec::new()
        };
        self.status = u16::from(status).to_be_bytes();
    }
}

impl<A: App> vpicc::VSmartCard for Card<A> {
    fn atr(&self) -> &[u8] {
        ATR
    }

    fn execute(&mut self, apdu: &[u8]) -> Vec<u8> {
        let Ok(part) = Command::<LONGEST>::try_from(apdu) else {
            return Vec::from([0x67, 0x00]);
        };
        if part.instruction() == Instruction::GetResponse {
            return self.answer(part.expected());
        }
        let more = part.class().chain().not_the_last();
        let command = match self.chained.take() {
            None => part,
            Some(mut command) => match command.extend_from_command(&part) {
                Ok(()) => command,
                Err(_) => return Vec::from([0x67, 0x00]),
            },
        };
        if more {
            self.chained = Some(command);
            return Vec::from([0x90, 0x00]);
        }
        self.run(&command);
        // Without Le the data come all the same, as from most cards with T=1: some hosts count on it.
        match command.expected() {
            0 => self.answer(256),
            ne => self.answer(ne),
        }
    }
}

/// Serves an application to the driver at the address in the first argument, until the driver closes the
/// connection. With `--again` as the second one the card is inserted again then, as it was, into the next
/// driver at the address, until it is killed.
pub fn serve<A: App>(app: A) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, is_kept) = match arguments.as_slice() {
        [address] => (address, false),
        [address, again] if again == "--again" => (address, true),
        _ => {
            eprintln!(
                "usage: {} HOST:PORT of a vpcd driver [--again]",
                env!("CARGO_PKG_NAME")
            );
            std::process::exit(2);
        }
    };
    let mut card = Card {
        app,
        chained: None,
        pending: Vec::new(),
        status: [0x90, 0x00],
    };
    loop {
        let served = vpicc::connect_socket(address).and_then(|connection| connection.run(&mut card));
        match served {
            Err(_) if is_kept => std::thread::sleep(AGAIN),
            Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
                return eprintln!("{address}: {error}")
            }
            _ => return,
        }
    }
}
