//! Rules of pcscd that one call after another does not show: who waits, who is told, and what is left behind.

use pcsc_sim::card::apps::Several;
use pcsc_sim::card::{Behaviour, Offer, Profile, SimCard};

use super::*;

const DIRECT: u32 = 3;
const NAME: &[u8] = b"Bench 00 00";
const LEAVE: u32 = 0;

impl Rig {
    fn reader(&self) -> Arc<Reader> {
        self.manager.find(NAME).unwrap()
    }

    /// The card goes, and nothing tells it: an exchange finds out.
    fn lose_card_unseen(&self) {
        lock(&self.benches[0].state).has_card = false;
    }
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(10))
}

#[test]
fn a_context_that_is_released_while_it_connects_leaves_no_connection() {
    let rig = Rig::new(1);
    let session = rig.session();
    rig.benches[0].set(|bed| bed.is_held = true);
    std::thread::scope(|scope| {
        let connects = scope.spawn(|| connect(&session, EXCLUSIVE));
        let mut bed = lock(&rig.benches[0].state);
        while !bed.is_waiting {
            bed = rig.benches[0].moved.wait(bed).unwrap();
        }
        drop(bed);
        session.release().unwrap();
        rig.benches[0].set(|bed| bed.is_held = false);
        assert_eq!(connects.join().unwrap(), Err(Error::InvalidHandle.code()));
    });
    assert!(connect(&rig.session(), EXCLUSIVE).is_ok());
}

#[test]
fn no_transaction_begins_between_the_end_of_another_and_its_reset() {
    let rig = Rig::new(1);
    let (one, two) = (rig.session(), rig.session());
    let (a, b) = (connect(&one, SHARED).unwrap(), connect(&two, SHARED).unwrap());
    assert_eq!(one.begin_transaction(a, None).unwrap().rv, 0);
    let reader = rig.reader();
    let turn = reader.turn();
    std::thread::scope(|scope| {
        let disconnects = scope.spawn(|| one.disconnect(a, 1).unwrap().rv);
        let told = loop {
            let briefly = Some(Instant::now() + Duration::from_millis(5));
            match two.begin_transaction(b, briefly) {
                Ok(reply) => break reply.rv,
                Err(error) => assert_eq!(error.error(), Error::Timeout),
            }
        };
        assert_eq!(told, Error::ResetCard.code());
        drop(turn);
        assert_eq!(disconnects.join().unwrap(), 0);
    });
}

#[test]
fn nobody_waits_to_be_alone_for_what_does_not_mend() {
    let rig = Rig::new(1);
    let (one, two) = (rig.session(), rig.session());
    let (a, _b) = (connect(&one, SHARED).unwrap(), connect(&two, SHARED).unwrap());
    let alone = |protocols, initialization| {
        let reply = one.reconnect(a, EXCLUSIVE, protocols, initialization, 0, soon());
        reply.unwrap().rv
    };
    assert_eq!(alone(1, LEAVE), Error::ProtoMismatch.code());
    let state = change(&one, NAME, 0).unwrap() & !2;
    rig.benches[0].set(|bed| bed.has_card = false);
    change(&one, NAME, state).unwrap();
    for initialization in [LEAVE, 1, 2] {
        assert_eq!(alone(ANY, initialization), Error::NoSmartcard.code());
    }
}

#[test]
fn a_connection_to_the_reader_alone_does_not_keep_the_card_powered() {
    let rig = Rig::new(1);
    let session = rig.session();
    let reader = rig.reader();
    let card = connect(&session, SHARED).unwrap();
    assert_eq!(reader.due(), None);
    assert_eq!(session.disconnect(card, LEAVE).unwrap().rv, 0);
    assert!(reader.due().is_some());
    let direct = connect(&session, DIRECT).unwrap();
    assert!(reader.due().is_some());
    // One for the card does, until there are none at all.
    let card = connect(&session, SHARED).unwrap();
    assert_eq!(session.disconnect(card, LEAVE).unwrap().rv, 0);
    assert_eq!(reader.due(), None);
    assert_eq!(session.disconnect(direct, LEAVE).unwrap().rv, 0);
    assert!(reader.due().is_some());
}

