//! Clients and sources on other hosts, over mutual TLS.

pub(super) mod certificates;
mod hosts;
mod line;
mod refusals;

use std::ffi::CString;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pcsc_client::{Error, Protocols, ReaderState, ShareMode, State};
use pcsc_constants::{SCARD_LEAVE_CARD, SCARD_SHARE_SHARED};
use pcsc_tests::{atr, Share, WireClient};
use pcsc_wire::{DisconnectBody, ReaderStateRecords, RequestCode, StatusBody};

use certificates::{Authority, Issued};
use line::Line;

use super::{connect, list, transmit, NAME, PATIENCE};

/// The arguments of a server that serves clients with a certificate of `authority`.
pub(super) fn listening(authority: &Authority, own: &Issued) -> Vec<String> {
    let mut arguments = own.arguments();
    arguments.extend(["--listen-tls", "127.0.0.1:0", "--client-ca", &authority.file()].map(String::from));
    arguments
}

/// A server with a card in its reader, which serves clients with a certificate of `authority`.
fn host(authority: &Authority, own: &Issued, further: &[&str]) -> Share {
    let mut arguments = listening(authority, own);
    arguments.extend(further.iter().map(ToString::to_string));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let share = Share::start_also(1, &arguments);
    share.reader(0).insert(atr::T1);
    share
}

/// Where a server listens for TLS.
pub(super) fn address(share: &Share) -> SocketAddr {
    let log = share.log();
    let (_, rest) = log
        .rsplit_once(", and for TLS at ")
        .unwrap_or_else(|| panic!("it does not listen:\n{log}"));
    rest.split([';', ',']).next().unwrap().parse().unwrap()
}

