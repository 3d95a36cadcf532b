//! Requests that need no card.

use std::io::ErrorKind;
use std::io::{Read, Write};

use pcsc_wire::READER_STATE_SIZE;

use super::*;
use crate::client::scripted::{with_card, with_client, Caller};

const DONE: u32 = codes::SCARD_S_SUCCESS;

fn version(minor: i32) -> VersionBody {
    VersionBody::new(Version { major: 4, minor })
}

impl Caller<'_> {
    /// Sends a request whose body is of no type, and returns what it is answered.
    fn bytes(&mut self, command: RequestCode, body: &[u8]) -> Vec<u8> {
        let header = Header::new(command, body.len()).to_bytes(Endian::NATIVE);
        self.stream.write_all(&[&header, body].concat()).unwrap();
        self.requests.serve_one().unwrap();
        self.received()
    }

    /// What has come; nothing where no answer has.
    fn received(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 16 * READER_STATE_SIZE + 100];
        match self.stream.read(&mut bytes) {
            Ok(length) => bytes[..length].to_vec(),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                Vec::new()
            }
        }
    }
}

fn event(rv: u32) -> Vec<u8> {
    let mut bytes = [0; EventBody::SIZE];
    EventBody { timeout: 0, rv }.emit(Endian::NATIVE, &mut bytes);
    bytes.to_vec()
}

#[test]
fn each_client_is_answered_in_its_version_and_others_learn_ours() {
    with_client(Rights::Full, |caller| {
        let mut answer = |minor| caller.call(RequestCode::Version, version(minor), &[]).0;
        assert_eq!(answer(3), version(3));
        let ours = VersionBody {
            rv: codes::SCARD_E_SERVICE_STOPPED,
            ..VersionBody::new(Version::NEWEST)
        };
        assert_eq!(answer(99), ours);
        // The one before stays.
        assert!(caller.requests.version.waits_with_body());
    });
}

#[test]
fn the_scopes_of_pcscd_are_taken() {
    with_client(Rights::Full, |caller| {
        let body = |scope| EstablishBody {
            scope,
            context: 0,
            rv: 1,
        };
        let global = body(codes::SCARD_SCOPE_GLOBAL);
        let (taken, _) = caller.call(RequestCode::EstablishContext, global, &[]);
        assert_eq!(taken.rv, DONE);
        let contexts = &caller.requests.shared.contexts;
        assert_eq!(
            contexts.client(taken.context),
            Some(caller.requests.client.number)
        );
        assert_eq!(
            contexts.client(caller.context),
            None,
            "a connection has one context"
        );
        for scope in [codes::SCARD_SCOPE_GLOBAL + 1, u32::MAX] {
            let (refused, _) = caller.call(RequestCode::EstablishContext, body(scope), &[]);
            assert_eq!(refused.rv, codes::SCARD_E_INVALID_VALUE);
        }
    });
}

#[test]
fn a_release_ends_the_clients_context_and_no_other() {
    with_card(|caller, card| {
        let own = caller.context;
        let mut release = |context| {
            let body = ReleaseBody { context, rv: 1 };
            let (released, _) = caller.call(RequestCode::ReleaseContext, body, &[]);
            (released.rv, caller.requests.cards.contains_key(&card))
        };
        assert_eq!(release(own + 1), (codes::SCARD_E_INVALID_VALUE, true));
        assert_eq!(release(own), (DONE, false));
        assert_eq!(release(own), (codes::SCARD_E_INVALID_HANDLE, false));
        assert_eq!(caller.requests.shared.contexts.client(own), None);
        caller.script.expect(&["release"]);
    });
}

#[test]
fn a_request_of_another_length_ends_the_connection() {
    with_client(Rights::Full, |caller| {
        let header = Header::new(RequestCode::Cancel, CancelBody::SIZE + 1);
        caller.stream.write_all(&header.to_bytes(Endian::NATIVE)).unwrap();
        caller.stream.write_all(&[0; CancelBody::SIZE + 1]).unwrap();
        let ended = caller.requests.serve_one();
        assert!(matches!(ended, Err(ClientEnd::Protocol(_))));
    });
}

#[test]
fn a_wait_begins_and_ends_as_its_version_has_it() {
    // The wait's body, and the answer to it.
    let states = 16 * READER_STATE_SIZE;
    for (minor, body, answer) in [(3, EventBody::SIZE, 0), (5, 0, states), (6, 0, 0)] {
        with_client(Rights::Full, |caller| {
            let body = vec![0; body];
            caller.call(RequestCode::Version, version(minor), &[]);
            let answered = caller.bytes(RequestCode::WaitReaderStateChange, &body);
            assert_eq!(answered.len(), answer, "4.{minor}");
            // Either the answer or the event.
            let stop = RequestCode::StopWaitingReaderStateChange;
            assert_eq!(caller.bytes(stop, &body), event(DONE), "4.{minor}");
            caller.bytes(RequestCode::WaitReaderStateChange, &body);
            caller.requests.shared.waiters.signal();
            assert_eq!(caller.received(), event(DONE), "4.{minor}");
            assert_eq!(caller.bytes(stop, &body), [], "4.{minor}");
        });
    }
}

#[test]
fn a_cancel_ends_the_wait_of_its_context() {
    with_client(Rights::Full, |caller| {
        caller.bytes(RequestCode::WaitReaderStateChange, &[]);
        let body = |context| CancelBody { context, rv: 1 };
        let own = caller.context as i32;
        let (unknown, _) = caller.call(RequestCode::Cancel, body(own.wrapping_add(1)), &[]);
        assert_eq!(unknown.rv, codes::SCARD_E_INVALID_HANDLE);
        // The event comes first: the client is the one that waits.
        let mut request = [0; CancelBody::SIZE];
        body(own).emit(Endian::NATIVE, &mut request);
        let answered = caller.bytes(RequestCode::Cancel, &request);
        let (event_bytes, answer) = answered.split_at(EventBody::SIZE);
        assert_eq!(event_bytes, event(codes::SCARD_E_CANCELLED));
        assert_eq!(
            CancelBody::parse(answer, Endian::NATIVE).map(|body| body.rv),
            Some(DONE)
        );
    });
}

#[test]
fn the_first_request_sets_the_byte_order_of_answers_and_events() {
    with_client(Rights::Full, |caller| {
        let other = Endian::NATIVE.other();
        caller.requests.endian = None;
        caller
            .stream
            .write_all(&Header::new(RequestCode::GetReaderEvents, 0).to_bytes(other))
            .unwrap();
        caller.requests.serve_one().unwrap();
        let answer = ReaderEventsBody::parse(&caller.received(), other).unwrap();
        assert_eq!(answer, ReaderEventsBody { events: 1, rv: DONE });
        caller
            .stream
            .write_all(&Header::new(RequestCode::WaitReaderStateChange, 0).to_bytes(other))
            .unwrap();
        caller.requests.serve_one().unwrap();
        let client = caller.requests.client.number;
        caller.requests.shared.waiters.end(client, 7);
        let event = EventBody::parse(&caller.received(), other).unwrap();
        assert_eq!(event.rv, 7);
    });
}
