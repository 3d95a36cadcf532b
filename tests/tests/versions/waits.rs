//! Waits for changes, in each version.

use super::*;

#[test]
fn waits_see_cards_and_readers_come_and_go() {
    for minor in MINORS {
        let daemon = Scripted::start(Script::new(minor));
        let context = daemon.context();
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
                daemon.change(|readers| {
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
            // The card is replaced between two looks.
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
        daemon.change(|readers| match readers.get_mut(1) {
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
        daemon.change(|readers| readers[1] = Default::default());
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
        let daemon = Scripted::start(Script {
            answers_every_stop,
            ..Script::new(minor)
        });
        let context = daemon.context();
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
            until(|| daemon.has_waiter());
            context.cancel().unwrap();
            assert_eq!(waiter.join().unwrap(), Err(Error::Cancelled));
        });

        // At the same time as a timeout and an event. Any order is right, and no bytes are left over.
        for round in 0..200 {
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| wait(Duration::from_micros(50 * (round % 20))));
                context.cancel().unwrap();
                if round % 3 == 0 {
                    daemon.change(|_| ());
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
        let daemon = Scripted::start(Script {
            answers_every_stop,
            intercept: Some(Box::new(move |command, answer, _| {
                if command != RequestCode::StopWaitingReaderStateChange {
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
        let context = daemon.context();
        let card = context
            .connect(READER, ShareMode::Shared, Protocols::ANY)
            .unwrap();
        let mut states = [ReaderState::new(READER, State::PRESENT)];
        let mut wait = || {
            let before = daemon.rounds();
            let waited = context.get_status_change(Duration::from_millis(1), &mut states);
            assert_eq!(waited, Err(Error::Timeout), "4.{minor}, {answers_every_stop}");
            daemon.rounds() - before
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
        let daemon = Scripted::start(Script::new(minor));
        let session = pcsc_client::internals::Session::establish(&pcsc_client::internals::SessionOptions {
            socket: Some(daemon.path().to_owned()),
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
            until(|| daemon.has_waiter());
            session.release().unwrap();
            assert_eq!(waiter.join().unwrap(), Err(Error::Cancelled));
        });
        assert!(session.release().is_err());
    }
}