/// A server of the readers at an address.
pub(super) fn join(authority: &Authority, own: &Issued, at: SocketAddr) -> Share {
    let mut arguments = vec![format!("tls://{at}")];
    arguments.extend(own.arguments());
    arguments.extend(["--server-ca".into(), authority.file()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Share::start_with(&arguments)
}

#[test]
fn calls_through_tls_take_one_round_trip() {
    let authority = Authority::new();
    let host = host(&authority, &authority.issue("host"), &[]);
    let line = Line::start(address(&host));
    let joined = join(&authority, &authority.issue("desk"), line.address());
    let context = joined.context();
    assert_eq!(list(&context), [NAME]);
    let card = connect(&context);
    // Those of the events that follow a connect come at any time.
    const CALLS: usize = 50;
    let counted_of = |calls: usize, what: &str, call: &mut dyn FnMut()| {
        let before = line.rounds();
        (0..CALLS).for_each(|_| call());
        let rounds = line.rounds() - before;
        let expected = CALLS * calls;
        assert!(
            (expected..expected + 10).contains(&rounds),
            "{rounds} round trips of {CALLS} {what}"
        );
    };
    let counted = |what: &str, call: &mut dyn FnMut()| counted_of(1, what, call);
    counted("lists of the readers", &mut || assert_eq!(list(&context), [NAME]));
    counted("transmits", &mut || {
        assert_eq!(transmit(&card).unwrap(), b"Hello world!\x90\x00")
    });
    let mut client = WireClient::connect(&joined.socket(), 4);
    let number = client.establish();
    let card = client.connect_card(number, NAME, SCARD_SHARE_SHARED).card;
    counted("status", &mut || {
        let status = client.call(RequestCode::Status, StatusBody { card, rv: 0 });
        assert_eq!(status.rv, 0);
    });
    counted_of(2, "connects and disconnects", &mut || {
        let card = client.connect_card(number, NAME, SCARD_SHARE_SHARED).card;
        let body = DisconnectBody {
            card,
            disposition: SCARD_LEAVE_CARD,
            rv: 0,
        };
        assert_eq!(client.call(RequestCode::Disconnect, body).rv, 0);
    });
    drop(client);
    // A client that sends the request of the states after the answer to that of their number.
    let mut client = WireClient::connect(&joined.socket(), 6);
    counted("sizes and states", &mut || {
        let states = client.states();
        let names = ReaderStateRecords::new(&states, client.endian())
            .readers()
            .count();
        assert_eq!(names, 1);
    });
    drop(client);

    let mut known = [ReaderState::new(CString::new(NAME).unwrap(), State::UNAWARE)];
    context.get_status_change(PATIENCE, &mut known).unwrap();
    assert!(known[0].event_state().contains(State::PRESENT));
    known[0].sync_current_state();
    let before = line.rounds();
    host.reader(0).remove();
    context.get_status_change(PATIENCE, &mut known).unwrap();
    assert!(known[0].event_state().contains(State::EMPTY));
    // The event is waited for at its source: it is followed by the next wait there, and by a look for each
    // change that the removal is.
    let rounds = line.rounds() - before;
    assert!(rounds <= 6, "{rounds} round trips for an event");
}

#[test]
fn a_host_that_goes_takes_its_readers_along_and_they_come_back() {
    let authority = Authority::new();
    let (identity, mut known) = (
        authority.issue("host"),
        [ReaderState::new(pcsc_client::PNP_NOTIFICATION(), State::UNAWARE)],
    );
    let mut first = host(&authority, &identity, &[]);
    let line = Line::start(address(&first));
    let joined = join(&authority, &authority.issue("desk"), line.address());
    let context = joined.context();
    let card = connect(&context);
    // Learns the count.
    let _ = context.get_status_change(Duration::ZERO, &mut known);
    known[0].sync_current_state();
    // SIGTERM, as from systemd: clients are notified.
    assert!(first.terminate().success());
    context.get_status_change(PATIENCE, &mut known).unwrap();
    known[0].sync_current_state();
    assert_eq!(list(&context), [""; 0]);
    assert_eq!(transmit(&card), Err(Error::ReaderUnavailable));
    joined.wait_for_log("the peer has closed the connection");
    let second = host(&authority, &identity, &[]);
    line.lead_to(address(&second));
    context.get_status_change(PATIENCE, &mut known).unwrap();
    assert_eq!(list(&context), [NAME]);
    assert_eq!(transmit(&connect(&context)).unwrap(), b"Hello world!\x90\x00");
}

#[test]
fn a_client_that_closes_its_connections_is_no_reason_for_a_warning() {
    let authority = Authority::new();
    let host = host(&authority, &authority.issue("host"), &[]);
    let mut joined = join(&authority, &authority.issue("desk"), address(&host));
    let client = joined.context();
    let card = connect(&client);
    assert_eq!(transmit(&card).unwrap(), b"Hello world!\x90\x00");
    assert!(joined.terminate().success());
    // That for events, that for looks, and that of the client.
    let ends = |log: &str| {
        let of_desk = "(names in its certificate: desk) has ended: the peer has closed the connection";
        log.lines().filter(|line| line.ends_with(of_desk)).count()
    };
    let deadline = Instant::now() + PATIENCE;
    while ends(&host.log()) < 3 {
        assert!(Instant::now() < deadline, "{}", host.log());
        std::thread::yield_now();
    }
    let is_serious = |line: &&str| line.contains("warn: ") || line.contains("error: ");
    let log = host.log();
    assert_eq!(log.lines().find(is_serious), None, "{log}");
    // None was opened when the server ended.
    assert_eq!(log.matches(" is of ").count(), 3, "{log}");
}

#[test]
fn a_line_that_is_cut_in_mid_message_ends_the_call() {
    let authority = Authority::new();
    let host = host(&authority, &authority.issue("host"), &[]);
    let line = Line::start(address(&host));
    let joined = join(&authority, &authority.issue("desk"), line.address());
    let context = joined.context();
    let mut card = connect(&context);
    // What the server has is given up there, too: a second client gets the card.
    let transaction = card.transaction().unwrap();
    let mut response = [0; 258];
    line.cut_in_message();
    let cut = transaction.transmit(&[0, 0, 0, 0], &mut response).unwrap_err();
    assert_eq!(cut, Error::ReaderUnavailable);
    joined.wait_for_log("the connection was cut");
    host.wait_for_log("(names in its certificate: desk) has ended: the connection was cut");
    let log = host.log();
    let mut cuts = log
        .lines()
        .filter(|line| line.ends_with(" has ended: the connection was cut"));
    assert!(cuts.all(|line| line.starts_with("pcsc: warn: ")), "{log}");
    let direct = host.context();
    let card = direct.connect(&CString::new(NAME).unwrap(), ShareMode::Shared, Protocols::ANY);
    let mut card = card.unwrap();
    assert!(card.transaction().is_ok());
}
