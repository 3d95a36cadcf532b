use super::*;

/// Passes one message after the other, then fails as a reader that is gone.
struct Messages(Vec<Vec<u8>>);

fn never() -> Interrupter {
    Box::new(|| ())
}

impl InterruptSource for Messages {
    fn next(
        &mut self,
        _deadline: Option<Instant>,
        receive: &mut dyn FnMut(&[u8]),
    ) -> Result<(), transport::Error> {
        if self.0.is_empty() {
            return Err(transport::Error::Gone);
        }
        receive(&self.0.remove(0));
        Ok(())
    }

    fn interrupter(&self) -> Interrupter {
        never()
    }
}

#[test]
fn a_reader_that_does_not_receive_is_looked_at_again_and_again() {
    let events = SlotEvents::new(2);
    events.listen(Notifications::Polled(Duration::from_millis(1)));
    for slot in [0, 1, 0, 1u8] {
        assert_eq!(events.wait(slot, None), SlotEvent::Card);
    }
    events.set_gone();
    assert_eq!(events.wait(0, None), SlotEvent::Gone);
}

/// What a slot sees of each of these messages, and of a failure after them.
fn sees(messages: &[&[u8]], slot: u8) {
    let events = SlotEvents::new(2);
    let messages: Vec<_> = messages.iter().map(|message| message.to_vec()).collect();
    let count = messages.len();
    events.listen(Notifications::Interrupts(Box::new(Messages(messages))));
    for _ in 0..count {
        assert_eq!(events.wait(slot, None), SlotEvent::Card);
        assert!(!events.take_loss());
    }
    assert_eq!(events.wait(slot, None), SlotEvent::Card);
    assert!(events.take_loss());
}

#[test]
fn every_notification_of_a_slot_has_it_polled() {
    // RDR_to_PC_HardwareError for slot 1 (CCID 1.1, clause 6.3.2).
    sees(&[&[0x51, 1, 0, 1]], 1);
    // A notification that says that nothing has changed.
    sees(&[&[0x50, 0b0101], &[0x50, 0b1000]], 1);
}

/// Fails otherwise than by a halt.
struct Broken;

impl InterruptSource for Broken {
    fn next(
        &mut self,
        _deadline: Option<Instant>,
        _receive: &mut dyn FnMut(&[u8]),
    ) -> Result<(), transport::Error> {
        Err(transport::Error::Fault)
    }

    fn interrupter(&self) -> Interrupter {
        never()
    }
}

#[test]
fn a_reader_whose_interrupt_pipe_fails_is_polled() {
    let events = SlotEvents::new(1);
    events.listen(Notifications::Interrupts(Box::new(Broken)));
    for _ in 0..2 {
        assert_eq!(events.wait(0, None), SlotEvent::Card);
    }
    assert!(!events.take_loss());
}

/// Is halted so often, then fails as a reader that is gone.
struct Halted(u32);

impl InterruptSource for Halted {
    fn next(
        &mut self,
        _deadline: Option<Instant>,
        _receive: &mut dyn FnMut(&[u8]),
    ) -> Result<(), transport::Error> {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Err(transport::Error::Stall)
            }
            None => Err(transport::Error::Gone),
        }
    }

    fn interrupter(&self) -> Interrupter {
        never()
    }
}

#[test]
fn slots_are_polled_after_a_halt_of_the_interrupt_pipe() {
    let events = SlotEvents::new(2);
    events.listen(Notifications::Interrupts(Box::new(Halted(1))));
    assert_eq!(events.wait(0, None), SlotEvent::Card);
    assert!(!events.take_loss());
    assert_eq!(events.wait(1, None), SlotEvent::Card);
    assert!(!events.take_loss());
    assert_eq!(events.wait(0, None), SlotEvent::Card);
    assert!(events.take_loss());
}

#[test]
fn a_slot_that_was_empty_in_between_is_remembered_once() {
    let events = SlotEvents::new(1);
    // A card comes, goes, and comes.
    let messages = [3, 2, 3].map(|states| vec![0x50, states]).to_vec();
    events.listen(Notifications::Interrupts(Box::new(Messages(messages))));
    assert_eq!(events.wait(0, None), SlotEvent::Card);
    assert!(!events.take_emptied(0));
    assert_eq!(events.wait(0, None), SlotEvent::Card);
    assert_eq!(events.wait(0, None), SlotEvent::Card);
    assert!(events.take_emptied(0) && !events.take_emptied(0));
}

