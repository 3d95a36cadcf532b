//! The step to a lower rate where the chosen one fails.

use super::*;

#[test]
fn a_card_that_fails_above_a_rate_works_below_it() {
    for name in NEGOTIABLE {
        for overspeed in [Overspeed::Mute, Overspeed::Garbled] {
            for limit in [300_000, 120_000, 60_000, 20_000, 13_000] {
                for (protocol, offers) in OFFERS {
                    let context = format!("{name} {overspeed:?} {limit} {protocol:?}");
                    let (handle, mut reader) = open(named(name));
                    let behaviour = Behaviour {
                        fails_above: Some(limit),
                        overspeed,
                        ..Behaviour::default()
                    };
                    handle.insert(0, card(Some(0x97), offers, behaviour));
                    power_up(&mut reader, protocol).unwrap();
                    let before = resets(&handle);
                    let reported = until_it_works(&mut reader, &context);
                    assert_eq!(resets(&handle) - before, reported as u64, "{context}");
                    let (clock, f, d) = line(&handle);
                    let bps = clock / u32::from(f) * u32::from(d);
                    assert!(bps <= limit, "{context}: {bps}");
                    if name == "gempc-express" && protocol == Protocol::T1 {
                        assert_eq!(reported, 0, "{context}: the IFS request proves the speed");
                    }
                    check_memory(&handle, &mut reader, protocol, reported, &context);
                }
            }
        }
    }
}

#[test]
fn each_reset_is_reported_once_and_the_card_is_ready_then() {
    let (handle, mut reader) = open(named("gempc-express"));
    let behaviour = Behaviour {
        fails_above: Some(300_000),
        ..Behaviour::default()
    };
    handle.insert(0, card(Some(0x97), &[Offer::T0], behaviour));
    power_up(&mut reader, Protocol::T0).unwrap();
    assert_eq!(line(&handle), (4_000_000, 512, 64));
    assert_eq!(transmit(&mut reader, &read(10)), Err(ReaderError::CardReset));
    assert_eq!(line(&handle), (4_000_000, 512, 32), "one step, no more");
    for _ in 0..5 {
        assert_eq!(transmit(&mut reader, &read(10)), Ok(pattern(10)));
    }
    assert_eq!(reader.presence(0), Ok(Presence::Present), "no news of the reset");
    // 97 at first, then what is known; a card of another ATR is another matter.
    power_up(&mut reader, Protocol::T0).unwrap();
    assert_eq!(rates_set(&handle), [0x97, 0x96, 0x96]);
    handle.remove(0);
    assert_eq!(reader.presence(0), Ok(Presence::Absent));
    handle.insert(0, card(Some(0x97), &[Offer::T0, Offer::T1], Behaviour::default()));
    power_up(&mut reader, Protocol::T0).unwrap();
    assert_eq!(rates_set(&handle), [0x97, 0x96, 0x96, 0x97]);
    assert_eq!(transmit(&mut reader, &read(10)), Ok(pattern(10)));
}

/// A card that is jogged in its slot, and one that misses a command: each is at its full speed again when it
/// next gets power. A reset does not count: pcscd makes one of its own for each that is reported to it.
#[test]
fn a_failure_that_is_not_the_speed_slows_a_card_for_a_while() {
    for is_jogged in [false, true] {
        let context = format!("jogged: {is_jogged}");
        let (handle, mut reader) = open(named("gempc-express"));
        let good = || card(Some(0x96), &[Offer::T0], Behaviour::default());
        handle.insert(0, good());
        power_up(&mut reader, Protocol::T0).unwrap();
        let fast = line(&handle);
        let soon = handle.with(|device| device.now()) + Duration::from_micros(100);
        match is_jogged {
            true => handle.schedule(soon, SimEvent::Insert(0, Box::new(good()))),
            false => handle.with(|device| {
                let once = Faults::new(0, 1000, 1, &[FaultKind::Mute]);
                device.contact(0).unwrap().set_faults(Some(once));
            }),
        }
        assert_eq!(
            transmit(&mut reader, &read(10)),
            Err(ReaderError::CardReset),
            "{context}"
        );
        assert_eq!(transmit(&mut reader, &read(10)), Ok(pattern(10)), "{context}");
        let slow = line(&handle);
        assert_ne!(slow, fast, "{context}");
        power_up(&mut reader, Protocol::T0).unwrap();
        assert_eq!(line(&handle), slow, "{context}");
        reader.power_off(0).unwrap();
        power_up(&mut reader, Protocol::T0).unwrap();
        assert_eq!(line(&handle), fast, "{context}");
        assert_eq!(transmit(&mut reader, &read(10)), Ok(pattern(10)), "{context}");
    }
}

