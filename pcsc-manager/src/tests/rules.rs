//! Rules of pcscd that show with concurrent calls or after failures.

use pcsc_sim::card::apps::Several;
use pcsc_sim::card::{Behaviour, Offer, Profile, SimCard};

use super::slots::slotted;
use super::*;

const DIRECT: u32 = 3;
const NAME: &[u8] = b"Bench 00 00";
const LEAVE: u32 = 0;

impl Rig {
    fn reader(&self) -> Arc<ManagedReader> {
        self.manager.find(NAME).unwrap()
    }

    /// Removes the card without an event: an exchange finds out. A poll for the events before is over.
    fn lose_card_unseen(&self) {
        self.benches[0].wait_until_polled();
        lock(&self.benches[0].state).has_card = false;
    }
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(60))
}

#[test]
fn a_context_that_is_released_while_it_connects_leaves_no_connection() {
    let rig = Rig::new(1);
    let client = rig.client();
    rig.benches[0].set(|bed| bed.is_held = true);
    std::thread::scope(|scope| {
        let connects = scope.spawn(|| connect(&client, EXCLUSIVE));
        rig.benches[0].wait_until_it_waits();
        client.release();
        rig.benches[0].set(|bed| bed.is_held = false);
        assert_eq!(connects.join().unwrap(), Err(CallError::InvalidHandle));
    });
    assert!(connect(&rig.client(), EXCLUSIVE).is_ok());
}

#[test]
fn no_transaction_begins_between_the_end_of_another_and_its_reset() {
    let rig = Rig::new(1);
    let (one, two) = (rig.client(), rig.client());
    let (a, b) = (connect(&one, SHARED).unwrap(), connect(&two, SHARED).unwrap());
    assert_eq!(one.begin_transaction(a, None), Ok(()));
    let reader = rig.reader();
    let turn = reader.driver();
    std::thread::scope(|scope| {
        let disconnects = scope.spawn(|| one.disconnect(a, 1));
        let told = loop {
            let briefly = Some(Instant::now() + Duration::from_millis(5));
            match two.begin_transaction(b, briefly) {
                Err(CallError::Timeout) => (),
                begun => break begun,
            }
        };
        assert_eq!(told, Err(CallError::ResetCard));
        // Nor is a connection made: it would not be notified of the reset.
        let briefly = Some(Instant::now() + Duration::from_millis(5));
        let made = rig.client().connect(NAME, DIRECT, ANY, briefly);
        assert_eq!(made, Err(CallError::Timeout));
        drop(turn);
        assert_eq!(disconnects.join().unwrap(), Ok(()));
    });
}

#[test]
fn no_connection_is_made_while_the_card_is_reset() {
    type Reset = fn(&Client, ConnectionHandle) -> Result<(), CallError>;
    let resets: [(Reset, Result<(), CallError>); 4] = [
        (|client, card| reconnect(client, card, SHARED, 1), Ok(())),
        (|client, card| reconnect(client, card, EXCLUSIVE, 2), Ok(())),
        (
            |client, card| client.end_transaction(card, 1),
            Err(CallError::NotTransacted),
        ),
        (|client, card| client.disconnect(card, 1), Ok(())),
    ];
    for (number, (reset, expected)) in resets.into_iter().enumerate() {
        let rig = Rig::new(1);
        let client = rig.client();
        let card = connect(&client, SHARED).unwrap();
        rig.benches[0].set(|bed| bed.is_held = true);
        std::thread::scope(|scope| {
            let resets = scope.spawn(|| reset(&client, card));
            rig.benches[0].wait_until_it_waits();
            // It would not be notified of the reset. One to the reader alone does not wait for the driver.
            let briefly = Some(Instant::now() + Duration::from_millis(5));
            let made = rig.client().connect(NAME, DIRECT, ANY, briefly);
            rig.benches[0].set(|bed| bed.is_held = false);
            assert_eq!(made, Err(CallError::Timeout), "reset {number}");
            assert_eq!(resets.join().unwrap(), expected, "reset {number}");
        });
        if number != 1 {
            assert!(connect(&rig.client(), DIRECT).is_ok(), "reset {number}");
        }
    }
}

