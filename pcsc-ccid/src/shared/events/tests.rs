use super::*;
use std::collections::VecDeque;

/// Passes messages and failures one after the other, then fails as a reader that is gone.
struct Script(VecDeque<Result<Vec<u8>, TransportError>>);

impl InterruptSource for Script {
    fn next(
        &mut self,
        _deadline: Option<Instant>,
        receive: &mut dyn FnMut(&[u8]),
    ) -> Result<(), TransportError> {
        let message = self.0.pop_front().unwrap_or(Err(TransportError::Gone))?;
        receive(&message);
        Ok(())
    }

    fn interrupter(&self) -> Interrupter {
        Box::new(|| ())
    }
}

/// Slots of a reader whose interrupt pipe brings this.
fn listening(slots: u16, script: impl IntoIterator<Item = Result<Vec<u8>, TransportError>>) -> SlotEvents {
    let events = SlotEvents::new(slots);
    listen(&events, script);
    events
}

fn listen(events: &SlotEvents, script: impl IntoIterator<Item = Result<Vec<u8>, TransportError>>) {
    let script = Script(script.into_iter().collect());
    events.listen(Notifications::Interrupts(Box::new(script)));
}

const HALT: Result<Vec<u8>, TransportError> = Err(TransportError::Stall);
const FAULT: Result<Vec<u8>, TransportError> = Err(TransportError::Fault);

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
    let events = listening(2, messages.iter().map(|message| Ok(message.to_vec())));
    for _ in messages {
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

#[test]
fn a_reader_whose_interrupt_pipe_fails_is_polled() {
    let events = listening(1, [FAULT]);
    for _ in 0..2 {
        assert_eq!(events.wait(0, None), SlotEvent::Card);
    }
    assert!(!events.take_loss());
}

#[test]
fn slots_are_polled_after_a_halt_of_the_interrupt_pipe() {
    let events = listening(2, [HALT]);
    assert_eq!(events.wait(0, None), SlotEvent::Card);
    assert!(!events.take_loss());
    assert_eq!(events.wait(1, None), SlotEvent::Card);
    assert!(!events.take_loss());
    assert_eq!(events.wait(0, None), SlotEvent::Card);
    assert!(events.take_loss());
}

/// Whether the interrupt pipe is used after this number of waits: it then fails as one of a reader that is
/// gone.
fn is_used_after(events: &SlotEvents, waits: usize) -> bool {
    for _ in 0..waits {
        assert_eq!(events.wait(0, None), SlotEvent::Card);
        assert!(!events.take_loss());
    }
    // The deadline has passed: where the slot is polled, this does not block.
    events.wait(0, Some(Instant::now()));
    events.take_loss()
}

#[test]
fn only_a_second_halt_in_a_row_ends_the_use_of_the_interrupt_pipe() {
    let message = || Ok(vec![0x50, 3]);
    assert!(is_used_after(&listening(1, [HALT, message(), HALT]), 3));
    assert!(!is_used_after(&listening(1, [HALT, HALT]), 2));
    // The pipe of a reader that is opened again is another one.
    let events = listening(1, [HALT]);
    assert!(is_used_after(&events, 1));
    assert_eq!(events.wait(0, None), SlotEvent::Card, "the loss");
    listen(&events, [HALT]);
    assert!(is_used_after(&events, 1));
}

#[test]
fn a_loss_is_one_of_an_open_reader_and_is_noted_once() {
    let events = SlotEvents::new(1);
    events.lose();
    assert!(!events.take_loss(), "it was not open");
    events.listen(Notifications::Pushed);
    events.lose();
    assert!(events.take_loss() && !events.take_loss());
}

#[test]
fn the_first_of_two_ends_is_what_waits_end_with() {
    for is_gone_first in [true, false] {
        let events = SlotEvents::new(1);
        if is_gone_first {
            events.set_gone();
        }
        events.stop();
        events.set_gone();
        let end = if is_gone_first {
            SlotEvent::Gone
        } else {
            SlotEvent::Stopped
        };
        assert_eq!(events.wait(0, None), end);
    }
}

/// Sends a message after the reader was lost.
struct Late(std::sync::Weak<SlotEvents>);

impl InterruptSource for Late {
    fn next(
        &mut self,
        _deadline: Option<Instant>,
        receive: &mut dyn FnMut(&[u8]),
    ) -> Result<(), TransportError> {
        self.0.upgrade().unwrap().lose();
        receive(&[0x50, 0b10]);
        Ok(())
    }

    fn interrupter(&self) -> Interrupter {
        Box::new(|| ())
    }
}

#[test]
fn a_message_of_a_reader_that_was_closed_meanwhile_is_ignored() {
    let events = std::sync::Arc::new(SlotEvents::new(1));
    events.listen(Notifications::Interrupts(Box::new(Late(
        std::sync::Arc::downgrade(&events),
    ))));
    assert_eq!(events.wait(0, None), SlotEvent::Card);
    assert!(events.take_loss());
    assert!(!events.take_emptied(0));
}

#[test]
fn a_slot_that_was_empty_in_between_is_remembered_once() {
    // A card comes, goes, and comes.
    let events = listening(1, [3, 2, 3].map(|states| Ok(vec![0x50, states])));
    assert_eq!(events.wait(0, None), SlotEvent::Card);
    assert!(!events.take_emptied(0));
    assert_eq!(events.wait(0, None), SlotEvent::Card);
    assert_eq!(events.wait(0, None), SlotEvent::Card);
    assert!(events.take_emptied(0) && !events.take_emptied(0));
}

const LONG: Duration = Duration::from_secs(60);

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
    ) -> Result<(), TransportError> {
        let (state, changed) = &*self.0;
        let mut state = lock(state);
        state.1 += 1;
        changed.notify_all();
        while !std::mem::take(&mut state.0) {
            state = wait_until(changed, state, deadline).map_err(|_| TransportError::Timeout)?;
        }
        Err(TransportError::Cancelled)
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
    /// Waits until it is listened to for the nth time.
    fn wait_for_listener(&self, count: u32) {
        let (state, changed) = &*self.0;
        let mut state = lock(state);
        while state.1 < count {
            state = wait_until(changed, state, Some(Instant::now() + LONG)).unwrap();
        }
    }
}

#[test]
fn a_wait_for_a_message_ends_at_its_deadline() {
    let events = SlotEvents::new(1);
    events.listen(Notifications::Interrupts(Box::new(Silent::default())));
    let soon = Instant::now() + Duration::from_millis(5);
    assert_eq!(events.wait(0, Some(soon)), SlotEvent::Card);
    assert!(Instant::now() >= soon);
}

#[test]
fn after_the_end_no_interrupt_pipe_is_kept() {
    let (events, silent) = (SlotEvents::new(1), Silent::default());
    events.stop();
    events.listen(Notifications::Interrupts(Box::new(silent.clone())));
    assert_eq!(std::sync::Arc::strong_count(&silent.0), 1);
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
