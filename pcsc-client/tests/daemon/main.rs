//! A context's messages to a daemon and what it makes of the answers, in each version of the protocol.
//!
//! The daemon here answers from a script. `tests/tests/versions` and `hazards` have one that does more.
#![cfg(all(feature = "daemon", unix))]

mod changes;
mod scripted;
mod version;

use std::ffi::CStr;
use std::time::Duration;

use pcsc_client::internals::{Pci, Session, SessionOptions};
use pcsc_client::{
    Attribute, BackendKind, Disposition, Error, Event, Protocol, Protocols, ReaderState, ShareMode, State,
    Status,
};
use pcsc_wire::{self as wire, Endian, RequestCode};

use scripted::*;

const MINORS: std::ops::RangeInclusive<i32> = 2..=6;

/// The requests for the states, once the number of them is known.
fn state_requests(minor: i32) -> Vec<RequestCode> {
    match minor {
        6 => vec![
            RequestCode::GetReadersStateSize,
            RequestCode::GetReadersStateArray,
            RequestCode::Version,
        ],
        _ => vec![RequestCode::GetReadersState],
    }
}

#[test]
fn a_context_speaks_the_daemons_version_and_remembers_it() {
    for minor in MINORS {
        let daemon = Daemon::of_version(minor);
        // How many connections and VERSION requests a context takes. In 4.2 one more ends the states, from
        // which the size of names is known.
        let establish = || {
            let before = daemon.connections();
            let context = daemon.context();
            let BackendKind::Daemon { version, .. } = context.backend() else {
                panic!("{:?}", context.backend());
            };
            assert_eq!(version, daemon.script.version);
            let commands = daemon.commands();
            let asked = commands
                .iter()
                .filter(|command| **command == RequestCode::Version);
            let asked = asked.count() - usize::from(minor == 2);
            context.release().unwrap();
            let (released, _) = daemon.request::<wire::ReleaseBody>(RequestCode::ReleaseContext);
            assert_eq!(released.context, CONTEXT);
            (daemon.connections() - before, asked)
        };
        assert_eq!(establish(), (1, if minor == 6 { 1 } else { 2 }), "4.{minor}");
        // Other tests of this process may take the place of what is remembered.
        assert!((0..100).any(|_| establish() == (1, 1)), "4.{minor}");
    }
}

#[test]
fn a_daemon_of_the_other_byte_order_is_understood() {
    let endian = Endian::NATIVE.other();
    let daemon = Daemon::start(Script { endian, ..script(6) });
    for _ in 0..2 {
        let context = daemon.context();
        let card = context
            .connect(READER, ShareMode::Shared, Protocols::ANY)
            .unwrap();
        assert_eq!(card.transmit(b"\x01\x02", &mut [0; 9]).unwrap(), b"\x02\x01");
        assert_eq!(card.attribute_number(b"\x01\x02\x03\x04"), {
            let (little, big) = (0x0403_0201, 0x0102_0304);
            Some(if endian == Endian::Big { big } else { little })
        });
    }
}

#[test]
fn readers_and_status_come_with_the_states() {
    for minor in MINORS {
        let daemon = Daemon::of_version(minor);
        let context = daemon.context();
        let card = context
            .connect(READER, ShareMode::Shared, Protocols::ANY)
            .unwrap();
        assert_eq!(context.list_readers_owned().unwrap(), [READER.to_owned()]);
        daemon.commands();
        for _ in 0..2 {
            assert_eq!(context.list_readers_owned().unwrap(), [READER.to_owned()]);
            assert_eq!(daemon.commands(), state_requests(minor));
            let status = card.status2_owned().unwrap();
            assert_eq!(status.atr(), ATR);
            assert_eq!(status.protocol2(), Some(Protocol::T1));
            assert_eq!(
                status.status(),
                Status::PRESENT | Status::POWERED | Status::NEGOTIABLE
            );
            let expected = [state_requests(minor), vec![RequestCode::Status]].concat();
            assert_eq!(daemon.commands(), expected);
        }
    }
}

