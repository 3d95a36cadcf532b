//! The resource manager over slots of the test's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::reader::Wakers;
use crate::*;

mod errors;
mod given_back;
#[cfg(feature = "sim")]
mod many_slots;
mod rules;
mod sharing;
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
struct ManagerBench {
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
    /// Whether a card is there is known without asking the device.
    knows_presence: bool,
    /// Another slot's command keeps the reader busy.
    is_busy: bool,
    /// The next exchange takes longer than its deadline.
    times_out: bool,
    /// Another slot has the reader until after the next exchange's deadline.
    is_taken: bool,
    is_gone: bool,
    is_stopped: bool,
    /// Power-ups and choices of a protocol wait until this is over.
    is_held: bool,
    is_waiting: bool,
    moves: u32,
    /// The reader's thread waits for a move.
    is_watching: bool,
    /// How often the driver was asked whether a card is there.
    polls: u32,
    seen: u32,
}

impl ManagerBench {
    fn set(&self, change: impl FnOnce(&mut Bed)) {
        let mut bed = lock(&self.state);
        change(&mut bed);
        bed.moves += 1;
        self.moved.notify_all();
    }

    fn wait_while_held(&self) {
        let mut bed = lock(&self.state);
        while bed.is_held {
            if !std::mem::replace(&mut bed.is_waiting, true) {
                self.moved.notify_all();
            }
            bed = self.moved.wait(bed).unwrap();
        }
    }

    /// Waits until a call of the driver waits for the end of `is_held`.
    fn wait_until_it_waits(&self) {
        let mut bed = lock(&self.state);
        while !bed.is_waiting {
            bed = self.moved.wait(bed).unwrap();
        }
    }

    /// Waits until the reader's thread has done what it does after each move.
    fn wait_until_polled(&self) {
        let mut bed = lock(&self.state);
        while bed.seen != bed.moves || !bed.is_watching {
            bed = self.moved.wait(bed).unwrap();
        }
    }
}

struct BenchSlot(Arc<ManagerBench>);

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
        self.0.wait_while_held();
        if self.presence()? == Presence::Absent {
            return Err(SlotError::NoCard);
        }
        if lock(&self.0.state).is_mute {
            return Err(SlotError::Mute);
        }
        Ok(Powered {
            atr: ATR[..].into(),
            offered: 2,
            first: 2,
        })
    }

    fn power_down(&mut self) -> Result<(), SlotError> {
        self.0.downs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn set_protocol(&mut self, protocol: u32, _deadline: Option<Instant>) -> Result<(), SlotError> {
        self.0.wait_while_held();
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
        if std::mem::take(&mut lock(&self.0.state).times_out) {
            return Err(SlotError::TimedOut);
        }
        if std::mem::take(&mut lock(&self.0.state).is_taken) {
            return Err(SlotError::NotStarted);
        }
        let room = response
            .get_mut(..command.len())
            .ok_or(SlotError::BufferTooSmall)?;
        room.copy_from_slice(command);
        Ok(command.len())
    }

    fn knows_presence(&self) -> bool {
        lock(&self.0.state).knows_presence
    }

    fn is_busy(&self) -> bool {
        lock(&self.0.state).is_busy
    }

    fn give_back(&mut self) {
        self.0.given_back.fetch_add(1, Ordering::SeqCst);
        self.0.set(|_| ());
    }
}

impl Watch for ManagerBench {
    fn wait(&self) -> WatchEvent {
        let mut bed = lock(&self.state);
        loop {
            if bed.is_stopped {
                return WatchEvent::Stopped;
            }
            if bed.is_gone {
                return WatchEvent::Gone;
            }
            if bed.seen != bed.moves {
                bed.seen = bed.moves;
                bed.is_watching = false;
                return WatchEvent::Card;
            }
            if !std::mem::replace(&mut bed.is_watching, true) {
                self.moved.notify_all();
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
    initial: Vec<Arc<ManagerBench>>,
    queue: Mutex<(Vec<Arc<ManagerBench>>, bool)>,
    moved: Condvar,
}

fn found(bench: &Arc<ManagerBench>) -> FoundReader {
    FoundReader::new("Bench", vec![(Box::new(BenchSlot(bench.clone())), bench.clone())])
}

impl Bus for TestBus {
    fn initial(&self) -> Vec<FoundReader> {
        self.initial.iter().map(found).collect()
    }

    fn wait(&self) -> Option<FoundReader> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.1 {
                return None;
            }
            if let Some(bench) = queue.0.pop() {
                return Some(found(&bench));
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
    benches: Vec<Arc<ManagerBench>>,
    bus: Arc<TestBus>,
    manager: Arc<Manager>,
}

impl Rig {
    fn new(readers: usize) -> Rig {
        let benches: Vec<Arc<ManagerBench>> = (0..readers).map(|_| Arc::default()).collect();
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

    fn plug(&self, bench: Arc<ManagerBench>) {
        lock(&self.bus.queue).0.push(bench);
        self.bus.moved.notify_all();
    }
}

fn connect(client: &Client, share: u32) -> Result<ConnectionHandle, CallError> {
    let connected = client.connect(b"Bench 00 00", share, ANY, None)?;
    Ok(connected.handle)
}

fn reconnect(
    client: &Client,
    card: ConnectionHandle,
    share: u32,
    initialization: u32,
) -> Result<(), CallError> {
    client.reconnect(card, share, ANY, initialization, None).map(drop)
}

fn echo(client: &Client, card: ConnectionHandle) -> Result<(), CallError> {
    let response = transmit(client, card, b"\x00\xEC\x00\x00", None)?;
    assert_eq!(response, b"\x00\xEC\x00\x00");
    Ok(())
}

fn transmit(
    client: &Client,
    card: ConnectionHandle,
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
    let deadline = Some(Instant::now() + Duration::from_secs(60));
    loop {
        let seen = manager.changes().changes();
        watching.refresh(&manager.readers());
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

/// Waits until this is so.
fn wait_until(client: &Client, is_so: impl Fn() -> bool) {
    let changes = client.manager().changes();
    let deadline = Some(Instant::now() + Duration::from_secs(60));
    loop {
        let seen = changes.changes();
        if is_so() {
            return;
        }
        assert!(changes.wait(seen, deadline), "nothing changes");
    }
}

/// A reader of this slot, without a manager.
fn reader(name: &str, slot: impl Slot + 'static, watch: Arc<ManagerBench>) -> ManagedReader {
    let found = (Box::new(slot) as _, watch as _);
    ManagedReader::new(name.into(), None, 0, found, Wakers::default())
}

fn count(client: &Client) -> usize {
    client.manager().readers().len()
}

#[test]
fn readers_that_are_added_at_once_have_names_of_their_own() {
    const THREADS: usize = 4;
    const EACH: usize = 20;
    let rig = Rig::new(0);
    let start = std::sync::Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..EACH {
                    rig.manager.add(found(&Arc::default())).unwrap();
                }
            });
        }
    });
    let readers = rig.manager.readers();
    let names: std::collections::BTreeSet<&str> = readers.iter().map(|reader| reader.name()).collect();
    assert_eq!((readers.len(), names.len()), (THREADS * EACH, THREADS * EACH));
}

#[test]
fn no_reader_is_added_after_the_end() {
    let rig = Rig::new(1);
    rig.manager.end();
    let bench = Arc::<ManagerBench>::default();
    assert!(rig.manager.add(found(&bench)).unwrap().is_empty());
    assert_eq!(rig.manager.readers().len(), 0);
    // No thread has the reader: the manager would not end it again.
    assert_eq!(Arc::strong_count(&bench), 1);
}
