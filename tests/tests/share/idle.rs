//! What the server does while nothing happens: nothing.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use pcsc_constants::SCARD_SHARE_SHARED;
use pcsc_tests::{context_switches, sleeps_since, Share, WireClient};
use pcsc_wire::{BeginTransactionBody, DisconnectBody, EndTransactionBody, RequestCode, StatusBody};

use crate::tls::certificates::Authority;
use crate::tls::{address, join, listening};

/// Models with an interrupt pipe: at the TPDU and the APDU level, with several slots.
const MODELS: &str = "sim:gempc-express,omnikey-3x21,scr331-di";
const CARDS: [&str; 3] = [
    "Gemalto GemPC Express 00 00",
    "HID Global OMNIKEY 3x21 Smart Card Reader [OMNIKEY 3x21 Smart Card Reader] 01 00",
    "SCM Microsystems Inc. SCR 331-DI [CCID Interface] 02 00",
];
/// The wake-ups after the last call, each once within some seconds: the power-off of an unused card, and the
/// timer of a card that is used again.
const LAST: usize = 3;
/// How long the threads are looked at, in seconds. A timer of a longer period can be missed.
const DEFAULT: u64 = 10;
/// How often they are looked at until none has woken up: on a busy machine the last wake-ups are late. Each
/// further look is one more in which a timer may be missed.
const LOOKS: usize = 3;
/// After this time the threads are looked at first. [`LAST`] comes before, unless the machine is busy.
const SETTLED: Duration = Duration::from_secs(6);

/// The names of the threads of servers that have woken up in `time`.
fn woken(servers: &[&Share], time: Duration) -> Vec<String> {
    let before: Vec<_> = servers
        .iter()
        .map(|share| context_switches(share.pid()))
        .collect();
    thread::sleep(time);
    let threads = servers
        .iter()
        .zip(&before)
        .enumerate()
        .flat_map(|(server, (share, before))| {
            let sleeps = sleeps_since(share.pid(), before).into_iter();
            sleeps.map(move |(thread, count)| format!("server {server}: {thread} has woken up {count} times"))
        });
    threads.collect()
}

#[test]
fn nothing_wakes_up_while_nothing_happens() {
    let time = env::var("PCSC_TESTS_IDLE").map_or(DEFAULT, |text| text.parse().expect("seconds"));
    let authority = Authority::new();
    let mut arguments = vec![MODELS.to_owned()];
    arguments.extend(listening(&authority, &authority.issue("host")));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let local = Share::start_with(&[MODELS]);
    let source = format!("daemon:{}", local.socket().display());
    let joining = Share::start_with(&[&source, MODELS]);
    let host = Share::start_with(&arguments);
    let desk = join(&authority, &authority.issue("desk"), address(&host));
    let mut clients = Vec::new();
    for (share, label) in [
        (&local, ""),
        (&joining, ""),
        (&joining, " (source 2)"),
        (&host, ""),
        (&desk, ""),
    ] {
        for (minor, card) in (2..).zip(CARDS.iter().chain(&CARDS[..2])) {
            let mut client = WireClient::connect(&share.socket(), minor);
            let context = client.establish();
            let (name, numbers) = card.split_at(card.len() - 6);
            let name = [name, label, numbers].concat();
            let connected = client.connect_card(context, &name, SCARD_SHARE_SHARED);
            assert_eq!(connected.rv, 0, "{name}");
            assert_eq!(client.transmit(connected.card, &[0; 4]).0, 0, "{name}");
            client.wait();
            clients.push(client);
        }
    }
    // All are looked at in the same time.
    let servers = [&local, &joining, &host, &desk];
    thread::sleep(SETTLED);
    let mut found = Vec::new();
    for _ in 0..LOOKS {
        found = woken(&servers, Duration::from_secs(time));
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
        let connected = client.connect_card(context, CARDS[0], SCARD_SHARE_SHARED);
        let (card, rv) = (connected.card, connected.rv);
        assert_eq!(rv, 0);
        assert_eq!(client.transmit(card, &[0; 4]).0, 0);
        let begun = client.call(RequestCode::BeginTransaction, BeginTransactionBody { card, rv });
        let disposition = 0;
        let body = EndTransactionBody {
            card,
            disposition,
            rv,
        };
        let ended = client.call(RequestCode::EndTransaction, body);
        let status = client.call(RequestCode::Status, StatusBody { card, rv });
        let body = DisconnectBody {
            card,
            disposition,
            rv,
        };
        let disconnected = client.call(RequestCode::Disconnect, body);
        assert_eq!((begun.rv, ended.rv, status.rv, disconnected.rv), (0, 0, 0, 0));
        client.states();
    };
    // The first disconnection plans to take the card's power.
    round();
    let begin = Instant::now();
    let before = context_switches(share.pid());
    (0..ROUNDS).for_each(|_| round());
    // A thread that had no name yet counts from 0.
    for (thread, woken) in sleeps_since(share.pid(), &before) {
        let is_clients = thread.ends_with("pcsc-client");
        // The card may lose its power after each five seconds without a connection.
        let timers = LAST as u64 * (1 + begin.elapsed().as_secs() / 5);
        assert!(timers < ROUNDS / 2, "the rounds take {:?}", begin.elapsed());
        assert!(
            is_clients || woken <= timers,
            "{thread} has woken up {woken} times"
        );
    }
}
