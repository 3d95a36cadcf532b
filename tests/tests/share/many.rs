//! Many clients at once, many of which end without a word.

use std::thread;
use std::time::{Duration, Instant};

use pcsc_constants::{
    SCARD_E_SHARING_VIOLATION, SCARD_SHARE_EXCLUSIVE, SCARD_SHARE_SHARED, SCARD_W_RESET_CARD,
};
use pcsc_tests::{atr, Share, Usage, WireClient};
use pcsc_wire::{BeginTransactionBody, DisconnectBody, EndTransactionBody, ReleaseBody, RequestCode};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

use crate::rules::while_refused;

/// Waits until the server has no more threads and descriptors than before.
pub fn wait_until_as(share: &Share, before: Usage) -> Usage {
    let limit = Instant::now() + Duration::from_secs(300);
    loop {
        let now = Usage::of(share.pid());
        if now.threads <= before.threads && now.descriptors <= before.descriptors {
            return now;
        }
        assert!(Instant::now() < limit, "{now:?} instead of {before:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_thousand_clients_wait() {
    const CLIENTS: usize = 1000;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("the limit of the system");
    let share = Share::start(1);
    let before = Usage::of(share.pid());
    let mut clients: Vec<WireClient> = (0..CLIENTS)
        .map(|number| {
            let mut client = WireClient::connect(&share.socket(), 2 + (number % 5) as i32);
            client.establish();
            client.wait();
            client
        })
        .collect();
    let now = Usage::of(share.pid());
    let each = (now.memory - before.memory) / CLIENTS as u64;
    println!("{each} kB for each client that waits");
    assert!(each < 32, "{each} kB for each client that waits");
    share.reader(0).insert(atr::T1);
    for client in &mut clients {
        assert_eq!(client.event(), 0);
    }
    drop(clients);
    wait_until_as(&share, before);
}

/// One life of a client with a card. How it ends depends on `number`.
fn live(share: &Share, number: usize) {
    let mut client = WireClient::connect(&share.socket(), 2 + (number % 5) as i32);
    let context = client.establish();
    let reader = format!("Gemalto GemPC Express {:02X} 00", number % 8);
    let connected = client.connect_card(context, &reader, SCARD_SHARE_SHARED);
    assert_eq!(connected.rv, 0, "{reader}");
    let card = connected.card;
    let may_meet = |rv: u32| {
        assert!(
            [0, SCARD_E_SHARING_VIOLATION, SCARD_W_RESET_CARD].contains(&rv),
            "{rv:#X}"
        )
    };
    loop {
        match client
            .call(
                RequestCode::BeginTransaction,
                BeginTransactionBody { card, rv: 0 },
            )
            .rv
        {
            0 => break,
            // Another client has ended in its transaction.
            SCARD_W_RESET_CARD => return,
            rv => may_meet(rv),
        }
        thread::yield_now();
    }
    for _ in 0..3 {
        let (rv, response) = client.transmit(
            card,
            b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01",
        );
        assert_eq!(
            (rv, &*response),
            (0, &b"\x90\x00"[..]),
            "a command in a transaction"
        );
    }
    match number % 7 {
        0 => return,
        1 => return client.ask_transmit(card, &[0; 4]),
        2 => return client.send(&[16, 0, 0]).expect("the connection stands"),
        _ => (),
    }
    let body = EndTransactionBody {
        card,
        disposition: 0,
        rv: 0,
    };
    assert_eq!(client.call(RequestCode::EndTransaction, body).rv, 0);
    may_meet(client.transmit(card, &[0; 4]).0);
    let body = DisconnectBody {
        card,
        disposition: 0,
        rv: 0,
    };
    assert_eq!(client.call(RequestCode::Disconnect, body).rv, 0);
    assert_eq!(
        client
            .call(RequestCode::ReleaseContext, ReleaseBody { context, rv: 0 })
            .rv,
        0
    );
}

/// Checks that the readers are there and free.
pub fn check_readers(share: &Share) {
    for reader in 0..8 {
        let mut client = WireClient::connect(&share.socket(), 6);
        let context = client.establish();
        let reader = format!("Gemalto GemPC Express {reader:02X} 00");
        // The server may close the connection of a client that has ended a moment later.
        let mut card = 0;
        let connect = || {
            let connected = client.connect_card(context, &reader, SCARD_SHARE_EXCLUSIVE);
            card = connected.card;
            connected.rv
        };
        while_refused(connect, 0);
        assert_eq!(client.transmit(card, &[0; 4]).0, 0);
    }
}

#[test]
fn clients_that_die_leave_nothing_behind() {
    const CLIENTS: usize = 64;
    const LIVES: usize = 12;
    let models = ["gempc-express"; 8].join(",");
    let share = Share::start_with(&[&format!("sim:{models}")]);
    let before = Usage::of(share.pid());
    let mut memory = Vec::new();
    for _ in 0..2 {
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let share = &share;
                scope.spawn(move || (0..LIVES).for_each(|life| live(share, client + life * 5)));
            }
        });
        memory.push(wait_until_as(&share, before).memory);
    }
    println!("{memory:?} kB after each round of {} clients", CLIENTS * LIVES);
    assert!(memory[1] < memory[0] + 2048, "the memory grows: {memory:?} kB");
    check_readers(&share);
}