#[test]
fn one_that_does_not_wait_for_a_transaction_is_in_nobodys_way() {
    let rig = Rig::new(1);
    let (one, two) = (rig.client(), rig.client());
    let (a, b) = (connect(&one, SHARED).unwrap(), connect(&two, SHARED).unwrap());
    let reader = rig.reader();
    assert_eq!(one.begin_transaction(a, None), Ok(()));
    let before = reader.changed().changes();
    assert_eq!(
        two.begin_transaction(b, Some(Instant::now())),
        Err(CallError::Timeout)
    );
    // Nobody is woken, since it was not in the queue.
    assert_eq!(reader.changed().changes(), before);
}

#[test]
fn a_reader_that_fails_while_a_connection_is_made_is_unavailable() {
    let rig = Rig::new(1);
    let client = rig.client();
    // Until it is open.
    connect(&client, SHARED).unwrap();
    let reader = rig.reader();
    let mut turn = reader.driver();
    std::thread::scope(|scope| {
        let connects = scope.spawn(|| connect(&client, SHARED));
        rig.benches[0].set(|bed| bed.has_trouble = true);
        reader.poll_slot(turn.slot());
        drop(turn);
        assert_eq!(connects.join().unwrap(), Err(CallError::ReaderUnavailable));
    });
}

#[test]
fn an_error_that_no_wait_can_mend_is_reported_before_the_wait() {
    let rig = Rig::new(1);
    let (one, two) = (rig.client(), rig.client());
    let (a, b) = (connect(&one, SHARED).unwrap(), connect(&two, SHARED).unwrap());
    let alone = |protocols, initialization| {
        let reconnected = one.reconnect(a, EXCLUSIVE, protocols, initialization, soon());
        reconnected.map(drop)
    };
    assert_eq!(alone(1, LEAVE), Err(CallError::ProtoMismatch));
    // After a reset no protocol is in use, and the card offers T=1 alone.
    assert_eq!(two.reconnect(b, DIRECT, 0, 1, soon()), Ok(0));
    assert_eq!(alone(1, LEAVE), Err(CallError::ProtoMismatch));
    let state = change(&one, NAME, None).unwrap();
    rig.benches[0].set(|bed| bed.has_card = false);
    change(&one, NAME, Some(&state)).unwrap();
    for initialization in [LEAVE, 1, 2] {
        assert_eq!(alone(ANY, initialization), Err(CallError::NoSmartcard));
    }
}

#[test]
fn a_transaction_that_is_to_eject_the_card_ends_with_an_error() {
    const EJECT: u32 = 3;
    let rig = Rig::new(1);
    let client = rig.client();
    let handle = connect(&client, SHARED).unwrap();
    client.begin_transaction(handle, None).unwrap();
    let ejected = client.end_transaction(handle, EJECT);
    assert_eq!(ejected, Err(CallError::UnsupportedFeature));
    assert_eq!(
        client.end_transaction(handle, LEAVE),
        Err(CallError::NotTransacted)
    );
}

#[test]
fn a_connection_to_the_reader_alone_does_not_keep_the_card_powered() {
    // No thread runs here that would take the card's power.
    let slotted = slotted();
    let connect = |handle, share| assert_eq!(slotted.connect(handle, share, ANY), Ok(2));
    let disconnect = |handle| assert_eq!(slotted.reader.disconnect(handle, LEAVE, &|| false), Ok(()));
    let is_power_due = || slotted.reader.state().due.power_down.is_some();
    connect(1, SHARED);
    assert!(!is_power_due());
    disconnect(1);
    assert!(is_power_due());
    connect(2, DIRECT);
    assert!(is_power_due());
    // One for the card does, until there are none at all.
    connect(3, SHARED);
    disconnect(3);
    assert!(!is_power_due());
    disconnect(2);
    assert!(is_power_due());
}

#[test]
fn a_connection_to_the_reader_alone_does_not_wait_for_an_exchange() {
    let rig = Rig::new(1);
    let client = rig.client();
    let card = connect(&client, SHARED).unwrap();
    let slot = rig.reader();
    let busy = slot.driver();
    assert!(connect(&client, DIRECT).is_ok());
    assert_eq!(client.reconnect(card, DIRECT, 0, LEAVE, None).map(drop), Ok(()));
    drop(busy);
}

