//! Every protocol version, against a scripted daemon: all calls, their round trips, and waits.

mod waits;

use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};

use pcsc_client::{
    Attribute, BackendKind, Context, Disposition, Error, Event, Protocols, ReaderState, ShareMode, State,
    PNP_NOTIFICATION,
};
use pcsc_tests::scripted::{endian, reader, repeat_with_other_endian, Answer, Script, Scripted, LONG};
use pcsc_wire::{Endian, RequestCode, Version, EVENT_SIZE};

const MINORS: std::ops::RangeInclusive<i32> = 2..=6;
const READER: &CStr = c"Scripted 00";
/// How long the answer to a size query is kept.
const KEPT: Duration = Duration::from_millis(100);
/// How often a call is repeated that may take longer than that.
const MOST_TRIES: usize = 50;
/// Room for the names of all readers here.
const LENGTH: usize = 4096;

fn names(context: &Context) -> Vec<CString> {
    context.list_readers_owned().unwrap()
}

fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "never came about");
        std::thread::yield_now();
    }
}

#[test]
fn every_call_costs_one_round_trip() {
    for minor in MINORS {
        let daemon = Scripted::start(Script::new(minor));
        let rounds = |call: &mut dyn FnMut()| {
            let before = daemon.rounds();
            call();
            daemon.rounds() - before
        };
        // The first context with an older daemon needs a second VERSION request, on the same connection. With
        // a daemon of the other byte order it needs a second connection.
        let swaps = usize::from(endian() != Endian::NATIVE);
        let first = rounds(&mut || drop(daemon.context()));
        assert_eq!(
            (first, daemon.connections()),
            (swaps + if minor == 6 { 2 } else { 3 }, swaps + 1),
            "4.{minor}"
        );
        assert_eq!(
            rounds(&mut || drop(daemon.context())),
            2,
            "establish and release, 4.{minor}"
        );
        assert_eq!(daemon.connections(), swaps + 2);

        let context = daemon.context();
        let version = Version { major: 4, minor };
        assert!(
            matches!(context.backend(), BackendKind::Daemon { version: spoken, .. } if spoken == version)
        );
        let mut card = None;
        let check = |name, call: &mut dyn FnMut()| assert_eq!(rounds(call), 1, "{name}, 4.{minor}");
        check("list_readers, count unknown", &mut || {
            assert_eq!(names(&context), [READER.to_owned()])
        });
        check("list_readers", &mut || {
            assert_eq!(names(&context), [READER.to_owned()])
        });
        check("connect", &mut || {
            card = context.connect(READER, ShareMode::Shared, Protocols::ANY).ok()
        });
        let mut card = card.unwrap();
        let terms = (ShareMode::Shared, Protocols::ANY, Disposition::LeaveCard);
        check("reconnect", &mut || {
            card.reconnect(terms.0, terms.1, terms.2).unwrap()
        });
        let mut buffer = vec![0; 70_000];
        check("transmit", &mut || {
            assert_eq!(card.transmit(b"hello", &mut buffer).unwrap(), b"hello")
        });
        let long = vec![7; 65_548];
        check("transmit, long", &mut || {
            assert_eq!(card.transmit(&long, &mut buffer).unwrap(), &long[..])
        });
        check("control", &mut || {
            assert_eq!(card.control(1, b"abc", &mut buffer).unwrap(), b"abc")
        });
        check("status", &mut || {
            assert_eq!(card.status2_owned().unwrap().atr(), [0x3B, 0x80, 0x01, 0x81])
        });
        let vendor = Attribute::VendorName;
        check("get_attribute", &mut || {
            assert_eq!(card.get_attribute_owned(vendor).unwrap(), b"ATTR")
        });
        check("set_attribute", &mut || card.set_attribute(vendor, b"x").unwrap());
        let mut states = [ReaderState::new(READER, State::UNAWARE)];
        check("status change", &mut || {
            context.get_status_change(Duration::ZERO, &mut states).unwrap()
        });
        assert_eq!(states[0].event_state(), State::CHANGED | State::PRESENT);
        states[0].sync_current_state();
        check("status change, nothing new", &mut || {
            assert_eq!(
                context.get_status_change(Duration::ZERO, &mut states),
                Err(Error::Timeout)
            );
        });
        let mut pnp = [ReaderState::new(PNP_NOTIFICATION(), State::UNAWARE)];
        check("status change of the pseudo-reader", &mut || {
            assert_eq!(
                context.get_status_change(Duration::ZERO, &mut pnp),
                Err(Error::Timeout)
            );
        });
        assert_eq!(pnp[0].event_count(), if minor >= 5 { 1 } else { 0 });
        check("begin transaction", &mut || {
            std::mem::forget(card.transaction().unwrap())
        });
        let mut card = Some(card);
        check("disconnect", &mut || drop(card.take()));
    }
}

