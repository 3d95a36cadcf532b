//! Every protocol version, against a scripted daemon: all calls, their round trips, and waits.

use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};

use pcsc_client::{
    Attribute, BackendKind, Context, Disposition, Error, Event, Protocols, ReaderState, ShareMode, State,
    PNP_NOTIFICATION,
};
use pcsc_tests::scripted::{reader, Answer, Script, Scripted, LONG};
use pcsc_wire::{Command, Version, EVENT_SIZE};
use tempfile::TempDir;

const MINORS: std::ops::RangeInclusive<i32> = 2..=6;
const READER: &CStr = c"Scripted 00";
/// Room for the names of all readers here.
const LENGTH: usize = 4096;

struct Rig {
    _folder: TempDir,
    daemon: Scripted,
}

impl Rig {
    fn new(script: Script) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Scripted::start(&folder.path().join("comm"), script);
        Rig {
            _folder: folder,
            daemon,
        }
    }

    fn context(&self) -> Context {
        Context::builder()
            .socket_path(self.daemon.path())
            .answer_limit(LONG)
            .establish()
            .unwrap()
    }
}

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
        let rig = Rig::new(Script::new(minor));
        let rounds = |call: &mut dyn FnMut()| {
            let before = rig.daemon.rounds();
            call();
            rig.daemon.rounds() - before
        };
        // The first context with an older daemon needs a second VERSION request, on the same connection.
        let first = rounds(&mut || drop(rig.context()));
        assert_eq!(
            (first, rig.daemon.connections()),
            (if minor == 6 { 2 } else { 3 }, 1),
            "4.{minor}"
        );
        assert_eq!(
            rounds(&mut || drop(rig.context())),
            2,
            "establish and release, 4.{minor}"
        );
        assert_eq!(rig.daemon.connections(), 2);

        let context = rig.context();
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
        let rig = Rig::new(Script::new(minor));
        let context = rig.context();
        let card = context
            .connect(READER, ShareMode::Shared, Protocols::ANY)
            .unwrap();
        let rounds = |call: &dyn Fn()| {
            let before = rig.daemon.rounds();
            call();
            rig.daemon.rounds() - before
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
        // The second call asks again for what describes the card.
        assert_eq!(
            rounds(&|| assert_eq!(value(Attribute::AtrString), b"ATTR")),
            2,
            "4.{minor}"
        );

        // A reader that comes in between is in the next list, and does not make the buffer too small.
        let room = length();
        rig.daemon.change(|readers| match readers.get_mut(1) {
            Some(slot) => *slot = reader(1),
            None => readers.push(reader(1)),
        });
        assert_eq!(rounds(&|| assert_eq!(list(room), 1)), 0, "4.{minor}");
        // The answer serves one call.
        assert_eq!(rounds(&|| assert_eq!(list(LENGTH), 2)), 1, "4.{minor}");

        // It does not serve a call after another call, after 100 ms, or for another attribute.
        let stale = |between: &dyn Fn()| {
            length();
            rig.daemon.change(|readers| readers[1] = Default::default());
            between();
            let found = list(LENGTH);
            rig.daemon.change(|readers| readers[1] = reader(1));
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
            stale(&|| std::thread::sleep(Duration::from_millis(101))),
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
fn any_number_of_slots_is_learned() {
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
        let rig = Rig::new(Script {
            slots,
            readers: slots,
            ..Script::new(minor)
        });
        let context = rig.context();
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
fn waits_see_cards_and_readers_come_and_go() {
    for minor in MINORS {
        let rig = Rig::new(Script::new(minor));
        let context = rig.context();
        let mut events = context.events();
        let mut next = || events.next_timeout(LONG).unwrap().unwrap();
        let [first, second] = [0, 1].map(|slot| CString::new(reader(slot).name).unwrap());
        let atr = reader(0).atr;
        assert_eq!(
            next(),
            Event::ReaderAdded {
                reader: first.clone()
            },
            "4.{minor}"
        );
        assert_eq!(
            next(),
            Event::CardInserted {
                reader: first.clone(),
                atr: atr.clone()
            }
        );
        for _ in 0..20 {
            let change = |count: u32, atr: &[u8]| {
                rig.daemon.change(|readers| {
                    readers[0].event_counter += count;
                    readers[0].atr = atr.to_vec();
                });
            };
            change(1, &[]);
            assert_eq!(
                next(),
                Event::CardRemoved {
                    reader: first.clone()
                }
            );
            change(1, &atr);
            assert_eq!(
                next(),
                Event::CardInserted {
                    reader: first.clone(),
                    atr: atr.clone()
                }
            );
            // The card is exchanged between two looks.
            change(2, b"\x3B\x00");
            assert_eq!(
                next(),
                Event::CardRemoved {
                    reader: first.clone()
                }
            );
            assert_eq!(
                next(),
                Event::CardInserted {
                    reader: first.clone(),
                    atr: b"\x3B\x00".to_vec()
                }
            );
            change(2, &atr);
            next();
            next();
        }
        rig.daemon.change(|readers| match readers.get_mut(1) {
            Some(slot) => *slot = reader(1),
            None => readers.push(reader(1)),
        });
        assert_eq!(
            next(),
            Event::ReaderAdded {
                reader: second.clone()
            }
        );
        assert_eq!(
            next(),
            Event::CardInserted {
                reader: second.clone(),
                atr: atr.clone()
            }
        );
        rig.daemon.change(|readers| readers[1] = Default::default());
        assert_eq!(
            next(),
            Event::CardRemoved {
                reader: second.clone()
            }
        );
        assert_eq!(next(), Event::ReaderRemoved { reader: second });
        assert_eq!(names(&context), [first]);
    }
}

#[test]
fn a_wait_ends_with_its_time_or_a_cancel_and_leaves_nothing_behind() {
    // pcsc-lite up to 1.8.18 answers each STOP_WAITING.
    for (minor, answers_every_stop) in [(2, true), (3, true)]
        .into_iter()
        .chain(MINORS.map(|minor| (minor, false)))
    {
        let rig = Rig::new(Script {
            answers_every_stop,
            ..Script::new(minor)
        });
        let context = rig.context();
        let wait = |timeout: Duration| {
            let mut states = [ReaderState::new(READER, State::PRESENT)];
            context.get_status_change(timeout, &mut states)
        };
        assert_eq!(wait(Duration::from_millis(5)), Err(Error::Timeout), "4.{minor}");
        assert_eq!(names(&context).len(), 1);

        // A cancel before the wait ends one wait.
        context.cancel().unwrap();
        assert_eq!(wait(LONG), Err(Error::Cancelled));
        assert_eq!(wait(Duration::from_millis(1)), Err(Error::Timeout));

        // During the wait.
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(LONG));
            until(|| rig.daemon.has_waiter());
            context.cancel().unwrap();
            assert_eq!(waiter.join().unwrap(), Err(Error::Cancelled));
        });

        // At the time of a timeout and of an event. Any order is right, and no bytes are left over.
        for round in 0..200 {
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| wait(Duration::from_micros(50 * (round % 20))));
                context.cancel().unwrap();
                if round % 3 == 0 {
                    rig.daemon.change(|_| ());
                }
                let ended = waiter.join().unwrap();
                assert!(
                    matches!(ended, Err(Error::Cancelled | Error::Timeout)),
                    "{ended:?}"
                );
            });
            // A cancel after the end of the wait ends the next one.
            let _ = wait(Duration::ZERO);
            assert_eq!(names(&context).len(), 1, "out of step after {round} rounds");
        }
    }
}

