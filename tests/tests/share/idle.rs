//! What the server does while nothing happens: nothing.

use std::env;
use std::thread;
use std::time::Duration;

use pcsc_tests::{context_switches, Share, WireClient};
use pcsc_wire::{BeginTransaction, Command, Disconnect, EndTransaction, Status};

/// Models with an interrupt pipe: at the TPDU and the APDU level, with several slots.
const MODELS: &str = "sim:gempc-express,omnikey-3x21,scr331-di";
const CARDS: [&str; 3] = [
    "Gemalto GemPC Express 00 00",
    "HID Global OMNIKEY 3x21 Smart Card Reader [OMNIKEY 3x21 Smart Card Reader] 01 00",
    "SCM Microsystems Inc. SCR 331-DI [CCID Interface] 02 00",
];
const SHARED: u32 = 2;
/// The wake-ups after the last call, each once within some seconds: the power-off of an unused card, and the
/// timer of a card that is used again.
const LAST: usize = 3;

/// The names of the threads of servers that have woken up in `time`.
fn woken(servers: &[&Share], time: Duration) -> Vec<String> {
    let counts = || servers.iter().map(|share| context_switches(share.pid()));
    let before: Vec<_> = counts().collect();
    thread::sleep(time);
    let threads = counts()
        .zip(before)
        .enumerate()
        .flat_map(|(server, (now, before))| {
            let differs = |(thread, counts): (String, [u64; 2])| {
                let before = before.get(&thread).map_or(0, |before| before[0]);
                let more = counts[0] - before;
                (more > 0).then(|| format!("server {server}: {thread} has woken up {more} times"))
            };
            now.into_iter().filter_map(differs).collect::<Vec<_>>()
        });
    threads.collect()
}

#[test]
fn nothing_wakes_up_while_nothing_happens() {
    let time = env::var("PCSC_TESTS_IDLE").map_or(2, |text| text.parse().expect("seconds"));
    let local = Share::start_with(&[MODELS]);
    let source = format!("daemon:{}", local.socket().display());
    let joining = Share::start_with(&[&source, MODELS]);
    let mut clients = Vec::new();
    for (share, label) in [(&local, ""), (&joining, ""), (&joining, " (source 2)")] {
        for (minor, card) in (2..).zip(CARDS.iter().chain(&CARDS[..2])) {
            let mut client = WireClient::connect(&share.socket(), minor);
            let context = client.establish();
            let (name, numbers) = card.split_at(card.len() - 6);
            let name = [name, label, numbers].concat();
            let connected = client.connect_card(context, &name, SHARED);
            assert_eq!(connected.rv, 0, "{name}");
            assert_eq!(client.transmit(connected.card, &[0; 4]).0, 0, "{name}");
            client.wait();
            clients.push(client);
        }
    }
    let mut found = Vec::new();
    for _ in 0..=LAST {
        found = woken(&[&local, &joining], Duration::from_secs(time));
        if found.is_empty() {
            return;
        }
        println!("{}", found.join("\n"));
    }
    panic!("threads wake up again and again: {found:#?}");
}

#[test]
fn a_call_wakes_the_thread_of_its_client_alone() {
    const ROUNDS: u64 = 50;
    let share = Share::start_with(&[MODELS]);
    // One that waits for an event, to which the calls of the other are none.
    let mut waiting = WireClient::connect(&share.socket(), 6);
    waiting.establish();
    waiting.wait();
    let mut client = WireClient::connect(&share.socket(), 4);
    let context = client.establish();
    let mut round = || {
        let connected = client.connect_card(context, CARDS[0], SHARED);
        let (card, rv) = (connected.card, connected.rv);
        assert_eq!(rv, 0);
        assert_eq!(client.transmit(card, &[0; 4]).0, 0);
        let begun = client.call(Command::BeginTransaction, BeginTransaction { card, rv });
        let disposition = 0;
        let body = EndTransaction {
            card,
            disposition,
            rv,
        };
        let ended = client.call(Command::EndTransaction, body);
        let status = client.call(Command::Status, Status { card, rv });
        let body = Disconnect {
            card,
            disposition,
            rv,
        };
        let disconnected = client.call(Command::Disconnect, body);
        assert_eq!((begun.rv, ended.rv, status.rv, disconnected.rv), (0, 0, 0, 0));
        client.states();
    };
    // The first disconnection plans to take the card's power.
    round();
    let before = context_switches(share.pid());
    (0..ROUNDS).for_each(|_| round());
    for (thread, counts) in context_switches(share.pid()) {
        // One that had not started at the first look, or had no name yet, counts from 0.
        let woken = counts[0] - before.get(&thread).map_or(0, |counts| counts[0]);
        let is_clients = thread.ends_with("pcsc-client");
        // Meanwhile the card may lose its power.
        assert!(
            is_clients || woken <= LAST as u64,
            "{thread} has woken up {woken} times"
        );
    }
}