#[test]
fn a_card_that_an_exchange_misses_is_one_event() {
    let rig = Rig::new(1);
    let client = rig.client();
    // A counter of 0 in a client's state means that it has seen no event.
    let mut before = change(&client, NAME, None).unwrap();
    for has_card in [false, true] {
        rig.benches[0].set(|bed| bed.has_card = has_card);
        before = change(&client, NAME, Some(&before)).unwrap();
    }
    let card = connect(&client, SHARED).unwrap();
    let posted = rig.manager.changes().changes();
    rig.lose_card_unseen();
    assert_eq!(echo(&client, card), Err(CallError::NoSmartcard));
    assert_eq!(rig.manager.changes().changes(), posted);
    let missed = rig.reader().snapshot();
    assert_eq!(
        (missed.status, missed.protocol, &*missed.atr),
        (ABSENT, 0, &[][..])
    );
    rig.benches[0].set(|_| ());
    assert!(rig.manager.changes().wait(posted, soon()));
    let after = wait_for_status(&client, NAME, ABSENT);
    assert_eq!(after.event_counter, before.event_counter + 1);
}

#[test]
fn all_calls_agree_that_a_reader_is_gone() {
    let rig = Rig::new(1);
    let client = rig.client();
    let card = connect(&client, SHARED).unwrap();
    rig.benches[0].set(|bed| bed.is_gone = true);
    let gone = Err(CallError::ReaderUnavailable);
    wait_until(&client, || echo(&client, card) == gone);
    assert_eq!(client.begin_transaction(card, None), gone);
    assert_eq!(client.end_transaction(card, LEAVE), gone);
    assert_eq!(client.status(card), gone);
    assert_eq!(reconnect(&client, card, SHARED, LEAVE), gone);
    assert_eq!(client.control(card, 0, &[], &mut [], None).map(drop), gone);
    assert_eq!(client.get_attribute(card, 0, &mut []).map(drop), gone);
    assert_eq!(client.set_attribute(card, 0, &[]), gone);
    assert_eq!(client.disconnect(card, LEAVE), Ok(()));
}

#[test]
fn a_deadline_ends_an_exchange_and_resets_the_card() {
    const SELECT: &[u8] = b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01";
    for model in ["gempc-express", "omnikey-3x21", "omnikey-5321"] {
        let reader = Simulated::new(model).unwrap();
        // By a clock of its own that goes faster. The limits are long enough for a busy machine.
        let slow = Behaviour {
            time: Duration::from_secs(40),
            ..Behaviour::default()
        };
        let card = SimCard::new(Profile::new(&[Offer::T1]), slow, Box::new(Several::demo()));
        let device = reader.device().clone();
        device.insert(0, card);
        let manager = Arc::new(
            Manager::start(Arc::new(FixedBus::of_simulated(&[reader])), Settings::default()).unwrap(),
        );
        let client = Client::new(manager.clone(), true);
        let name = manager.readers()[0].name().to_owned();
        let connected = client.connect(name.as_bytes(), SHARED, ANY, None).unwrap();
        let card = connected.handle;
        let resets = || device.with(|device| device.tally(0).resets);
        let before = resets();
        let soon = Instant::now() + Duration::from_secs(20);
        let late = transmit(&client, card, SELECT, Some(soon));
        assert_eq!(late, Err(CallError::Timeout), "{model}");
        assert_eq!(resets(), before + 1, "{model}");
        assert_eq!(transmit(&client, card, SELECT, None), Err(CallError::ResetCard));
        assert_eq!(reconnect(&client, card, SHARED, LEAVE), Ok(()));
        let again = transmit(&client, card, SELECT, None);
        assert_eq!(again, Ok(vec![0x90, 0x00]), "{model}");
    }
}

#[test]
fn a_reset_after_a_timeout_is_reported_while_it_goes_on() {
    let rig = Rig::new(1);
    let (one, two) = (rig.client(), rig.client());
    let (a, b) = (connect(&one, SHARED).unwrap(), connect(&two, SHARED).unwrap());
    rig.benches[0].set(|bed| (bed.times_out, bed.is_held) = (true, true));
    std::thread::scope(|scope| {
        let sends = scope.spawn(|| echo(&one, a));
        rig.benches[0].wait_until_it_waits();
        let status = two.status(b);
        rig.benches[0].set(|bed| bed.is_held = false);
        assert_eq!(status, Err(CallError::ResetCard));
        assert_eq!(sends.join().unwrap(), Err(CallError::Timeout));
    });
    assert_eq!(echo(&one, a), Err(CallError::ResetCard));
}

