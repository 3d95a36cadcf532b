//! pcscd's rules between clients: transactions, handles, cancels, and clients that are gone.

use std::time::{Duration, Instant};

use pcsc_constants::{
    SCARD_E_CANCELLED, SCARD_E_INVALID_HANDLE, SCARD_E_INVALID_VALUE, SCARD_E_NOT_TRANSACTED,
    SCARD_E_SHARING_VIOLATION, SCARD_E_UNKNOWN_READER, SCARD_SHARE_EXCLUSIVE, SCARD_SHARE_SHARED,
    SCARD_W_RESET_CARD,
};
use pcsc_tests::{atr, Share, WireClient};
use pcsc_wire::{
    BeginTransactionBody, CancelBody, ConnectBody, DisconnectBody, EndTransactionBody, ReleaseBody,
    RequestCode, StatusBody, NAME_SIZE,
};

const HELLO: [u8; 4] = [0; 4];
const READER: &str = "pcsc-tests 00 00";

/// A server with a card in its reader.
fn server() -> Share {
    let share = Share::start(1);
    share.reader(0).insert(atr::T1);
    share
}

/// A client with a shared connection to the card.
fn connected(share: &Share) -> (WireClient, i32) {
    let mut client = WireClient::connect(&share.socket(), 4);
    let context = client.establish();
    let connected = client.connect_card(context, READER, SCARD_SHARE_SHARED);
    assert_eq!(connected.rv, 0);
    (client, connected.card)
}

fn begin(client: &mut WireClient, card: i32) -> u32 {
    client
        .call(
            RequestCode::BeginTransaction,
            BeginTransactionBody { card, rv: 0 },
        )
        .rv
}

fn end(client: &mut WireClient, card: i32) -> u32 {
    let body = EndTransactionBody {
        card,
        disposition: 0,
        rv: 0,
    };
    client.call(RequestCode::EndTransaction, body).rv
}

fn status(client: &mut WireClient, card: i32) -> u32 {
    client.call(RequestCode::Status, StatusBody { card, rv: 0 }).rv
}

/// Waits until no other client is connected to the card. A server notices the end of a client by itself.
/// Returns a client with an exclusive connection, at whose end the card is reset.
fn wait_until_alone(share: &Share) -> WireClient {
    let mut client = WireClient::connect(&share.socket(), 4);
    let context = client.establish();
    while_refused(
        || client.connect_card(context, READER, SCARD_SHARE_EXCLUSIVE).rv,
        0,
    );
    client
}

/// Makes a call until it meets no sharing violation any more.
pub fn while_refused(mut call: impl FnMut() -> u32, then: u32) {
    let limit = Instant::now() + Duration::from_secs(300);
    loop {
        match call() {
            SCARD_E_SHARING_VIOLATION => assert!(Instant::now() < limit, "the card stays in use"),
            rv => return assert_eq!(rv, then),
        }
    }
}

#[test]
fn calls_that_meet_a_transaction_are_answered_at_once() {
    let share = server();
    let ((mut one, card), (mut other, others)) = (connected(&share), connected(&share));
    assert_eq!(begin(&mut one, card), 0);
    assert_eq!(begin(&mut one, card), 0);
    for _ in 0..2 {
        assert_eq!(begin(&mut other, others), SCARD_E_SHARING_VIOLATION);
        assert_eq!(other.transmit(others, &HELLO).0, SCARD_E_SHARING_VIOLATION);
        assert_eq!(status(&mut other, others), SCARD_E_SHARING_VIOLATION);
        assert_eq!(end(&mut other, others), SCARD_E_SHARING_VIOLATION);
        assert_eq!(one.transmit(card, &HELLO).0, 0);
        assert_eq!(end(&mut one, card), 0);
    }
    assert_eq!(end(&mut one, card), SCARD_E_NOT_TRANSACTED);
    assert_eq!(begin(&mut other, others), 0);
    assert_eq!(one.transmit(card, &HELLO).0, SCARD_E_SHARING_VIOLATION);
}

