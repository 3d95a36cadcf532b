//! A reader's slot by itself: polls that fail, power, and its end.

use super::*;
use std::sync::mpsc;

pub(super) struct Slotted {
    bench: Arc<ManagerBench>,
    pub(super) reader: Arc<ManagedReader>,
    /// So that it is not given back.
    _interest: Interest<Arc<ManagedReader>>,
}

/// A slot that was polled, with a card.
pub(super) fn slotted() -> Slotted {
    let bench = Arc::new(ManagerBench::default());
    lock(&bench.state).has_card = true;
    let reader = Arc::new(reader("Bench 00 00", BenchSlot(bench.clone()), bench.clone()));
    let _interest = Interest::new(reader.clone());
    reader.poll();
    Slotted {
        bench,
        reader,
        _interest,
    }
}

impl Slotted {
    pub(super) fn connect(&self, handle: i32, share: u32, protocols: u32) -> Result<u32, CallError> {
        self.reader.connect(handle, share, protocols, None, &|| false)
    }

    fn has_trouble(&self, has_trouble: bool) {
        lock(&self.bench.state).has_trouble = has_trouble;
    }

    /// The count of events, and the state.
    fn state(&self) -> (u32, u32) {
        let now = self.reader.snapshot();
        (now.event_counter, now.status)
    }
}

#[test]
fn a_reader_that_fails_is_polled_less_and_less_often() {
    let slotted = slotted();
    slotted.has_trouble(true);
    for pause in [400, 800, 1600, 3200, 6000, 6000].map(Duration::from_millis) {
        let before = Instant::now();
        slotted.reader.poll();
        let due = slotted.reader.due().unwrap();
        assert!(
            (before + pause..=Instant::now() + pause).contains(&due),
            "{pause:?}"
        );
        assert_eq!(slotted.state().1, 1, "unknown");
    }
    slotted.has_trouble(false);
    slotted.reader.poll();
    assert_eq!(slotted.state().1 & 4, 4, "present");
}

#[test]
fn after_a_failure_the_card_counts_as_another_one() {
    let slotted = slotted();
    slotted.connect(1, SHARED, ANY).unwrap();
    slotted.has_trouble(true);
    slotted.reader.poll();
    slotted.has_trouble(false);
    slotted.reader.poll();
    assert_eq!(slotted.reader.check(1), Err(CallError::RemovedCard));
}

#[test]
fn a_connection_looks_for_the_card_where_that_costs_no_command() {
    let slotted = slotted();
    lock(&slotted.bench.state).has_card = false;
    slotted.reader.poll();
    lock(&slotted.bench.state).has_card = true;
    assert_eq!(slotted.connect(1, SHARED, ANY), Err(CallError::NoSmartcard));
    lock(&slotted.bench.state).knows_presence = true;
    assert_eq!(slotted.connect(1, SHARED, ANY), Ok(2));
}

#[test]
fn a_driver_at_work_is_attended_to_later() {
    let slotted = slotted();
    slotted.has_trouble(true);
    slotted.reader.poll();
    let due = slotted.reader.due().unwrap();
    let busy = slotted.reader.driver();
    slotted.reader.attend();
    assert!(slotted.reader.due().unwrap() > due);
    drop(busy);
}

#[test]
fn a_reader_that_ends_takes_the_power_gives_the_device_back_and_counts() {
    let slotted = slotted();
    let (before, _) = slotted.state();
    let downs = slotted.bench.downs.load(Ordering::SeqCst);
    // The test, the slot and the watch.
    assert_eq!(Arc::strong_count(&slotted.bench), 3);
    slotted.reader.end(None);
    assert_eq!(slotted.bench.downs.load(Ordering::SeqCst), downs + 1);
    assert_eq!(Arc::strong_count(&slotted.bench), 2);
    assert_eq!(slotted.state(), (before + 1, 1));
    assert_eq!(slotted.connect(1, SHARED, ANY), Err(CallError::ReaderUnavailable));
}

#[test]
fn a_protocol_of_the_readers_own_is_left_to_the_connection() {
    const RAW: u32 = 4;
    const DIRECT: u32 = 3;
    for share in [DIRECT, SHARED] {
        let slotted = slotted();
        assert_eq!(slotted.connect(1, share, RAW), Ok(RAW));
    }
}

#[test]
fn a_command_goes_over_the_protocol_in_use() {
    /// What old programs pass, for either.
    const ANY_OLD: u32 = 0x1000;
    let slotted = slotted();
    assert_eq!(slotted.connect(1, SHARED, ANY), Ok(2));
    for (protocol, expected) in [
        (1, Err(CallError::ProtoMismatch)),
        (2, Ok((4, 1))),
        (ANY_OLD, Ok((4, 1))),
    ] {
        let result = slotted.reader.transmit(1, protocol, &[0; 4], &mut [0; 4], None);
        assert_eq!(result, expected, "{protocol:#x}");
    }
}

#[test]
fn a_card_loses_its_power_where_that_is_asked_for() {
    const UNPOWER: u32 = 2;
    let slotted = slotted();
    slotted.connect(1, SHARED, ANY).unwrap();
    let (powers, downs) = (&slotted.bench.powers, &slotted.bench.downs);
    let before = (powers.load(Ordering::SeqCst), downs.load(Ordering::SeqCst));
    slotted.reader.disconnect(1, UNPOWER, &|| false).unwrap();
    let after = (powers.load(Ordering::SeqCst), downs.load(Ordering::SeqCst));
    assert_eq!(after, (before.0, before.1 + 1));
    assert_eq!(slotted.state().1 & 0x14, 4, "present, not powered");
}