#[test]
fn a_connection_to_the_reader_alone_does_not_wait_for_an_exchange() {
    let rig = Rig::new(1);
    let session = rig.session();
    let card = connect(&session, SHARED).unwrap();
    let slot = rig.reader();
    let busy = slot.turn();
    assert!(connect(&session, DIRECT).is_ok());
    assert_eq!(session.reconnect(card, DIRECT, 0, LEAVE, 0, None).unwrap().rv, 0);
    drop(busy);
}

#[test]
fn a_card_that_an_exchange_misses_is_one_event() {
    let rig = Rig::new(1);
    let session = rig.session();
    // From the first event on its count tells one from the next.
    let mut before = change(&session, NAME, 0).unwrap() & !2;
    for has_card in [false, true] {
        rig.benches[0].set(|bed| bed.has_card = has_card);
        before = change(&session, NAME, before).unwrap() & !2;
    }
    let card = connect(&session, SHARED).unwrap();
    let posted = rig.manager.board().changes();
    rig.lose_card_unseen();
    assert_eq!(echo(&session, card), Error::NoSmartcard.code());
    assert_eq!(rig.manager.board().changes(), posted);
    rig.benches[0].set(|_| ());
    assert!(rig.manager.board().wait(posted, soon()));
    let after = change(&session, NAME, before).unwrap();
    assert_eq!(after >> 16, (before >> 16) + 1);
}

#[test]
fn all_calls_agree_that_a_reader_is_gone() {
    let rig = Rig::new(1);
    let session = rig.session();
    let card = connect(&session, SHARED).unwrap();
    rig.benches[0].set(|bed| bed.is_gone = true);
    let gone = Error::ReaderUnavailable.code();
    wait_for_readers(&session, || echo(&session, card) == gone);
    assert_eq!(session.begin_transaction(card, None).unwrap().rv, gone);
    assert_eq!(session.end_transaction(card, LEAVE).unwrap().rv, gone);
    assert_eq!(session.status(card, NAME, |_| ()).unwrap().0, gone);
    let reconnected = session.reconnect(card, SHARED, ANY, LEAVE, 0, None);
    assert_eq!(reconnected.unwrap().rv, gone);
    assert_eq!(session.control(card, 0, &[], &mut [], None).unwrap().rv, gone);
    assert_eq!(session.get_attribute(card, 0).unwrap().rv, gone);
    assert_eq!(session.disconnect(card, LEAVE).unwrap().rv, 0);
}

#[test]
fn a_callers_time_ends_an_exchange_and_resets_the_card() {
    const SELECT: &[u8] = b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01";
    for model in ["gempc-express", "omnikey-3x21", "omnikey-5321"] {
        let reader = Simulated::new(model).unwrap();
        // Almost a second for each answer, by a clock of its own that goes faster.
        let slow = Behaviour {
            work: 10_000,
            ..Behaviour::default()
        };
        let card = SimCard::new(Profile::new(&[Offer::T1]), slow, Box::new(Several::demo()));
        let device = reader.device().clone();
        device.insert(0, card);
        let manager =
            Arc::new(Manager::start(Arc::new(SimulatedBus::of(vec![reader])), Settings::default()).unwrap());
        let session = Session::on(manager.clone());
        let name = manager.readers()[0].name.clone();
        let connected = session.connect(name.as_bytes(), SHARED, ANY, None).unwrap();
        assert_eq!(connected.rv, 0, "{model}");
        let card = connected.card;
        let resets = || device.with(|device| device.tally(0).resets);
        let before = resets();
        let soon = Instant::now() + Duration::from_millis(400);
        let late = transmit(&session, card, SELECT, Some(soon));
        assert_eq!(late.0, Error::Timeout.code(), "{model}");
        assert_eq!(resets(), before + 1, "{model}");
        assert_eq!(transmit(&session, card, SELECT, None).0, Error::ResetCard.code());
        assert_eq!(
            session.reconnect(card, SHARED, ANY, LEAVE, 0, None).unwrap().rv,
            0
        );
        let again = transmit(&session, card, SELECT, None);
        assert_eq!(again, (0, vec![0x90, 0x00]), "{model}");
    }
}

