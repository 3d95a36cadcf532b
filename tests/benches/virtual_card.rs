//! APDUs a second on the same virtual card, a program: behind pcscd and vsmartcard's vpcd, and at the port
//! that our library listens on in this process; and on a card in this process. Medians of alternating
//! batches.
//!
//! `cargo bench -p pcsc-tests --bench virtual_card`, or scripts/bench.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use pcsc_client::sim::{Simulation, VirtualCard};
use pcsc_client::{Card, Context, Protocols, ReaderState, ShareMode, State};
use pcsc_tests::{artifacts, Pcscd};

const BATCHES: usize = 10;
const BATCH: u32 = 50;
/// A command that the card refuses at once.
const COMMAND: [u8; 5] = [0x00, 0xFE, 0, 0, 0];

struct Refuses;

impl VirtualCard for Refuses {
    fn transmit(&mut self, _: &[u8]) -> Vec<u8> {
        vec![0x6D, 0x00]
    }
}

/// APDUs a second in one batch.
fn rate(card: &Card) -> f64 {
    let mut room = [0; 258];
    let start = Instant::now();
    for _ in 0..BATCH {
        assert_eq!(card.transmit(&COMMAND, &mut room).unwrap().len(), 2);
    }
    f64::from(BATCH) / start.elapsed().as_secs_f64()
}

fn main() {
    let connect = |context: &Context, reader: &std::ffi::CStr| {
        let mut states = [ReaderState::new(reader, State::EMPTY)];
        while !states[0].event_state().contains(State::PRESENT) {
            let limit = Duration::from_secs(30);
            context.get_status_change(limit, &mut states).expect("a card");
            states[0].sync_current_state();
        }
        context
            .connect(reader, ShareMode::Shared, Protocols::ANY)
            .unwrap()
    };

    let pcscd = Pcscd::start_cards(&["opcard"]);
    let context = Context::builder()
        .socket_path(pcscd.socket())
        .establish()
        .unwrap();
    let reader = context.list_readers_owned().unwrap().remove(0);
    let behind_pcscd = connect(&context, &reader);

    let bus = Simulation::new();
    let port = bus.listen((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut program = Command::new(artifacts::card("opcard"))
        .arg(port.address().to_string())
        .spawn()
        .unwrap();
    let at_our_port = connect(&bus.context().unwrap(), port.name());

    let reader = bus.plug("omnikey-3x21").unwrap();
    reader.insert(Refuses);
    let in_process = connect(&bus.context().unwrap(), reader.name());

    let ways = [
        ("a program, behind pcscd and vpcd", &behind_pcscd),
        ("a program, at our port", &at_our_port),
        ("in this process", &in_process),
    ];
    let mut rates = ways.map(|_| Vec::new());
    for _ in 0..BATCHES {
        for ((_, card), rates) in ways.iter().zip(&mut rates) {
            rates.push(rate(card));
        }
    }
    for ((name, _), mut rates) in ways.into_iter().zip(rates) {
        rates.sort_by(f64::total_cmp);
        println!("{:>8.0} APDUs a second: {name}", rates[BATCHES / 2]);
    }
    program.kill().unwrap();
    program.wait().unwrap();
}
