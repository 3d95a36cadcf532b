//! Sharing, transactions and events, as several clients see them.

use super::*;

#[test]
fn cards_are_shared_reset_and_removed_as_in_pcscd() {
    let rig = Rig::new(1);
    let (one, two) = (rig.client(), rig.client());
    let (a, b) = (connect(&one, SHARED).unwrap(), connect(&two, SHARED).unwrap());
    assert_eq!(connect(&two, EXCLUSIVE), Err(CallError::SharingViolation));
    assert_eq!((echo(&one, a), echo(&two, b)), (Ok(()), Ok(())));
    assert_eq!(reconnect(&one, a, SHARED, 1), Ok(()));
    assert_eq!(
        (echo(&one, a), echo(&two, b)),
        (Ok(()), Err(CallError::ResetCard))
    );
    assert_eq!(reconnect(&two, b, SHARED, 0), Ok(()));
    assert_eq!(echo(&two, b), Ok(()));

    let state = change(&one, b"Bench 00 00", None).unwrap();
    rig.benches[0].set(|bed| bed.has_card = false);
    let state = change(&one, b"Bench 00 00", Some(&state)).unwrap();
    assert_eq!(state.status, ABSENT);
    assert_eq!(
        (echo(&one, a), echo(&two, b)),
        (Err(CallError::RemovedCard), Err(CallError::RemovedCard))
    );
    assert_eq!(connect(&one, SHARED), Err(CallError::NoSmartcard));
    assert_eq!(two.disconnect(b, 0), Ok(()));
    assert_eq!(two.disconnect(b, 0), Err(CallError::InvalidHandle));
}

#[test]
fn transactions_go_in_order_and_end_with_their_context() {
    let rig = Rig::new(1);
    let (one, two) = (rig.client(), Arc::new(rig.client()));
    let (a, b) = (connect(&one, SHARED).unwrap(), connect(&two, SHARED).unwrap());
    assert_eq!(one.begin_transaction(a, None), Ok(()));
    let soon = Some(Instant::now() + Duration::from_millis(20));
    assert_eq!(two.begin_transaction(b, soon), Err(CallError::Timeout));
    assert_eq!(two.end_transaction(b, 0), Err(CallError::SharingViolation));
    let waiter = std::thread::spawn({
        let two = two.clone();
        move || two.begin_transaction(b, None)
    });
    let powers = rig.benches[0].powers.load(Ordering::SeqCst);
    one.release();
    // The card was left in the middle of something: it is reset, and the waiting connection is notified.
    assert_eq!(waiter.join().unwrap(), Err(CallError::ResetCard));
    assert_eq!(rig.benches[0].powers.load(Ordering::SeqCst), powers + 1);
    assert_eq!(one.status(a), Err(CallError::InvalidHandle));
    assert_eq!(reconnect(&two, b, EXCLUSIVE, 0), Ok(()));
    assert_eq!(connect(&rig.client(), SHARED), Err(CallError::SharingViolation));
}

#[test]
fn an_interrupted_client_does_not_wait_and_keeps_its_connections() {
    let soon = || Some(Instant::now() + Duration::from_secs(60));
    let rig = Rig::new(1);
    let (one, two) = (rig.client(), rig.client());
    let (a, b) = (connect(&one, SHARED).unwrap(), connect(&two, SHARED).unwrap());
    assert_eq!(one.begin_transaction(a, None), Ok(()));
    let invalid = Err(CallError::InvalidHandle);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| two.begin_transaction(b, soon()));
        // It sleeps in the queue, or will not get there.
        std::thread::yield_now();
        two.interrupt();
        assert_eq!(waiter.join().unwrap(), invalid);
    });
    assert_eq!(two.begin_transaction(b, soon()), invalid);
    assert_eq!(transmit(&two, b, &[0; 4], soon()).map(drop), invalid);
    assert_eq!(
        two.connect(b"Bench 00 00", SHARED, ANY, soon()).map(drop),
        invalid
    );
    assert_eq!(two.disconnect(b, 1), invalid, "it would wait to reset the card");
    assert_eq!(one.end_transaction(a, 0), Ok(()));
    assert_eq!(echo(&two, b), Ok(()));
    assert_eq!(two.disconnect(b, 1), Ok(()));
}