#[test]
fn a_new_connection_waits_for_the_end_of_a_transaction() {
    let rig = Rig::new(1);
    let (one, two) = (rig.session(), rig.session());
    let card = connect(&one, SHARED).unwrap();
    assert_eq!(one.begin_transaction(card, None).unwrap().rv, 0);
    for share in [SHARED, DIRECT] {
        let soon = Instant::now() + Duration::from_millis(5);
        let waited = two.connect(NAME, share, ANY, Some(soon)).unwrap();
        assert_eq!(waited.rv, Error::Timeout.code());
    }
    assert_eq!(one.end_transaction(card, LEAVE).unwrap().rv, 0);
    assert!(connect(&two, SHARED).is_ok());
}

#[test]
fn a_callers_time_ends_the_wait_for_its_turn() {
    let rig = Rig::new(1);
    let session = rig.session();
    let card = connect(&session, SHARED).unwrap();
    let slot = rig.reader();
    let busy = slot.turn();
    let soon = || Some(Instant::now() + Duration::from_millis(5));
    let timeout = Error::Timeout.code();
    assert_eq!(transmit(&session, card, &[0; 4], soon()).0, timeout);
    assert_eq!(
        session.control(card, 0, &[], &mut [], soon()).unwrap().rv,
        timeout
    );
    let connected = session.connect(NAME, SHARED, ANY, soon()).unwrap();
    assert_eq!(connected.rv, timeout);
    let reconnected = session.reconnect(card, SHARED, ANY, 1, 0, soon()).unwrap();
    assert_eq!(reconnected.rv, timeout);
    drop(busy);
    assert_eq!(echo(&session, card), 0);
}

#[test]
fn a_card_that_a_reset_finds_first_is_known_and_is_missed_when_it_goes() {
    let rig = Rig::new(1);
    let session = rig.session();
    let bench = &rig.benches[0];
    let known = change(&session, NAME, 0).unwrap() & !2;
    bench.set(|bed| bed.has_card = false);
    let known = change(&session, NAME, known).unwrap() & !2;
    let card = connect(&session, DIRECT).unwrap();
    lock(&bench.state).has_card = true;
    assert_eq!(session.reconnect(card, SHARED, ANY, 1, 0, None).unwrap().rv, 0);
    let known = change(&session, NAME, known).unwrap() & !2;
    assert_eq!(known & 0x30, 0x20);
    // The look that follows leaves it alone.
    let powers = bench.powers.load(Ordering::SeqCst);
    rig.reader().look();
    assert_eq!(bench.powers.load(Ordering::SeqCst), powers);
    assert_eq!(echo(&session, card), 0);
    bench.set(|bed| bed.has_card = false);
    let known = change(&session, NAME, known).unwrap();
    assert_eq!(known & 0x30, 0x10);
    assert_eq!(echo(&session, card), Error::RemovedCard.code());

    // A mute one likewise.
    {
        let mut bed = lock(&bench.state);
        (bed.has_card, bed.is_mute) = (true, true);
    }
    let reset = session.reconnect(card, SHARED, ANY, 1, 0, None).unwrap();
    assert_eq!(reset.rv, Error::UnresponsiveCard.code());
    let known = change(&session, NAME, known & !2).unwrap() & !2;
    assert_eq!(known & 0x220, 0x220);
    bench.set(|bed| bed.has_card = false);
    let known = change(&session, NAME, known).unwrap();
    assert_eq!(known & 0x30, 0x10);
}

#[test]
fn every_model_tells_of_cards_that_come_and_go() {
    for (model, _) in pcsc_sim::NAMES {
        let reader = Simulated::new(model).unwrap();
        let manager = Arc::new(
            Manager::start(
                Arc::new(SimulatedBus::of(vec![reader.clone()])),
                Settings::default(),
            )
            .unwrap(),
        );
        let session = Session::on(manager.clone());
        let name = manager.readers()[0].name.clone();
        let mut known = 0;
        for (has_card, expected) in [(true, 0x20), (false, 0x10), (true, 0x20), (false, 0x10)] {
            match has_card {
                true => reader.insert_card(0),
                false => reader.device().remove(0),
            }
            // The first look may see either.
            while known & 0x30 != expected {
                let mut watched = [Watched::new(name.as_bytes(), known)];
                let changed = session.status_change(Some(Duration::from_secs(20)), &mut watched, false);
                assert!(changed.is_ok(), "{name}: {changed:?}");
                known = watched[0].event().unwrap() & !2;
            }
        }
    }
}