#[test]
fn a_size_query_and_the_call_that_follows_cost_one_round_trip() {
    for minor in MINORS {
        let daemon = Scripted::start(Script::new(minor));
        let context = daemon.context();
        let card = context
            .connect(READER, ShareMode::Shared, Protocols::ANY)
            .unwrap();
        // On a busy machine `call` may take longer than `KEPT`. It is then repeated.
        let rounds = |call: &dyn Fn()| {
            for _ in 0..MOST_TRIES {
                let (before, begin) = (daemon.rounds(), Instant::now());
                call();
                if begin.elapsed() < KEPT {
                    return daemon.rounds() - before;
                }
            }
            panic!("no call takes less than {KEPT:?}");
        };
        let length = || context.list_readers_len().unwrap();
        let list = |length: usize| context.list_readers(&mut vec![0; length]).unwrap().count();
        let value = |attribute| {
            let length = card.get_attribute_len(attribute).unwrap();
            card.get_attribute(attribute, &mut vec![0; length])
                .map(<[u8]>::to_vec)
                .unwrap()
        };
        assert_eq!(rounds(&|| assert_eq!(list(length()), 1)), 1, "4.{minor}");
        assert_eq!(
            rounds(&|| assert_eq!(value(Attribute::VendorName), b"ATTR")),
            1,
            "4.{minor}"
        );
        // The second call requests attributes of the card again.
        assert_eq!(
            rounds(&|| assert_eq!(value(Attribute::AtrString), b"ATTR")),
            2,
            "4.{minor}"
        );

        // A reader that comes in between is in the next list, and does not make the buffer too small.
        let is_listed_next = (0..MOST_TRIES).any(|_| {
            daemon.change(|readers| {
                readers
                    .iter_mut()
                    .skip(1)
                    .for_each(|slot| *slot = Default::default())
            });
            let begin = Instant::now();
            let room = length();
            daemon.change(|readers| match readers.get_mut(1) {
                Some(slot) => *slot = reader(1),
                None => readers.push(reader(1)),
            });
            let before = daemon.rounds();
            let listed = context.list_readers(&mut vec![0; room]).map(Iterator::count);
            if begin.elapsed() >= KEPT {
                return false;
            }
            assert_eq!((listed, daemon.rounds() - before), (Ok(1), 0), "4.{minor}");
            true
        });
        assert!(is_listed_next, "no call takes less than {KEPT:?}");
        // The answer serves one call.
        assert_eq!(rounds(&|| assert_eq!(list(LENGTH), 2)), 1, "4.{minor}");

        // It does not serve a call after another call, after 100 ms, or for another attribute.
        let stale = |between: &dyn Fn()| {
            assert!(length() > 0);
            daemon.change(|readers| readers[1] = Default::default());
            between();
            let found = list(LENGTH);
            daemon.change(|readers| readers[1] = reader(1));
            found
        };
        assert_eq!(
            stale(&|| assert!(card.transmit(b"x", &mut [0; 8]).is_ok())),
            1,
            "4.{minor}"
        );
        assert_eq!(stale(&|| drop(value(Attribute::VendorName))), 1, "4.{minor}");
        assert_eq!(stale(&|| assert!(length() > 0)), 1, "4.{minor}");
        assert_eq!(
            stale(&|| std::thread::sleep(KEPT + Duration::from_millis(1))),
            1,
            "4.{minor}"
        );
        let other = || {
            card.get_attribute_len(Attribute::VendorName).unwrap();
            card.get_attribute_owned(Attribute::VendorIfdType).unwrap();
        };
        assert_eq!(rounds(&other), 2, "4.{minor}");
    }
}

