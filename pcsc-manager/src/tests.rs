//! The resource manager over slots of the test's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::reader::Wakers;
use crate::*;

mod given_back;
#[cfg(feature = "sim")]
mod many_slots;
mod rules;
mod slots;

const SHARED: u32 = 2;
const EXCLUSIVE: u32 = 1;
const ANY: u32 = 3;
/// Bits of a status.
const ABSENT: u32 = 2;
const PRESENT: u32 = 4;
const ATR: &[u8] = &[0x3B, 0x80, 0x01, 0x81];

/// A slot whose card the test moves.
#[derive(Default)]
struct Bench {
    state: Mutex<Bed>,
    moved: Condvar,
    powers: AtomicUsize,
    given_back: AtomicUsize,
    downs: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

#[derive(Default)]
struct Bed {
    has_card: bool,
    is_mute: bool,
    /// The reader cannot be asked.
    has_trouble: bool,
    /// The next exchange makes the driver reset the card.
    resets_card: bool,
    is_gone: bool,
    is_stopped: bool,
    /// Choosing a protocol waits until this is over.
    is_held: bool,
    is_waiting: bool,
    moves: u32,
    /// How often the driver was asked whether a card is there.
    polls: u32,
    seen: u32,
}

impl Bench {
    fn set(&self, change: impl FnOnce(&mut Bed)) {
        let mut bed = lock(&self.state);
        change(&mut bed);
        bed.moves += 1;
        self.moved.notify_all();
    }
}

struct BenchSlot(Arc<Bench>);

impl Slot for BenchSlot {
    fn presence(&mut self) -> Result<Presence, SlotError> {
        let mut bed = lock(&self.0.state);
        bed.polls += 1;
        if bed.has_trouble {
            return Err(SlotError::Communication);
        }
        Ok(match bed.has_card {
            true => Presence::Present,
            false => Presence::Absent,
        })
    }

    fn power_up(&mut self, _warm: bool, _deadline: Option<Instant>) -> Result<Powered, SlotError> {
        self.0.powers.fetch_add(1, Ordering::SeqCst);
        if self.presence()? == Presence::Absent {
            return Err(SlotError::NoCard);
        }
        if lock(&self.0.state).is_mute {
            return Err(SlotError::Mute);
        }
        Ok(Powered {
            atr: ATR.to_vec(),
            offered: 2,
            first: 2,
        })
    }

    fn power_down(&mut self) -> Result<(), SlotError> {
        self.0.downs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn set_protocol(&mut self, protocol: u32, _deadline: Option<Instant>) -> Result<(), SlotError> {
        let mut bed = lock(&self.0.state);
        while bed.is_held {
            bed.is_waiting = true;
            self.0.moved.notify_all();
            bed = self.0.moved.wait(bed).unwrap();
        }
        if protocol == 2 {
            Ok(())
        } else {
            Err(SlotError::ProtocolUnsupported)
        }
    }

    fn transmit(
        &mut self,
        command: &[u8],
        response: &mut [u8],
        _deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        if self.presence()? == Presence::Absent {
            return Err(SlotError::NoCard);
        }
        if std::mem::take(&mut lock(&self.0.state).resets_card) {
            return Err(SlotError::Reset);
        }
        let room = response
            .get_mut(..command.len())
            .ok_or(SlotError::BufferTooSmall)?;
        room.copy_from_slice(command);
        Ok(command.len())
    }

    fn control(
        &mut self,
        _code: u32,
        _data: &[u8],
        _answer: &mut [u8],
        _deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        Err(SlotError::Unsupported)
    }

    fn get_attribute(&mut self, _id: u32, _value: &mut [u8]) -> Result<usize, SlotError> {
        Err(SlotError::Unsupported)
    }

    fn set_attribute(&mut self, _id: u32, _value: &[u8]) -> Result<(), SlotError> {
        Err(SlotError::Unsupported)
    }

    fn give_back(&mut self) {
        self.0.given_back.fetch_add(1, Ordering::SeqCst);
        self.0.set(|_| ());
    }
}

impl Watch for Bench {
    fn wait(&self) -> SlotEvent {
        let mut bed = lock(&self.state);
        loop {
            if bed.is_stopped {
                return SlotEvent::Stopped;
            }
            if bed.is_gone {
                return SlotEvent::Gone;
            }
            if bed.seen != bed.moves {
                bed.seen = bed.moves;
                return SlotEvent::Card;
            }
            bed = self.moved.wait(bed).unwrap();
        }
    }

    fn wake(&self) {
        self.set(|_| ());
    }

    fn stop(&self) {
        self.set(|bed| bed.is_stopped = true);
    }
}

#[derive(Default)]
struct TestBus {
    initial: Vec<Arc<Bench>>,
    queue: Mutex<(Vec<Arc<Bench>>, bool)>,
    moved: Condvar,
}

fn found(bench: &Arc<Bench>) -> FoundReader {
    FoundReader {
        name: "Bench".into(),
        device: None,
        slots: vec![(Box::new(BenchSlot(bench.clone())), bench.clone())],
    }
}

impl Bus for TestBus {
    fn initial(&self) -> Vec<FoundReader> {
        self.initial.iter().map(found).collect()
    }