/// An event crosses STOP_WAITING. Daemons up to 1.8.18 answer STOP_WAITING even so.
#[test]
fn an_event_may_cross_the_end_of_a_wait() {
    for (minor, answers_every_stop) in [(2, true), (3, true)]
        .into_iter()
        .chain(MINORS.map(|minor| (minor, false)))
    {
        let rig = Rig::new(Script {
            answers_every_stop,
            trick: Some(Box::new(move |command, answer, _| {
                if command != Command::StopWaitingReaderStateChange {
                    return Answer::Send(answer);
                }
                // The first word of an event is not initialised in 4.3.
                let event = [&[4, 0, 0, 0, 0, 0, 0, 0], &answer[..]].concat();
                Answer::Send(
                    event[..if answers_every_stop {
                        2 * EVENT_SIZE
                    } else {
                        EVENT_SIZE
                    }]
                        .to_vec(),
                )
            })),
            ..Script::new(minor)
        });
        let context = rig.context();
        let card = context
            .connect(READER, ShareMode::Shared, Protocols::ANY)
            .unwrap();
        let mut states = [ReaderState::new(READER, State::PRESENT)];
        let mut wait = || {
            let before = rig.daemon.rounds();
            let waited = context.get_status_change(Duration::from_millis(1), &mut states);
            assert_eq!(waited, Err(Error::Timeout), "4.{minor}, {answers_every_stop}");
            rig.daemon.rounds() - before
        };
        // Each kind of call follows a wait once.
        wait();
        assert_eq!(card.transmit(b"hello", &mut [0; 8]).unwrap(), b"hello");
        wait();
        assert_eq!(names(&context).len(), 1);
        wait();
        assert_eq!(card.status2_owned().unwrap().atr(), [0x3B, 0x80, 0x01, 0x81]);
        wait();
        wait();
        assert_eq!(context.is_valid(), Ok(()));
        assert_eq!(card.get_attribute_owned(Attribute::VendorName).unwrap(), b"ATTR");
    }
}