#[test]
fn each_call_sends_what_it_is_given_and_returns_what_comes_back() {
    for minor in MINORS {
        let daemon = Daemon::of_version(minor);
        let context = daemon.context();
        daemon.commands();
        let mut card = context
            .connect(READER, ShareMode::Exclusive, Protocols::T1)
            .unwrap();
        let (sent, _) = daemon.request::<wire::ConnectBody>(RequestCode::Connect);
        assert_eq!((sent.context, sent.share, sent.protocols), (CONTEXT, 1, 2));
        assert_eq!(CStr::from_bytes_until_nul(&sent.reader), Ok(READER));
        assert_eq!(card.active_protocol(), Some(Protocol::T1));

        // Short commands are copied behind the request, long ones are not.
        for length in [0, 1, 300, 301, 5000] {
            let command: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut expected = command.clone();
            expected.reverse();
            let mut room = vec![0; length];
            assert_eq!(card.transmit(&command, &mut room).unwrap(), expected);
            let (sent, data) = daemon.request::<wire::TransmitBody>(RequestCode::Transmit);
            assert_eq!((sent.card, sent.send_protocol, data), (CARD, 2, command.clone()));
            assert_eq!(sent.receive_length as usize, length);
            let code = 0x4200_0001;
            assert_eq!(card.control(code, &command, &mut room).unwrap(), expected);
            let (sent, data) = daemon.request::<wire::ControlBody>(RequestCode::Control);
            assert_eq!((sent.card, sent.code, data), (CARD, 0x4200_0001, command));
            assert_eq!(sent.receive_length as usize, length);
        }
        assert_eq!(
            card.transmit2(b"12345", &mut [0; 4]),
            Err((Error::InsufficientBuffer, 5))
        );
        let longest = vec![0; wire::MAX_PAYLOAD + 1];
        assert_eq!(
            card.transmit(&longest, &mut [0; 2]),
            Err(Error::InsufficientBuffer)
        );
        assert_eq!(
            daemon.commands(),
            [RequestCode::Transmit],
            "the longest is not sent"
        );
        let mut room = vec![0; wire::MAX_PAYLOAD + 1];
        assert_eq!(card.transmit(b"12", &mut room).unwrap(), b"21");
        let (sent, _) = daemon.request::<wire::TransmitBody>(RequestCode::Transmit);
        assert_eq!(sent.receive_length as usize, wire::MAX_PAYLOAD);

        assert_eq!(
            card.get_attribute_owned(Attribute::MaxClk).unwrap(),
            b"\x01\x02\x03\x04"
        );
        let (sent, _) = daemon.request::<wire::AttributeBody>(RequestCode::GetAttrib);
        assert_eq!((sent.card, sent.id), (CARD, Attribute::MaxClk as u32));
        card.set_attribute(Attribute::SupressT1IfsRequest, b"\x09\x08")
            .unwrap();
        let (sent, _) = daemon.request::<wire::AttributeBody>(RequestCode::SetAttrib);
        assert_eq!(
            (sent.card, sent.id),
            (CARD, Attribute::SupressT1IfsRequest as u32)
        );
        assert_eq!((sent.length, &sent.value[..3]), (2, &b"\x09\x08\0"[..]));
        let too_long = [0; wire::ATTRIBUTE_SIZE + 1];
        let refused = card.set_attribute(Attribute::SupressT1IfsRequest, &too_long);
        assert_eq!(refused, Err(Error::InsufficientBuffer));

        let transaction = card.transaction().unwrap();
        let (sent, _) = daemon.request::<wire::BeginTransactionBody>(RequestCode::BeginTransaction);
        assert_eq!(sent.card, CARD);
        transaction.end(Disposition::UnpowerCard).unwrap();
        let (sent, _) = daemon.request::<wire::EndTransactionBody>(RequestCode::EndTransaction);
        assert_eq!((sent.card, sent.disposition), (CARD, 2));

        card.reconnect(ShareMode::Shared, Protocols::ANY, Disposition::ResetCard)
            .unwrap();
        let (sent, _) = daemon.request::<wire::ReconnectBody>(RequestCode::Reconnect);
        let expected = (CARD, 2, 3, 1);
        assert_eq!(
            (sent.card, sent.share, sent.protocols, sent.initialization),
            expected
        );
        assert_eq!(card.active_protocol(), Some(Protocol::T0));
        card.disconnect(Disposition::LeaveCard).unwrap();
        let (sent, _) = daemon.request::<wire::DisconnectBody>(RequestCode::Disconnect);
        assert_eq!((sent.card, sent.disposition), (CARD, 0));
    }
}

#[test]
fn failures_of_the_daemon_are_those_of_the_calls() {
    let failing = Daemon::start(Script {
        failure: Error::RemovedCard.code(),
        ..script(4)
    });
    let connected = failing
        .context()
        .connect(READER, ShareMode::Shared, Protocols::ANY);
    assert_eq!(connected.unwrap_err(), Error::RemovedCard);

    // The calls of a card whose daemon fails them: the number of a card is all that the daemon needs.
    let session = Session::establish(&SessionOptions {
        socket: Some(failing.socket()),
        ..SessionOptions::default()
    })
    .unwrap();
    let pci = Pci {
        protocol: 2,
        length: 16,
    };
    let outcomes = [
        session.reconnect(CARD, 2, 3, 0, None).map(drop),
        session.disconnect(CARD, 0),
        session.begin_transaction(CARD, None),
        session.end_transaction(CARD, 0),
        session.status(CARD, READER.to_bytes()).map(drop),
        session
            .transmit(CARD, pci, pci, b"12", &mut [0; 9], None)
            .map(drop),
        session.control(CARD, 1, b"12", &mut [0; 9], None).map(drop),
        session.get_attribute(CARD, 1, false).map(drop),
        session.set_attribute(CARD, 1, b"1"),
    ];
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let failure = outcome.expect_err("a failure");
        assert_eq!(failure.error(), Error::RemovedCard, "call {number}");
    }
    // A reader that has no state is gone.
    assert_eq!(
        session.status(CARD, b"other").unwrap_err().error(),
        Error::ReaderUnavailable
    );
    session.release().unwrap();
    for outcome in [
        session.release(),
        session.check_alive(),
        session.disconnect(CARD, 0),
    ] {
        assert_eq!(outcome.unwrap_err().error(), Error::InvalidHandle);
    }
}