const LONG: Duration = Duration::from_secs(10);

/// Whether a slot has an event. Nothing else ends a wait whose deadline is far away.
fn has_event(events: &SlotEvents, slot: u8) -> bool {
    let far = Instant::now() + LONG;
    let now = Instant::now();
    if lock(&events.state).slots[usize::from(slot)].poll {
        events.wait(slot, Some(far));
        assert!(Instant::now() < far);
        return true;
    }
    // The deadline has passed: it does not block.
    events.wait(slot, Some(now));
    false
}

#[test]
fn a_wait_ends_by_a_change_of_its_own_slot() {
    let events = SlotEvents::new(2);
    events.listen(Notifications::Pushed);
    // A change, and a fault.
    for message in [&[0x50, 0b0011][..], &[0x51, 0, 0, 1]] {
        events.notify(message);
        assert!(!has_event(&events, 1), "{message:?}");
        assert!(has_event(&events, 0), "{message:?}");
        assert!(!has_event(&events, 0), "{message:?}: once");
    }
    for nonsense in [&[][..], &[0x50], &[0x51, 0], &[0x42, 0xFF]] {
        events.notify(nonsense);
        assert!(!has_event(&events, 0), "{nonsense:?}");
    }
    // A reader that names no slot may mean any; the bits of slots that do not exist have no meaning.
    for message in [[0x50, 0b0101], [0x50, 0b1010_0101]] {
        events.notify(&message);
        for slot in [0, 1] {
            assert!(has_event(&events, slot), "{message:?} {slot}");
        }
    }
}

#[test]
fn that_a_reader_is_gone_is_one_event_of_every_slot() {
    let events = SlotEvents::new(2);
    events.listen(Notifications::Pushed);
    events.set_gone();
    let far = Some(Instant::now() + LONG);
    for slot in [0, 1] {
        assert_eq!(events.wait(slot, far), SlotEvent::Gone);
        // pcscd asks again and again until it has heard of the removal.
        assert_eq!(events.wait(slot, Some(Instant::now())), SlotEvent::Card);
        assert_eq!(events.wait(slot, None), SlotEvent::Gone);
    }
    assert!(events.is_gone());
}

/// Sends nothing, and can be interrupted.
#[derive(Clone, Default)]
struct Silent(std::sync::Arc<(Mutex<(bool, u32)>, Condvar)>);

impl InterruptSource for Silent {
    fn next(
        &mut self,
        deadline: Option<Instant>,
        _receive: &mut dyn FnMut(&[u8]),
    ) -> Result<(), transport::Error> {
        let (state, changed) = &*self.0;
        let mut state = lock(state);
        state.1 += 1;
        changed.notify_all();
        while !std::mem::take(&mut state.0) {
            state = wait_until(changed, state, deadline).map_err(|_| transport::Error::Timeout)?;
        }
        Err(transport::Error::Cancelled)
    }

    fn interrupter(&self) -> Interrupter {
        let shared = self.0.clone();
        Box::new(move || {
            lock(&shared.0).0 = true;
            shared.1.notify_all();
        })
    }
}

impl Silent {
    /// Waits until it is listened to for the so many-th time.
    fn wait_for_listener(&self, count: u32) {
        let (state, changed) = &*self.0;
        let mut state = lock(state);
        while state.1 < count {
            state = wait_until(changed, state, Some(Instant::now() + LONG)).unwrap();
        }
    }
}

#[test]
fn the_thread_that_listens_is_woken_and_another_one_listens() {
    let events = SlotEvents::new(2);
    let silent = Silent::default();
    events.listen(Notifications::Interrupts(Box::new(silent.clone())));
    let wait = |slot| events.wait(slot, Some(Instant::now() + LONG));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| wait(0));
        silent.wait_for_listener(1);
        let second = scope.spawn(|| wait(1));
        events.wake(0);
        assert_eq!(first.join().unwrap(), SlotEvent::Card);
        // By the second slot's thread, as the first one's has returned.
        silent.wait_for_listener(2);
        assert!(events.settle(1, Instant::now() + LONG));
        events.stop();
        assert_eq!(second.join().unwrap(), SlotEvent::Stopped);
    });
}