    fn wait(&self) -> BusEvent {
        let mut queue = lock(&self.queue);
        loop {
            if queue.1 {
                return BusEvent::Stopped;
            }
            if let Some(bench) = queue.0.pop() {
                return BusEvent::Added(found(&bench));
            }
            queue = self.moved.wait(queue).unwrap();
        }
    }

    fn stop(&self) {
        lock(&self.queue).1 = true;
        self.moved.notify_all();
    }
}

/// Readers with cards, and a manager of the test's own.
struct Rig {
    benches: Vec<Arc<Bench>>,
    bus: Arc<TestBus>,
    manager: Arc<Manager>,
}

impl Rig {
    fn new(readers: usize) -> Rig {
        let benches: Vec<Arc<Bench>> = (0..readers).map(|_| Arc::default()).collect();
        benches
            .iter()
            .for_each(|bench| bench.set(|bed| bed.has_card = true));
        let bus = Arc::new(TestBus {
            initial: benches.clone(),
            ..TestBus::default()
        });
        let manager = Arc::new(Manager::start(bus.clone(), Settings::default()).unwrap());
        Rig {
            benches,
            bus,
            manager,
        }
    }

    fn client(&self) -> Client {
        Client::new(self.manager.clone(), true)
    }

    fn plug(&self, bench: Arc<Bench>) {
        lock(&self.bus.queue).0.push(bench);
        self.bus.moved.notify_all();
    }
}

fn connect(client: &Client, share: u32) -> Result<Handle, CallError> {
    let connected = client.connect(b"Bench 00 00", share, ANY, None)?;
    Ok(connected.handle)
}

fn reconnect(client: &Client, card: Handle, share: u32, initialization: u32) -> Result<(), CallError> {
    client.reconnect(card, share, ANY, initialization, None).map(drop)
}

fn echo(client: &Client, card: Handle) -> Result<(), CallError> {
    let response = transmit(client, card, b"\x00\xEC\x00\x00", None)?;
    assert_eq!(response, b"\x00\xEC\x00\x00");
    Ok(())
}

fn transmit(
    client: &Client,
    card: Handle,
    command: &[u8],
    deadline: Option<Instant>,
) -> Result<Vec<u8>, CallError> {
    let mut response = [0; 16];
    let answer = client.transmit(card, 2, command, &mut response, deadline)?;
    Ok(response[..answer.length].to_vec())
}

/// Waits until a reader's state differs from the known one. Returns it.
fn change(client: &Client, name: &[u8], known: Option<&Snapshot>) -> Result<Snapshot, CallError> {
    let manager = client.manager();
    let mut watching = manager.watching([name]);
    watching.wait_until_open(&|| false)?;
    let deadline = Some(Instant::now() + Duration::from_secs(20));
    loop {
        let seen = manager.changes().changes();
        watching.refresh(manager);
        let reader = manager.find(name).ok_or(CallError::UnknownReader)?;
        let now = reader.snapshot();
        if known != Some(&now) {
            return Ok(now);
        }
        assert!(manager.changes().wait(seen, deadline), "nothing changes");
    }
}

/// Waits until a reader's status has this bit. Returns the reader's state.
fn wait_for_status(client: &Client, name: &[u8], bit: u32) -> Snapshot {
    let mut now = change(client, name, None).unwrap();
    while now.status & bit == 0 {
        now = change(client, name, Some(&now)).unwrap();
    }
    now
}

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

/// Waits until this is so.
fn wait_until(client: &Client, is_so: impl Fn() -> bool) {
    let changes = client.manager().changes();
    let deadline = Some(Instant::now() + Duration::from_secs(20));
    loop {
        let seen = changes.changes();
        if is_so() {
            return;
        }
        assert!(changes.wait(seen, deadline), "nothing changes");
    }
}

fn count(client: &Client) -> usize {
    client.manager().readers().len()
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
                atr: ATR.to_vec(),
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
        fn control(
            &mut self,
            _code: u32,
            _data: &[u8],
            _answer: &mut [u8],
            _deadline: Option<Instant>,
        ) -> Result<usize, SlotError> {
            Err(SlotError::Unsupported)
        }
        fn get_attribute(&mut self, _id: u32, _value: &mut [u8]) -> Result<usize, SlotError> {
            Err(SlotError::Unsupported)
        }
        fn set_attribute(&mut self, _id: u32, _value: &[u8]) -> Result<(), SlotError> {
            Err(SlotError::Unsupported)
        }
    }
    let reader = Reader::new(
        "Shy 00 00".into(),
        Box::new(Shy(0)),
        Arc::<Bench>::default(),
        Wakers::default(),
    );
    let has_card = || reader.snapshot().status & 4 != 0;
    reader.poll();
    assert!(!has_card());
    reader.poll();
    assert!(has_card());
}