#[test]
fn a_client_that_is_gone_leaves_a_reset_card_and_no_transaction() {
    let share = server();
    let ((mut one, card), (mut other, others)) = (connected(&share), connected(&share));
    assert_eq!(begin(&mut one, card), 0);
    let before = share.reader(0).counts();
    // In the middle of a message, with an answer that is never read.
    one.ask_transmit(card, &HELLO);
    one.send(&[16, 0, 0]).expect("the connection stands");
    drop(one);
    while_refused(|| status(&mut other, others), SCARD_W_RESET_CARD);
    drop(other);
    // The other client learns of the reset before it takes place.
    let _alone = wait_until_alone(&share);
    // Without a transaction the card is left alone.
    assert_eq!(share.reader(0).counts().resets, before.resets + 1);
}

/// With pcscd such a connect waits for ever, and the transaction with it.
#[test]
fn a_client_that_is_gone_waits_for_nobody() {
    let share = server();
    let mut client = WireClient::connect(&share.socket(), 4);
    let context = client.establish();
    let card = client.connect_card(context, READER, SCARD_SHARE_SHARED).card;
    assert_eq!(begin(&mut client, card), 0);
    // Waits for the end of its own client's transaction.
    let mut reader = [0; NAME_SIZE];
    reader[..READER.len()].copy_from_slice(READER.as_bytes());
    let body = ConnectBody {
        context,
        reader,
        share: SCARD_SHARE_SHARED,
        protocols: 3,
        card: 0,
        active: 0,
        rv: 0,
    };
    client.ask(RequestCode::Connect, body);
    drop(client);
    wait_until_alone(&share);
}

#[test]
fn a_release_ends_connections_and_transactions() {
    let share = server();
    let mut client = WireClient::connect(&share.socket(), 6);
    let context = client.establish();
    let card = client.connect_card(context, READER, SCARD_SHARE_EXCLUSIVE).card;
    assert_eq!(begin(&mut client, card), 0);
    let release = |client: &mut WireClient, context| {
        client
            .call(RequestCode::ReleaseContext, ReleaseBody { context, rv: 0 })
            .rv
    };
    assert_eq!(release(&mut client, context + 1), SCARD_E_INVALID_VALUE);
    assert_eq!(release(&mut client, context), 0);
    assert_eq!(release(&mut client, context), SCARD_E_INVALID_HANDLE);
    drop(wait_until_alone(&share));
    assert_eq!(
        client.connect_card(context, READER, SCARD_SHARE_SHARED).rv,
        SCARD_E_INVALID_HANDLE
    );
    // The connection has ended with its context.
    client.ask(RequestCode::Status, StatusBody { card, rv: 0 });
    assert!(client.is_closed());
}

#[test]
fn a_connection_belongs_to_one_client() {
    let share = server();
    let ((mut one, card), (mut other, others)) = (connected(&share), connected(&share));
    other.ask(RequestCode::Status, StatusBody { card, rv: 0 });
    assert!(other.is_closed());
    assert_eq!(status(&mut one, card), 0);
    one.ask_transmit(others, &HELLO);
    assert!(one.is_closed());
    let (mut third, card) = connected(&share);
    let body = DisconnectBody {
        card,
        disposition: 0,
        rv: 0,
    };
    assert_eq!(third.call(RequestCode::Disconnect, body).rv, 0);
    third.ask(RequestCode::Disconnect, body);
    assert!(third.is_closed());
    wait_until_alone(&share);
}

#[test]
fn a_cancel_ends_the_wait_of_its_context() {
    let share = server();
    let cancel = |context: u32| {
        let mut client = WireClient::connect(&share.socket(), 4);
        let context = context as i32;
        client.call(RequestCode::Cancel, CancelBody { context, rv: 0 }).rv
    };
    for minor in 2..=6 {
        let mut client = WireClient::connect(&share.socket(), minor);
        let context = client.establish();
        // Nothing to cancel: this is no event of a later wait.
        assert_eq!(cancel(context), 0);
        client.is_in_step();
        client.wait();
        assert_eq!(cancel(context), 0);
        assert_eq!(client.event(), SCARD_E_CANCELLED);
        client.stop();
        client.is_in_step();
        drop(client);
    }
    assert_eq!(cancel(0), SCARD_E_INVALID_HANDLE);
    let mut client = WireClient::connect(&share.socket(), 4);
    let context = client.establish();
    assert_eq!(
        client.connect_card(context, "another", SCARD_SHARE_SHARED).rv,
        SCARD_E_UNKNOWN_READER
    );
    let context = client.establish();
    client.call(RequestCode::ReleaseContext, ReleaseBody { context, rv: 0 });
    assert_eq!(cancel(context), SCARD_E_INVALID_HANDLE);
}