#[test]
fn a_new_connection_waits_for_the_end_of_a_transaction() {
    let rig = Rig::new(1);
    let (one, two) = (rig.client(), rig.client());
    let card = connect(&one, SHARED).unwrap();
    assert_eq!(one.begin_transaction(card, None), Ok(()));
    for share in [SHARED, DIRECT] {
        let soon = Instant::now() + Duration::from_millis(5);
        let waited = two.connect(NAME, share, ANY, Some(soon));
        assert_eq!(waited, Err(CallError::Timeout));
    }
    assert_eq!(one.end_transaction(card, LEAVE), Ok(()));
    assert!(connect(&two, SHARED).is_ok());
}

#[test]
fn a_deadline_ends_the_wait_for_the_driver() {
    let rig = Rig::new(1);
    let client = rig.client();
    let card = connect(&client, SHARED).unwrap();
    let slot = rig.reader();
    let busy = slot.driver();
    let soon = || Some(Instant::now() + Duration::from_millis(5));
    let timeout = Err(CallError::Timeout);
    let sent = transmit(&client, card, &[0; 4], soon());
    assert_eq!(sent.map(drop), timeout);
    let controlled = client.control(card, 0, &[], &mut [], soon());
    assert_eq!(controlled.map(drop), timeout);
    let connected = client.connect(NAME, SHARED, ANY, soon());
    assert_eq!(connected.map(drop), timeout);
    let reconnected = client.reconnect(card, SHARED, ANY, 1, soon());
    assert_eq!(reconnected.map(drop), timeout);
    drop(busy);
    assert_eq!(echo(&client, card), Ok(()));
}

#[test]
fn a_card_that_a_reset_finds_first_is_known_and_is_missed_when_it_goes() {
    const SWALLOWED: u32 = 8;
    let rig = Rig::new(1);
    let client = rig.client();
    let bench = &rig.benches[0];
    wait_for_status(&client, NAME, PRESENT);
    bench.set(|bed| bed.has_card = false);
    wait_for_status(&client, NAME, ABSENT);
    let card = connect(&client, DIRECT).unwrap();
    bench.wait_until_polled();
    lock(&bench.state).has_card = true;
    assert_eq!(reconnect(&client, card, SHARED, 1), Ok(()));
    assert_eq!(change(&client, NAME, None).unwrap().status & PRESENT, PRESENT);
    // The poll that follows leaves it alone.
    let powers = bench.powers.load(Ordering::SeqCst);
    rig.reader().poll();
    assert_eq!(bench.powers.load(Ordering::SeqCst), powers);
    assert_eq!(echo(&client, card), Ok(()));
    bench.set(|bed| bed.has_card = false);
    wait_for_status(&client, NAME, ABSENT);
    assert_eq!(echo(&client, card), Err(CallError::RemovedCard));

    // A mute one likewise.
    bench.wait_until_polled();
    {
        let mut bed = lock(&bench.state);
        (bed.has_card, bed.is_mute) = (true, true);
    }
    let reset = reconnect(&client, card, SHARED, 1);
    assert_eq!(reset, Err(CallError::UnresponsiveCard));
    assert_eq!(change(&client, NAME, None).unwrap().status, PRESENT | SWALLOWED);
    bench.set(|bed| bed.has_card = false);
    wait_for_status(&client, NAME, ABSENT);
}

#[test]
fn every_model_reports_cards_that_come_and_go() {
    for (model, _) in pcsc_sim::NAMES {
        let reader = Simulated::new(model).unwrap();
        let bus = FixedBus::of_simulated(std::slice::from_ref(&reader));
        let manager = Arc::new(Manager::start(Arc::new(bus), Settings::default()).unwrap());
        let client = Client::new(manager.clone(), true);
        let name = manager.readers()[0].name().to_owned();
        // Events are what wakes this test: the device stays open.
        let _watching = manager.watching([name.as_bytes()]);
        for _ in 0..2 {
            reader.insert_card(0);
            wait_for_status(&client, name.as_bytes(), PRESENT);
            reader.device().remove(0);
            wait_for_status(&client, name.as_bytes(), ABSENT);
        }
    }
}