#[test]
fn a_release_ends_a_wait() {
    for minor in MINORS {
        let rig = Rig::new(Script::new(minor));
        let session = pcsc_client::internals::Session::establish(&pcsc_client::internals::Options {
            socket: Some(rig.daemon.path().to_owned()),
            ..Default::default()
        })
        .unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let mut watched = [pcsc_client::internals::Watched::new(READER.to_bytes(), 0x20)];
                session
                    .status_change(None, &mut watched, false)
                    .map_err(|failure| failure.error())
            });
            until(|| rig.daemon.has_waiter());
            session.release().unwrap();
            assert_eq!(waiter.join().unwrap(), Err(Error::Cancelled));
        });
        assert!(session.release().is_err());
    }
}

#[test]
fn daemons_of_all_versions_at_once_and_one_after_another() {
    let rigs: Vec<Rig> = MINORS
        .map(|minor| {
            Rig::new(Script {
                slots: 10 + minor as usize,
                ..Script::new(minor)
            })
        })
        .collect();
    let contexts: Vec<Context> = rigs.iter().map(Rig::context).collect();
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
    for minor in [4, 6, 3, 5, 2, 6, 4] {
        let daemon = Scripted::start(
            &path,
            Script {
                takes_older: minor == 6,
                ..Script::new(minor)
            },
        );
        let context = establish().unwrap();
        let version = Version { major: 4, minor };
        let spoken = |context: &Context| matches!(context.backend(), BackendKind::Daemon { version: v, .. } if v == version);
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
fn sharing_violations_are_waited_out() {
    let rig = Rig::new(Script {
        violations: 3,
        ..Script::new(4)
    });
    let context = rig.context();
    let mut card = context
        .connect(READER, ShareMode::Shared, Protocols::ANY)
        .unwrap();
    assert_eq!(card.transmit(b"x", &mut [0; 8]).unwrap(), b"x");
    assert!(card.transaction_timeout(LONG).is_ok());

    let rig = Rig::new(Script {
        violations: usize::MAX,
        ..Script::new(4)
    });
    let context = rig.context();
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