#[test]
fn connections_learn_that_the_driver_had_to_reset_the_card() {
    let rig = Rig::new(1);
    let client = rig.client();
    let [a, b] = [(); 2].map(|()| connect(&client, SHARED).unwrap());
    lock(&rig.benches[0].state).resets_card = true;
    assert_eq!(echo(&client, a), Err(CallError::ResetCard));
    for card in [a, b] {
        assert_eq!(echo(&client, card), Err(CallError::ResetCard));
        assert_eq!(client.reconnect(card, SHARED, ANY, 0, None).map(drop), Ok(()));
        assert_eq!(echo(&client, card), Ok(()));
    }
}

#[test]
fn what_is_due_does_not_wait_for_another_slot() {
    let slotted = slotted();
    let now = Instant::now();
    let attend = |is_busy| {
        lock(&slotted.bench.state).is_busy = is_busy;
        slotted.reader.state().due.retry = Some(now);
        slotted.reader.attend();
        lock(&slotted.bench.state).polls
    };
    let polls = lock(&slotted.bench.state).polls;
    assert_eq!(attend(true), polls);
    assert!(slotted.reader.due().is_some_and(|due| due > now), "it is put off");
    assert_eq!(attend(false), polls + 1);
}

#[test]
fn a_command_that_was_not_sent_in_time_costs_no_reset() {
    let rig = Rig::new(1);
    let client = rig.client();
    let [a, b] = [(); 2].map(|()| connect(&client, SHARED).unwrap());
    let powers = rig.benches[0].powers.load(Ordering::SeqCst);
    lock(&rig.benches[0].state).is_taken = true;
    assert_eq!(echo(&client, a), Err(CallError::Timeout));
    assert_eq!([a, b].map(|card| echo(&client, card)), [Ok(()); 2]);
    assert_eq!(rig.benches[0].powers.load(Ordering::SeqCst), powers);
}

#[test]
fn a_new_reader_takes_the_place_of_one_that_is_gone() {
    let rig = Rig::new(2);
    let client = rig.client();
    rig.benches[0].set(|bed| bed.is_gone = true);
    wait_until(&client, || count(&client) == 1);
    rig.plug(Arc::default());
    wait_until(&client, || count(&client) == 2);
    let readers = rig.manager.readers();
    let names: Vec<&str> = readers.iter().map(|reader| reader.name()).collect();
    assert_eq!(names, ["Bench 00 00", "Bench 01 00"]);
}

#[test]
fn readers_beyond_the_numbers_that_there_are_are_left_out() {
    let rig = Rig::new(256);
    assert_eq!(count(&rig.client()), 255);
}

#[test]
fn a_readers_name_is_an_attribute() {
    let rig = Rig::new(1);
    let client = rig.client();
    let card = connect(&client, SHARED).unwrap();
    for id in [0x7FFF_0003, 0x7FFF_0004] {
        let mut value = [0; 264];
        let length = client.get_attribute(card, id, &mut value).unwrap();
        assert_eq!(&value[..length], b"Bench 00 00\0");
        let short = client.get_attribute(card, id, &mut value[..11]);
        assert_eq!(short, Err(CallError::InsufficientBuffer { needed: 12 }));
    }
    let unknown = client.get_attribute(card, 0x7FFF_0005, &mut [0; 264]);
    assert_eq!(unknown, Err(CallError::UnsupportedFeature));
}

/// A slot whose answers the test gives.
struct Asked {
    asked: mpsc::Sender<()>,
    answers: mpsc::Receiver<Presence>,
}

impl Slot for Asked {
    fn presence(&mut self) -> Result<Presence, SlotError> {
        let _ = self.asked.send(());
        self.answers.recv().map_err(|_| SlotError::NoDevice)
    }

    fn power_up(&mut self, _warm: bool, _deadline: Option<Instant>) -> Result<Powered, SlotError> {
        Err(SlotError::Mute)
    }

    fn power_down(&mut self) -> Result<(), SlotError> {
        Ok(())
    }

    fn set_protocol(&mut self, _protocol: u32, _deadline: Option<Instant>) -> Result<(), SlotError> {
        Err(SlotError::Mute)
    }

    fn transmit(
        &mut self,
        _command: &[u8],
        _response: &mut [u8],
        _deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        Err(SlotError::Mute)
    }
}

#[test]
fn a_card_that_comes_during_the_first_poll_is_seen_by_the_next_one() {
    let (asked, polls) = mpsc::channel();
    let (give, answers) = mpsc::channel();
    let reader = Arc::new(reader("Bench 00 00", Asked { asked, answers }, Arc::default()));
    let _interest = Interest::new(reader.clone());
    std::thread::scope(|scope| {
        scope.spawn(|| reader.poll());
        polls.recv().unwrap();
        let (started, starts) = mpsc::channel();
        let reader = &reader;
        scope.spawn(move || {
            started.send(()).unwrap();
            reader.settle();
        });
        starts.recv().unwrap();
        give.send(Presence::Absent).unwrap();
        give.send(Presence::Present).unwrap();
    });
    assert_ne!(reader.snapshot().status & PRESENT, 0);
}