/// Every reader is a stranger once: one that is in no table and fails above what it announces.
#[test]
fn a_reader_that_announces_more_than_it_can_do() {
    for name in NEGOTIABLE {
        for limit in [200_000, 50_000, 13_000] {
            for (protocol, offers) in OFFERS {
                let context = format!("{name} {limit} {protocol:?}");
                let mut model = named(name).model().clone();
                (model.identity.vendor_id, model.identity.product_id) = (0x1234, 0x5678);
                let device = pcsc_sim::SimDevice::new(model).with(Oddities {
                    contact_limit_bps: Some(limit),
                    ..Oddities::default()
                });
                let (handle, mut reader) = open(device);
                handle.insert(0, card(Some(0x97), offers, Behaviour::default()));
                power_up(&mut reader, protocol).unwrap();
                let reported = until_it_works(&mut reader, &context);
                let (clock, f, d) = line(&handle);
                let bps = clock / u32::from(f) * u32::from(d);
                assert!(bps <= limit, "{context}: {bps}");
                check_memory(&handle, &mut reader, protocol, reported, &context);
            }
        }
    }
}

#[test]
fn a_card_that_fails_at_every_raised_rate_ends_at_the_default() {
    for name in NEGOTIABLE {
        for (protocol, offers) in OFFERS {
            let context = format!("{name} {protocol:?}");
            let (handle, mut reader) = open(named(name));
            let (clock, ..) = {
                handle.insert(0, card(Some(0x97), offers, Behaviour::default()));
                reader.power_on(0, Reset::Cold).unwrap();
                line(&handle)
            };
            let behaviour = Behaviour {
                fails_above: Some(clock / 372),
                ..Behaviour::default()
            };
            handle.insert(0, card(Some(0x97), offers, behaviour));
            power_up(&mut reader, protocol).unwrap();
            let reported = until_it_works(&mut reader, &context);
            assert_eq!(line(&handle), (clock, 372, 1), "{context}");
            check_memory(&handle, &mut reader, protocol, reported, &context);
        }
    }
}

/// A card that does not work at the default rate either is an error with its cause, after a bounded number of
/// resets.
#[test]
fn a_card_that_fails_at_every_rate_is_an_error() {
    for name in NEGOTIABLE {
        for (protocol, offers) in OFFERS {
            let context = format!("{name} {protocol:?}");
            let (handle, mut reader) = open(named(name));
            let behaviour = Behaviour {
                fails_above: Some(1000),
                ..Behaviour::default()
            };
            handle.insert(0, card(Some(0x97), offers, behaviour));
            let mut last = power_up(&mut reader, protocol);
            for _ in 0..10 {
                if last.is_ok() || last == Err(ReaderError::CardReset) {
                    last = transmit(&mut reader, &read(10)).map(|_| ());
                }
            }
            assert!(
                matches!(
                    last,
                    Err(ReaderError::Slot(SlotErrorCode::Mute) | ReaderError::T1(_) | ReaderError::T0(_))
                ),
                "{context}: {last:?}"
            );
            assert!(resets(&handle) <= 12, "{context}: {} resets", resets(&handle));
        }
    }
}

#[test]
fn a_card_pulled_or_exchanged_during_a_step_down() {
    for name in NEGOTIABLE {
        for (protocol, offers) in OFFERS {
            let mut due = 0;
            // One that gives way after this number of milliseconds of the failing exchange and the resets
            // after it.
            for after in (0..4000).step_by(97) {
                for is_exchanged in [false, true] {
                    let context = format!("{name} {protocol:?} {after} ms {is_exchanged}");
                    let (handle, mut reader) = open(named(name));
                    let behaviour = Behaviour {
                        fails_above: Some(50_000),
                        ..Behaviour::default()
                    };
                    handle.insert(0, card(Some(0x97), offers, behaviour));
                    reader.power_on(0, Reset::Cold).unwrap();
                    let at = handle.with(|device| device.now()) + Duration::from_millis(after);
                    let other = card(Some(0x94), offers, Behaviour::default());
                    let event = match is_exchanged {
                        true => SimEvent::Insert(0, Box::new(other)),
                        false => SimEvent::Remove(0),
                    };
                    handle.schedule(at, event);
                    let mut result = reader.set_protocol(0, protocol);
                    for _ in 0..8 {
                        if result.is_ok() || result == Err(ReaderError::CardReset) {
                            result = transmit(&mut reader, &read(10)).map(|answer| {
                                assert_eq!(answer, pattern(10), "{context}");
                            });
                        }
                    }
                    let is_due = handle.with(|device| device.now()) >= at;
                    match result {
                        Ok(()) => assert!(!is_due, "{context}: not noticed"),
                        // At the default rate there is no reset that would show which card it is.
                        Err(ReaderError::Slot(SlotErrorCode::Mute)) if is_exchanged => (),
                        Err(error) => assert_eq!(error, ReaderError::NoCard, "{context}"),
                    }
                    if !is_due {
                        continue;
                    }
                    due += 1;
                    let news = match is_exchanged {
                        true => Presence::Replaced,
                        false => Presence::Absent,
                    };
                    assert_eq!(reader.presence(0), Ok(news), "{context}");
                    handle.insert(0, card(Some(0x95), offers, Behaviour::default()));
                    power_up(&mut reader, protocol).unwrap();
                    assert_eq!(transmit(&mut reader, &read(10)), Ok(pattern(10)), "{context}");
                }
            }
            assert!(due > 10, "{name} {protocol:?}: {due} in time");
        }
    }
}
