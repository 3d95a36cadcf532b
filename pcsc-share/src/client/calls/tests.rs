//! What a client's calls come to at its sessions, and what the client is answered.

use std::sync::atomic::Ordering;

use pcsc_wire::{RequestCode, NAME_SIZE};

use super::*;
use crate::client::scripted::{with_card, with_client, CARD, LONG, PROTOCOL};

#[test]
fn a_connection_is_made_at_the_source_of_its_reader() {
    with_client(Rights::Full, |caller| {
        let first = caller.connect(b"Reader (source 2) 00 00");
        assert_eq!((first.rv, first.active), (codes::SCARD_S_SUCCESS, PROTOCOL));
        // Without a NUL, the last byte is no part of the name.
        let second = caller.connect(&[b'x'; NAME_SIZE]);
        assert_eq!((second.rv, second.active), (codes::SCARD_S_SUCCESS, PROTOCOL));
        assert_ne!(first.card, second.card);
        let long = format!("connect {} 2 3", "x".repeat(LONG.len()));
        caller.script.expect(&["connect Reader 00 00 2 3", &long]);
        // The limit.
        let third = caller.connect(b"Reader 00 00");
        assert_eq!((third.rv, third.card), (codes::SCARD_E_NO_MEMORY, 0));
        let place = |card| {
            let place = &caller.requests.cards[&card];
            (place.source, place.card)
        };
        assert_eq!([first.card, second.card].map(place), [(1, CARD), (0, CARD)]);
        caller.script.expect(&[]);
    });
}

#[test]
fn a_number_in_use_is_not_given_again() {
    with_card(|caller, card| {
        caller.requests.shared.last_card.store(0, Ordering::SeqCst);
        assert_ne!(caller.connect(b"Reader 00 00").card, card);
    });
}

#[test]
fn a_connection_that_is_not_made_has_no_number() {
    with_client(Rights::Full, |caller| {
        let unknown = caller.connect(b"Reader");
        assert_eq!((unknown.rv, unknown.card), (codes::SCARD_E_UNKNOWN_READER, 0));
        caller.context += 1;
        let wrong = caller.connect(b"Reader 00 00");
        assert_eq!((wrong.rv, wrong.card), (codes::SCARD_E_INVALID_VALUE, 0));
        caller.context -= 1;
        caller.script.expect(&[]);
        caller
            .script
            .refuse(Failed::from(codes::SCARD_E_SHARING_VIOLATION));
        let refused = caller.connect(b"Reader 00 00");
        assert_eq!((refused.rv, refused.card), (codes::SCARD_E_SHARING_VIOLATION, 0));
        assert!(caller.requests.cards.is_empty());
    });
    with_client(Rights::Watch, |caller| {
        let refused = caller.connect(b"Reader 00 00");
        assert_eq!(refused.rv, codes::SCARD_W_SECURITY_VIOLATION);
        assert_eq!((refused.card, refused.active), (-1, u32::MAX));
        caller.script.expect(&[]);
    });
}

#[test]
fn an_interrupt_reaches_the_sessions_there_are_and_those_to_come() {
    with_card(|caller, _| {
        caller.requests.client.interrupt();
        caller.script.expect(&["interrupt"]);
        caller.connect(b"Reader 00 00");
        caller.script.expect(&["interrupt", "connect Reader 00 00 2 3"]);
    });
}

#[test]
fn each_call_goes_to_the_connection_and_its_result_to_the_client() {
    with_card(|caller, card| {
        let mut calls = |refusal: Option<Failed>| {
            caller.script.refuse(refusal);
            let (begun, _) = caller.call(
                RequestCode::BeginTransaction,
                BeginTransactionBody { card, rv: 1 },
                &[],
            );
            let body = EndTransactionBody {
                card,
                disposition: 2,
                rv: 1,
            };
            let (ended, _) = caller.call(RequestCode::EndTransaction, body, &[]);
            let (status, _) = caller.call(RequestCode::Status, StatusBody { card, rv: 1 }, &[]);
            let body = ReconnectBody {
                card,
                share: 1,
                protocols: 2,
                initialization: 3,
                active: 9,
                rv: 1,
            };
            let (again, _) = caller.call(RequestCode::Reconnect, body, &[]);
            // The last one, since it may end the connection.
            let body = DisconnectBody {
                card,
                disposition: 1,
                rv: 1,
            };
            let (apart, _) = caller.call(RequestCode::Disconnect, body, &[]);
            caller.script.expect(&[
                "begin 70",
                "end 70 2",
                "status 70",
                "reconnect 70 1 2 3",
                "disconnect 70 1",
            ]);
            let codes = [begun.rv, ended.rv, status.rv, again.rv, apart.rv];
            (codes, again.active, caller.requests.cards.contains_key(&card))
        };
        let busy = codes::SCARD_E_SHARING_VIOLATION;
        assert_eq!(calls(Some(busy.into())), ([busy; 5], 0, true));
        assert_eq!(calls(None), ([codes::SCARD_S_SUCCESS; 5], PROTOCOL, false));
        let gone = caller.try_call(RequestCode::Status, StatusBody { card, rv: 1 }, &[]);
        assert!(matches!(gone, Err(ClientEnd::Protocol(_))));
    });
}