#[test]
fn any_number_of_slots_is_detected() {
    for (minor, slots) in [
        (2, 16),
        (2, 32),
        (3, 16),
        (3, 32),
        (4, 1),
        (4, 16),
        (4, 17),
        (4, 48),
        (5, 16),
        (5, 64),
        (6, 33),
        (6, 64),
    ] {
        let daemon = Scripted::start(Script {
            slots,
            readers: slots,
            ..Script::new(minor)
        });
        let context = daemon.context();
        for _ in 0..2 {
            assert_eq!(names(&context).len(), slots, "4.{minor}");
        }
        // More entries than PC/SC Lite accepts.
        let mut states: Vec<_> = names(&context)
            .into_iter()
            .map(|n| ReaderState::new(n, State::UNAWARE))
            .collect();
        context.get_status_change(LONG, &mut states).unwrap();
        assert!(states
            .iter()
            .all(|state| state.event_state().contains(State::PRESENT)));
    }
}

#[test]
fn daemons_of_all_versions_at_once_and_one_after_another() {
    let daemons: Vec<Scripted> = MINORS
        .map(|minor| {
            Scripted::start(Script {
                slots: 10 + minor as usize,
                ..Script::new(minor)
            })
        })
        .collect();
    let contexts: Vec<Context> = daemons.iter().map(Scripted::context).collect();
    std::thread::scope(|scope| {
        for context in &contexts {
            scope.spawn(|| (0..200).for_each(|_| assert_eq!(names(context), [READER.to_owned()])));
        }
    });

    // One socket whose daemon is replaced.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("comm");
    let establish = || {
        Context::builder()
            .socket_path(&path)
            .answer_limit(LONG)
            .establish()
    };
    for (minor, is_swapped) in [4, 6, 3, 5, 2, 6, 4, 2, 6]
        .into_iter()
        .zip([false, true, true].into_iter().cycle())
    {
        let endian = match is_swapped {
            true => Endian::NATIVE.other(),
            false => Endian::NATIVE,
        };
        let daemon = Scripted::start_at(
            &path,
            Script {
                endian,
                takes_older: minor == 6,
                ..Script::new(minor)
            },
        );
        let context = establish().unwrap();
        let version = Version { major: 4, minor };
        let spoken = |context: &Context| match context.backend() {
            BackendKind::Daemon { version: spoken, .. } => spoken == version,
            _ => false,
        };
        assert!(spoken(&context), "4.{minor}");
        assert_eq!(names(&context).len(), 1);
        assert_eq!(context.is_valid(), Ok(()));
        drop(daemon);
        assert_eq!(context.is_valid(), Err(Error::InvalidHandle));
        let failure = context.try_list_readers().unwrap_err();
        assert_eq!(failure.error(), Error::NoService);
        assert!(
            failure.to_string().contains("establish a new context"),
            "{failure}"
        );
        assert_eq!(establish().unwrap_err().error(), Error::NoService);
    }
}

#[test]
fn sharing_violations_are_retried() {
    let daemon = Scripted::start(Script {
        violations: 3,
        ..Script::new(4)
    });
    let context = daemon.context();
    let mut card = context
        .connect(READER, ShareMode::Shared, Protocols::ANY)
        .unwrap();
    assert_eq!(card.transmit(b"x", &mut [0; 8]).unwrap(), b"x");
    assert!(card.transaction_timeout(LONG).is_ok());

    let daemon = Scripted::start(Script {
        violations: usize::MAX,
        ..Script::new(4)
    });
    let context = daemon.context();
    let mut card = context
        .connect(READER, ShareMode::Shared, Protocols::ANY)
        .unwrap();
    assert_eq!(
        card.transaction_timeout(Duration::from_millis(30))
            .map(drop)
            .map_err(Error::from),
        Err(Error::Timeout)
    );
    // The context can still be used.
    assert_eq!(names(&context).len(), 1);
}

#[test]
fn the_same_with_daemons_of_the_other_byte_order() {
    repeat_with_other_endian("the_same_with_daemons_of_the_other_byte_order");
}