#[test]
fn a_transaction_waits_for_another_ones_end_but_not_beyond_its_deadline() {
    let daemon = Daemon::start(Script { busy: 3, ..script(4) });
    let context = daemon.context();
    let mut card = context
        .connect(READER, ShareMode::Shared, Protocols::ANY)
        .unwrap();
    daemon.commands();
    drop(card.transaction().unwrap());
    let mut expected = vec![RequestCode::BeginTransaction; 4];
    expected.push(RequestCode::EndTransaction);
    assert_eq!(daemon.commands(), expected);

    let daemon = Daemon::start(Script {
        busy: usize::MAX,
        ..script(4)
    });
    let context = daemon.context();
    let mut card = context
        .connect(READER, ShareMode::Shared, Protocols::ANY)
        .unwrap();
    let timed_out = card.transaction_timeout(Duration::from_millis(20)).map(drop);
    assert_eq!(timed_out.unwrap_err().error(), Error::Timeout);
    // The connection is still there.
    assert_eq!(card.transmit(b"12", &mut [0; 9]).unwrap(), b"21");
}

#[test]
fn the_answer_to_a_size_query_serves_the_next_call_alone() {
    let daemon = Daemon::of_version(4);
    let context = daemon.context();
    let card = context
        .connect(READER, ShareMode::Shared, Protocols::ANY)
        .unwrap();
    context.list_readers_owned().unwrap();
    let attribute = Attribute::VendorName;
    daemon.commands();
    let mut value = [0; 4];
    let mut room = vec![0; READER.to_bytes_with_nul().len() + 1];
    let mut pairs = || {
        assert_eq!(context.list_readers_len(), Ok(room.len()));
        let names: Vec<&CStr> = context.list_readers(&mut room).unwrap().collect();
        assert_eq!(names, [READER]);
        assert_eq!(card.get_attribute_len(attribute), Ok(4));
        assert_eq!(card.get_attribute(attribute, &mut value).unwrap().len(), 4);
        daemon.commands()
    };
    // The second call of a pair may come too late on a busy machine.
    let expected = [RequestCode::GetReadersState, RequestCode::GetAttrib];
    assert!((0..100).any(|_| pairs() == expected));

    // Not another attribute, nor one of the card, nor after another call.
    let mut ask = |first, second| {
        card.get_attribute_len(first).unwrap();
        card.get_attribute(second, &mut value).unwrap();
        daemon.commands()
    };
    assert_eq!(ask(attribute, Attribute::MaxClk), [RequestCode::GetAttrib; 2]);
    assert_eq!(
        ask(Attribute::AtrString, Attribute::AtrString),
        [RequestCode::GetAttrib; 2]
    );
    card.get_attribute_len(attribute).unwrap();
    card.transmit(b"12", &mut [0; 9]).unwrap();
    card.get_attribute(attribute, &mut value).unwrap();
    let expected = [
        RequestCode::GetAttrib,
        RequestCode::Transmit,
        RequestCode::GetAttrib,
    ];
    assert_eq!(daemon.commands(), expected);
    // Too small a buffer takes nothing.
    assert_eq!(
        card.get_attribute(attribute, &mut [0; 3]),
        Err(Error::InsufficientBuffer)
    );
    let short = context.list_readers(&mut room[1..]).map(drop);
    assert_eq!(short, Err(Error::InsufficientBuffer));
}

#[test]
fn a_call_that_gives_up_its_answer_is_the_contexts_last() {
    for has_limit in [true, false] {
        let daemon = Daemon::start(Script {
            is_silent: true,
            ..script(4)
        });
        let context = daemon.context();
        let card = context
            .connect(READER, ShareMode::Shared, Protocols::ANY)
            .unwrap();
        assert_eq!(context.is_valid(), Ok(()));
        let mut room = [0; 9];
        if has_limit {
            let failed = card.transmit_timeout(b"12", &mut room, Duration::from_millis(1));
            assert_eq!(failed.unwrap_err().error(), Error::Timeout);
        } else {
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| card.transmit(b"12", &mut [0; 9]).map(drop));
                daemon.wait_for(RequestCode::Transmit);
                daemon.end_connection();
                assert_eq!(waiter.join().unwrap(), Err(Error::CommError));
            });
        }
        assert_eq!(card.transmit(b"12", &mut room), Err(Error::NoService));
        assert_eq!(context.is_valid(), Err(Error::InvalidHandle));
    }
}

#[test]
fn the_end_of_the_daemon_is_noticed_without_a_call() {
    let daemon = Daemon::of_version(4);
    let context = daemon.context();
    daemon.end_connection();
    assert_eq!(context.is_valid(), Err(Error::InvalidHandle));
    assert_eq!(context.list_readers_owned(), Err(Error::NoService));
}
