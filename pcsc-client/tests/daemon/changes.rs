//! Waits for changes, and the events that end them.

use super::*;

#[test]
fn a_change_that_is_there_ends_a_wait_and_its_registration() {
    for minor in MINORS {
        let daemon = Daemon::of_version(minor);
        let context = daemon.context();
        let state = |known| [ReaderState::new(READER, known)];
        let now = State::PRESENT | State::INUSE;
        let mut unaware = state(State::UNAWARE);
        context.get_status_change(LONG, &mut unaware).unwrap();
        assert_eq!(unaware[0].event_state(), now | State::CHANGED);
        assert_eq!((unaware[0].event_count(), unaware[0].atr()), (CHANGES, ATR));
        assert!(!daemon.commands().contains(&RequestCode::WaitReaderStateChange));

        let mut known = state(State::EMPTY);
        context.get_status_change(LONG, &mut known).unwrap();
        assert_eq!(known[0].event_state(), now | State::CHANGED);
        // The end of the registration is skipped before the next answer.
        for _ in 0..2 {
            let nothing = context.get_status_change(Duration::ZERO, &mut state(now));
            assert_eq!(nothing, Err(Error::Timeout));
        }
        let commands = daemon.commands();
        let count = |wanted| commands.iter().filter(|command| **command == wanted).count();
        assert_eq!(count(RequestCode::WaitReaderStateChange), 1, "4.{minor}");
        assert_eq!(count(RequestCode::StopWaitingReaderStateChange), 1, "4.{minor}");

        let short = Duration::from_millis(1);
        let nothing = context.get_status_change(short, &mut state(now));
        assert_eq!(nothing, Err(Error::Timeout));
        context.cancel().unwrap();
        let cancelled = context.get_status_change(LONG, &mut state(now));
        assert_eq!(cancelled, Err(Error::Cancelled));
        // The answer to this one shows that the end of the registration has arrived.
        assert_eq!(context.list_readers_owned().unwrap(), [READER.to_owned()]);
        let commands = daemon.commands();
        let count = |wanted| commands.iter().filter(|command| **command == wanted).count();
        let waits = count(RequestCode::WaitReaderStateChange);
        assert_eq!(
            waits,
            count(RequestCode::StopWaitingReaderStateChange),
            "4.{minor}"
        );

        let mut pnp = [ReaderState::new(pcsc_client::PNP_NOTIFICATION(), State::UNAWARE)];
        let _ = context.get_status_change(Duration::ZERO, &mut pnp);
        let expected = if minor >= 5 { READER_EVENTS } else { 0 };
        assert_eq!(pnp[0].event_count(), expected, "4.{minor}");
    }
}

#[test]
fn events_begin_with_what_is_there() {
    let daemon = Daemon::of_version(4);
    let context = daemon.context();
    let reader = || READER.to_owned();
    let inserted = || Event::CardInserted {
        reader: reader(),
        atr: ATR.to_vec(),
    };
    for has_card in [true, false] {
        daemon.set_card(has_card);
        let mut events = context.events();
        let mut next = || events.next_timeout(Duration::from_millis(1)).transpose().unwrap();
        assert_eq!(next(), Some(Event::ReaderAdded { reader: reader() }));
        assert_eq!(next(), has_card.then(inserted));
        assert_eq!(next(), None);
        daemon.set_card(!has_card);
        let changed = match has_card {
            true => Event::CardRemoved { reader: reader() },
            false => inserted(),
        };
        assert_eq!(next(), Some(changed));
        assert_eq!(next(), None);
    }
}

#[test]
fn an_event_ends_a_wait_whenever_it_comes() {
    const PRESENT: State = State::from_bits_retain(State::PRESENT.bits() | State::INUSE.bits());
    for minor in MINORS {
        // Among the answers to the registration.
        let daemon = Daemon::start(Script {
            is_removed: true,
            ..script(minor)
        });
        let context = daemon.context();
        let mut readers = [ReaderState::new(READER, PRESENT)];
        context.get_status_change(LONG, &mut readers).unwrap();
        assert_eq!(
            readers[0].event_state(),
            State::EMPTY | State::CHANGED,
            "4.{minor}"
        );
        assert_eq!(context.list_readers_owned().unwrap(), [READER.to_owned()]);
        let commands = daemon.commands();
        let count = |wanted| commands.iter().filter(|command| **command == wanted).count();
        let stops = count(RequestCode::StopWaitingReaderStateChange);
        assert_eq!(count(RequestCode::WaitReaderStateChange), stops + 1, "4.{minor}");

        // While the client sleeps.
        let daemon = Daemon::of_version(minor);
        let context = daemon.context();
        context.list_readers_owned().unwrap();
        daemon.commands();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let mut readers = [ReaderState::new(READER, PRESENT)];
                context.get_status_change(LONG, &mut readers).map(|()| readers)
            });
            daemon.wait_for(RequestCode::WaitReaderStateChange);
            daemon.wait_for(RequestCode::Version);
            daemon.remove_card();
            let readers = waiter.join().unwrap().unwrap();
            assert_eq!(
                readers[0].event_state(),
                State::EMPTY | State::CHANGED,
                "4.{minor}"
            );
        });
        assert_eq!(context.list_readers_owned().unwrap(), [READER.to_owned()]);
    }
}

#[test]
fn a_reader_that_goes_before_the_first_look_is_reported() {
    let daemon = Daemon::of_version(4);
    let context = daemon.context();
    let mut events = context.events();
    let mut next = || events.next_timeout(Duration::from_millis(1)).transpose().unwrap();
    let reader = || READER.to_owned();
    assert_eq!(next(), Some(Event::ReaderAdded { reader: reader() }));
    daemon.set_reader(false);
    assert_eq!(next(), Some(Event::ReaderRemoved { reader: reader() }));
    assert_eq!(next(), None);
    assert!(context.list_readers_owned().unwrap().is_empty());
    assert_eq!(context.list_readers_len(), Ok(0));
    assert_eq!(context.list_readers(&mut []).unwrap().count(), 0);
}