#[test]
fn readers_come_and_go() {
    let rig = Rig::new(1);
    let client = rig.client();
    assert_eq!(count(&client), 1);
    rig.plug(Arc::default());
    wait_until(&client, || count(&client) == 2);
    let card = connect(&client, SHARED).unwrap();
    rig.benches[0].set(|bed| bed.is_gone = true);
    wait_until(&client, || {
        echo(&client, card) == Err(CallError::ReaderUnavailable)
    });
    assert_eq!(count(&client), 1);
    assert_eq!(
        change(&client, b"Bench 00 00", None),
        Err(CallError::UnknownReader)
    );
}

#[test]
fn a_connection_is_a_change_and_no_event_of_a_card() {
    let rig = Rig::new(1);
    let client = rig.client();
    wait_for_status(&client, b"Bench 00 00", PRESENT);
    let counts = || {
        [
            rig.manager.changes().changes(),
            rig.manager.card_changes().changes(),
        ]
    };
    // The first connection chooses the protocol.
    let card = connect(&client, SHARED).unwrap();
    let [changes, cards] = counts();
    let another = connect(&client, SHARED).unwrap();
    assert_eq!(client.disconnect(another, 0), Ok(()));
    assert_eq!(counts(), [changes + 2, cards]);
    assert_eq!(reconnect(&client, card, EXCLUSIVE, 0), Ok(()));
    assert_eq!(counts(), [changes + 3, cards]);
    assert_eq!(client.disconnect(card, 1), Ok(()));
    assert!(counts()[1] > cards, "a reset is an event");
}

#[test]
fn the_end_of_a_manager_without_readers_is_a_change() {
    let rig = Rig::new(0);
    let counts = || {
        [
            rig.manager.changes().changes(),
            rig.manager.card_changes().changes(),
        ]
    };
    let [changes, cards] = counts();
    rig.manager.end();
    assert_eq!(counts(), [changes + 1, cards + 1]);
}

#[test]
fn many_threads_and_moving_cards_end_in_order() {
    let rig = Rig::new(4);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let client = rig.client();
            scope.spawn(move || {
                for round in 0..200 {
                    let name = format!("Bench {:02X} 00", (number + round) % 4);
                    let card = match client.connect(name.as_bytes(), SHARED, ANY, None) {
                        Ok(connected) => connected.handle,
                        Err(
                            CallError::NoSmartcard | CallError::UnpoweredCard | CallError::UnresponsiveCard,
                        ) => continue,
                        Err(error) => panic!("{error}"),
                    };
                    if client.begin_transaction(card, None).is_ok() {
                        // A card that was removed meanwhile ends both.
                        let _ = echo(&client, card);
                        let _ = client.end_transaction(card, round as u32 % 2);
                    }
                    assert_eq!(client.disconnect(card, 0), Ok(()));
                }
            });
        }
        scope.spawn(|| {
            for round in 0..400 {
                rig.benches[round % 4].set(|bed| bed.has_card = !bed.has_card);
                std::thread::yield_now();
            }
        });
    });
    rig.benches
        .iter()
        .for_each(|bench| bench.set(|bed| bed.has_card = true));
    let client = rig.client();
    for number in 0..4 {
        let name = format!("Bench {number:02X} 00");
        assert_eq!(wait_for_status(&client, name.as_bytes(), PRESENT).sharing, 0);
    }
    // Nothing is left running.
    drop(client);
    assert_eq!(Arc::strong_count(&rig.manager), 1);
}

/// A card that is out when it gets power, and in again before anybody polls.
#[test]
fn a_card_that_was_missed_by_a_power_up_is_found_by_the_next_poll() {
    struct Shy(u32);
    impl Slot for Shy {
        fn presence(&mut self) -> Result<Presence, SlotError> {
            Ok(Presence::Present)
        }
        fn power_up(&mut self, _warm: bool, _deadline: Option<Instant>) -> Result<Powered, SlotError> {
            self.0 += 1;
            if self.0 == 1 {
                return Err(SlotError::NoCard);
            }
            Ok(Powered {
                atr: ATR[..].into(),
                offered: 2,
                first: 2,
            })
        }
        fn power_down(&mut self) -> Result<(), SlotError> {
            Ok(())
        }
        fn set_protocol(&mut self, _protocol: u32, _deadline: Option<Instant>) -> Result<(), SlotError> {
            Ok(())
        }
        fn transmit(
            &mut self,
            _command: &[u8],
            _response: &mut [u8],
            _deadline: Option<Instant>,
        ) -> Result<usize, SlotError> {
            Err(SlotError::Communication)
        }
    }
    let reader = reader("Shy 00 00", Shy(0), Arc::default());
    let has_card = || reader.snapshot().status & 4 != 0;
    reader.poll();
    assert!(!has_card());
    reader.poll();
    assert!(has_card());
}
