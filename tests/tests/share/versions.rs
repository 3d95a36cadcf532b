//! Clients of each protocol version, all on one socket.

use pcsc_constants::{SCARD_ABSENT, SCARD_E_SERVICE_STOPPED, SCARD_PRESENT, SCARD_SHARE_SHARED};
use pcsc_tests::{atr, Share, WireClient};
use pcsc_wire::{Endian, ReaderEventsBody, ReaderStateRecords, RequestCode, VersionBody, READER_STATE_SIZE};

fn status(states: &[u8], endian: Endian) -> u32 {
    let state = ReaderStateRecords::new(states, endian).find(b"pcsc-tests 00 00");
    state.expect("the reader").state
}

#[test]
fn clients_of_all_versions_are_served_at_once() {
    let share = Share::start(1);
    let mut clients: Vec<WireClient> = (2..=6)
        .map(|minor| WireClient::connect(&share.socket(), minor))
        .chain([WireClient::connect_swapped(&share.socket(), 6)])
        .collect();
    for client in &mut clients {
        let states = client.wait();
        assert_eq!(states.len(), 16 * READER_STATE_SIZE);
        assert_eq!(status(&states, client.endian()), SCARD_ABSENT);
    }
    share.reader(0).insert(atr::T1);
    for client in &mut clients {
        assert_eq!(client.event(), 0);
        client.is_in_step();
        // The event is the answer.
        client.stop();
        client.is_in_step();
        let states = client.states();
        assert_eq!(status(&states, client.endian()) & SCARD_PRESENT, SCARD_PRESENT);
        client.wait();
        client.stop();
        assert_eq!(client.event(), 0);
        client.is_in_step();
    }
    let mut cards = Vec::new();
    for client in &mut clients {
        let context = client.establish();
        let connected = client.connect_card(context, "pcsc-tests 00 00", SCARD_SHARE_SHARED);
        assert_eq!((connected.rv, connected.active), (0, 2));
        cards.push(connected.card);
    }
    for (client, card) in clients.iter_mut().zip(&cards) {
        let answer = client.transmit(*card, &[0, 0, 0, 0]);
        assert_eq!(answer, (0, b"Hello world!\x90\x00".to_vec()));
    }
    cards.sort_unstable();
    cards.dedup();
    assert_eq!(cards.len(), 6, "connections of two clients have one number");
}

#[test]
fn readers_that_come_and_go_are_counted() {
    let share = Share::start(1);
    for minor in [5, 6] {
        let mut client = WireClient::connect(&share.socket(), minor);
        client.request(RequestCode::GetReaderEvents);
        let events: ReaderEventsBody = client.receive();
        assert_eq!((events.events, events.rv), (2, 0));
    }
}

#[test]
fn another_version_is_told_ours_and_may_try_again() {
    let share = Share::start(0);
    let mut client = WireClient::open(&share.socket());
    for (major, minor) in [(4, 1), (4, 7), (3, 4), (5, 4), (-1, i32::MAX)] {
        let asked = VersionBody { major, minor, rv: 0 };
        let answer = client.call(RequestCode::Version, asked);
        assert_eq!(
            (answer.major, answer.minor, answer.rv),
            (4, 6, SCARD_E_SERVICE_STOPPED)
        );
    }
    let asked = VersionBody {
        major: 4,
        minor: 4,
        rv: 0,
    };
    assert_eq!(client.call(RequestCode::Version, asked), asked);
    client.establish();
}