#[test]
fn responses_come_behind_their_answers_and_fit() {
    with_card(|caller, card| {
        let body = |room, sent: &[u8]| TransmitBody {
            card,
            send_protocol: 2,
            send_pci_length: 8,
            send_length: sent.len() as u32,
            receive_protocol: 9,
            receive_pci_length: 0,
            receive_length: room,
            rv: 1,
        };
        let (done, response) = caller.call(RequestCode::Transmit, body(5, b"four"), b"four");
        assert_eq!((done.rv, done.receive_protocol), (codes::SCARD_S_SUCCESS, 1));
        assert_eq!((done.receive_pci_length, done.receive_length), (8, 4));
        assert_eq!(response, b"four");
        // The longest command, and a client that announces more room than an answer has.
        let longest = vec![7; MAX_PAYLOAD];
        let (done, response) = caller.call(RequestCode::Transmit, body(u32::MAX, &longest), &longest);
        assert_eq!(done.receive_length as usize, MAX_PAYLOAD);
        assert!(response == longest);
        let longest = format!("transmit 70 2: {MAX_PAYLOAD} bytes, room for {MAX_PAYLOAD}");
        caller
            .script
            .expect(&["transmit 70 2: 4 bytes, room for 5", &longest]);
        caller.script.refuse(Failed::too_small(6));
        let (small, response) = caller.call(RequestCode::Transmit, body(5, b"four"), b"four");
        assert_eq!(
            (small.rv, small.receive_length, response.len()),
            (codes::SCARD_E_INSUFFICIENT_BUFFER, 6, 0)
        );
        let too_long = TransmitBody {
            send_length: MAX_PAYLOAD as u32 + 1,
            ..body(5, b"")
        };
        let ended = caller.try_call(RequestCode::Transmit, too_long, &[]);
        assert!(matches!(ended, Err(ClientEnd::Protocol(_))));
    });
}

#[test]
fn control_requests_are_answered_alike() {
    with_card(|caller, card| {
        let body = ControlBody {
            card,
            code: 11,
            send_length: 4,
            receive_length: 5,
            returned: 9,
            rv: 1,
        };
        let (done, answer) = caller.call(RequestCode::Control, body, b"four");
        assert_eq!((done.rv, done.returned), (codes::SCARD_S_SUCCESS, 4));
        assert_eq!(answer, b"four");
        caller.script.expect(&["control 70 11: 4 bytes, room for 5"]);
        caller.script.refuse(Failed::too_small(6));
        let (small, answer) = caller.call(RequestCode::Control, body, b"four");
        assert_eq!(
            (small.rv, small.returned, answer.len()),
            (codes::SCARD_E_INSUFFICIENT_BUFFER, 6, 0)
        );
    });
}

#[test]
fn attributes_have_their_lengths_and_names_are_those_of_the_list() {
    with_card(|caller, card| {
        let body = |id, room| AttributeBody {
            card,
            id,
            value: [1; ATTRIBUTE_SIZE],
            length: room,
            rv: 1,
        };
        let mut get = |id, room| {
            let (got, _) = caller.call(RequestCode::GetAttrib, body(id, room), &[]);
            let is_there = got.rv == codes::SCARD_S_SUCCESS;
            (
                got.rv,
                got.length,
                got.value[..if is_there { got.length as usize } else { 0 }].to_vec(),
            )
        };
        let there = b"Reader 00 00";
        let there = (codes::SCARD_S_SUCCESS, there.len() as u32, there.to_vec());
        assert_eq!(get(1, 12), there);
        let too_small = codes::SCARD_E_INSUFFICIENT_BUFFER;
        assert_eq!(get(1, 11), (too_small, 12, Vec::new()));
        let name = b"Reader (source 2) 00 00\0";
        let names = [
            codes::SCARD_ATTR_DEVICE_FRIENDLY_NAME,
            codes::SCARD_ATTR_DEVICE_SYSTEM_NAME,
        ];
        for id in names {
            let named = (codes::SCARD_S_SUCCESS, name.len() as u32, name.to_vec());
            assert_eq!(get(id, ATTRIBUTE_SIZE as u32), named);
        }
        let [friendly, system] = names.map(|id| format!("get 70 {id}"));
        caller
            .script
            .expect(&["get 70 1", "get 70 1", &friendly, &system]);
        let longest = body(7, ATTRIBUTE_SIZE as u32);
        let (set, _) = caller.call(RequestCode::SetAttrib, longest, &[]);
        assert_eq!((set.rv, set.value), (codes::SCARD_S_SUCCESS, [0; ATTRIBUTE_SIZE]));
        caller.call(RequestCode::SetAttrib, body(7, 3), &[]);
        let longest = format!("set 70 7: {ATTRIBUTE_SIZE} bytes");
        caller.script.expect(&[&longest, "set 70 7: 3 bytes"]);
        let too_long = body(7, ATTRIBUTE_SIZE as u32 + 1);
        let ended = caller.try_call(RequestCode::SetAttrib, too_long, &[]);
        assert!(matches!(ended, Err(ClientEnd::Protocol(_))));
    });
}
