//! The resource manager over slots of the test's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pcsc_manager::{
    Bus, BusEvent, Fault, Found, Manager, Powered, Presence, Reader, Settings, Sight, Simulated,
};
use pcsc_manager::{CallError, SimulatedBus, Slot, Wakers, Watch};

use super::*;
use crate::backend::status_change::{Watched, PNP_NAME};
use crate::error::{Error, Outcome};
use pcsc_wire as wire;

mod given_back;
mod rules;
mod slots;

const SHARED: u32 = 2;
const EXCLUSIVE: u32 = 1;
const ANY: u32 = 3;
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
    looks: u32,
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
    fn presence(&mut self) -> Result<Presence, Fault> {
        let mut bed = lock(&self.0.state);
        bed.looks += 1;
        if bed.has_trouble {
            return Err(Fault::Communication);
        }
        Ok(match bed.has_card {
            true => Presence::Present,
            false => Presence::Absent,
        })
    }

    fn power_up(&mut self, _warm: bool) -> Result<Powered, Fault> {
        self.0.powers.fetch_add(1, Ordering::SeqCst);
        if self.presence()? == Presence::Absent {
            return Err(Fault::NoCard);
        }
        if lock(&self.0.state).is_mute {
            return Err(Fault::Mute);
        }
        Ok(Powered {
            atr: ATR.to_vec(),
            offered: 2,
            first: 2,
        })
    }

    fn power_down(&mut self) -> Result<(), Fault> {
        self.0.downs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn set_protocol(&mut self, protocol: u32) -> Result<(), Fault> {
        let mut bed = lock(&self.0.state);
        while bed.is_held {
            bed.is_waiting = true;
            self.0.moved.notify_all();
            bed = self.0.moved.wait(bed).unwrap();
        }
        if protocol == 2 {
            Ok(())
        } else {
            Err(Fault::ProtocolUnsupported)
        }
    }

    fn transmit(&mut self, command: &[u8], response: &mut [u8]) -> Result<usize, Fault> {
        if self.presence()? == Presence::Absent {
            return Err(Fault::NoCard);
        }
        if std::mem::take(&mut lock(&self.0.state).resets_card) {
            return Err(Fault::Reset);
        }
        let room = response.get_mut(..command.len()).ok_or(Fault::BufferTooSmall)?;
        room.copy_from_slice(command);
        Ok(command.len())
    }

    fn control(&mut self, _code: u32, _data: &[u8], _answer: &mut [u8]) -> Result<usize, Fault> {
        Err(Fault::Unsupported)
    }

    fn get_attribute(&mut self, _id: u32, _value: &mut [u8]) -> Result<usize, Fault> {
        Err(Fault::Unsupported)
    }

    fn set_attribute(&mut self, _id: u32, _value: &[u8]) -> Result<(), Fault> {
        Err(Fault::Unsupported)
    }

    fn give_back(&mut self) {
        self.0.given_back.fetch_add(1, Ordering::SeqCst);
        self.0.set(|_| ());
    }
}

impl Watch for Bench {
    fn wait(&self) -> Sight {
        let mut bed = lock(&self.state);
        loop {
            if bed.is_stopped {
                return Sight::Stopped;
            }
            if bed.is_gone {
                return Sight::Gone;
            }
            if bed.seen != bed.moves {
                bed.seen = bed.moves;
                return Sight::Card;
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

fn found(bench: &Arc<Bench>) -> Found {
    Found {
        name: "Bench".into(),
        slots: vec![(Box::new(BenchSlot(bench.clone())), bench.clone())],
    }
}

impl Bus for TestBus {
    fn initial(&self) -> Vec<Found> {
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

    fn session(&self) -> Session {
        Session::on(self.manager.clone())
    }

    fn plug(&self, bench: Arc<Bench>) {
        lock(&self.bus.queue).0.push(bench);
        self.bus.moved.notify_all();
    }
}

fn connect(session: &Session, share: u32) -> Result<i32, u32> {
    let reply = session.connect(b"Bench 00 00", share, ANY, None).unwrap();
    if reply.rv == 0 {
        Ok(reply.card)
    } else {
        Err(reply.rv)
    }
}

fn echo(session: &Session, card: i32) -> u32 {
    let (rv, response) = transmit(session, card, b"\x00\xEC\x00\x00", None);
    if rv == 0 {
        assert_eq!(response, b"\x00\xEC\x00\x00");
    }
    rv
}

fn transmit(session: &Session, card: i32, command: &[u8], deadline: Option<Instant>) -> (u32, Vec<u8>) {
    let mut response = [0; 16];
    let request = wire::Transmit {
        card,
        send_protocol: 2,
        send_pci_length: 16,
        send_length: 0,
        receive_protocol: 3,
        receive_pci_length: 16,
        receive_length: 0,
        rv: 0,
    };
    let reply = session
        .transmit(request, command, &mut response, deadline)
        .unwrap();
    (reply.rv, response[..reply.receive_length as usize].to_vec())
}

fn code<T>(outcome: Outcome<T>) -> u32 {
    outcome.map_or_else(|failure| failure.code(), |_| 0)
}

/// Waits for a change from what `current` says of a reader; gives what is.
fn change(session: &Session, name: &[u8], current: u32) -> Result<u32, u32> {
    let mut watched = [Watched::new(name, current)];
    let changed = session.status_change(Some(Duration::from_secs(20)), &mut watched, false);
    changed.map_err(|failure| failure.code())?;
    Ok(watched[0].event().unwrap())
}

#[test]
fn cards_are_shared_reset_and_removed_as_pcscd_has_it() {
    let rig = Rig::new(1);
    let (one, two) = (rig.session(), rig.session());
    let (a, b) = (connect(&one, SHARED).unwrap(), connect(&two, SHARED).unwrap());
    assert_eq!(connect(&two, EXCLUSIVE), Err(Error::SharingViolation.code()));
    assert_eq!((echo(&one, a), echo(&two, b)), (0, 0));
    assert_eq!(one.reconnect(a, SHARED, ANY, 1, 0, None).unwrap().rv, 0);
    assert_eq!((echo(&one, a), echo(&two, b)), (0, Error::ResetCard.code()));
    assert_eq!(two.reconnect(b, SHARED, ANY, 0, 0, None).unwrap().rv, 0);
    assert_eq!(echo(&two, b), 0);

    let state = change(&one, b"Bench 00 00", 0).unwrap();
    rig.benches[0].set(|bed| bed.has_card = false);
    let state = change(&one, b"Bench 00 00", state & !2).unwrap();
    assert_eq!(state & 0x3FF, 0x12, "empty, changed");
    assert_eq!(
        (echo(&one, a), echo(&two, b)),
        (Error::RemovedCard.code(), Error::RemovedCard.code())
    );
    assert_eq!(connect(&one, SHARED), Err(Error::NoSmartcard.code()));
    assert_eq!(two.disconnect(b, 0).unwrap().rv, 0);
    assert_eq!(code(two.disconnect(b, 0)), Error::InvalidHandle.code());
}

#[test]
fn transactions_go_in_order_and_end_with_their_context() {
    let rig = Rig::new(1);
    let (one, two) = (rig.session(), Arc::new(rig.session()));
    let (a, b) = (connect(&one, SHARED).unwrap(), connect(&two, SHARED).unwrap());
    assert_eq!(one.begin_transaction(a, None).unwrap().rv, 0);
    let soon = Some(Instant::now() + Duration::from_millis(20));
    assert_eq!(code(two.begin_transaction(b, soon)), Error::Timeout.code());
    assert_eq!(
        two.end_transaction(b, 0).unwrap().rv,
        Error::SharingViolation.code()
    );
    let waiter = std::thread::spawn({
        let two = two.clone();
        move || two.begin_transaction(b, None).unwrap().rv
    });
    let powers = rig.benches[0].powers.load(Ordering::SeqCst);
    one.release().unwrap();
    // The card was left in the middle of something: it is reset, and the one who waited is told.
    assert_eq!(waiter.join().unwrap(), Error::ResetCard.code());
    assert_eq!(rig.benches[0].powers.load(Ordering::SeqCst), powers + 1);
    assert_eq!(code(one.check_alive()), Error::InvalidHandle.code());
    assert_eq!(two.reconnect(b, EXCLUSIVE, ANY, 0, 0, None).unwrap().rv, 0);
    assert_eq!(
        connect(&rig.session(), SHARED),
        Err(Error::SharingViolation.code())
    );
}

/// Waits for readers that come and go, from one event to the next, until this is so.
fn wait_for_readers(session: &Session, is_so: impl Fn() -> bool) {
    let mut known = 1 << 16;
    while !is_so() {
        known = change(session, PNP_NAME, known).unwrap();
        assert_eq!(known & 0xFFFF, 2, "changed");
    }
}

fn count(session: &Session) -> usize {
    session.with_states(|states| states.readers().count()).unwrap()
}

#[test]
fn readers_come_and_go() {
    let rig = Rig::new(1);
    let session = rig.session();
    assert_eq!(count(&session), 1);
    rig.plug(Arc::default());
    wait_for_readers(&session, || count(&session) == 2);
    let card = connect(&session, SHARED).unwrap();
    rig.benches[0].set(|bed| bed.is_gone = true);
    wait_for_readers(&session, || {
        echo(&session, card) == Error::ReaderUnavailable.code()
    });
    assert_eq!(count(&session), 1);
    assert_eq!(
        change(&session, b"Bench 00 00", 0),
        Err(Error::UnknownReader.code())
    );
}

/// Waits until a thread of this process sleeps in the kernel.
fn wait_until_asleep(thread: rustix::thread::Pid) {
    let path = format!("/proc/self/task/{}/stat", thread.as_raw_nonzero());
    let deadline = Instant::now() + Duration::from_secs(20);
    // The state follows the name, which stands in brackets.
    while !std::fs::read_to_string(&path).unwrap().contains(") S ") {
        assert!(Instant::now() < deadline, "it never sleeps");
        std::thread::yield_now();
    }
}

#[test]
fn a_cancel_and_a_release_end_waits_that_have_begun() {
    let rig = Rig::new(1);
    let session = Arc::new(rig.session());
    for end in [Session::cancel, Session::release] {
        let state = change(&session, b"Bench 00 00", 0).unwrap() & !2;
        let (sender, receiver) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn({
            let session = session.clone();
            move || {
                sender.send(rustix::thread::gettid()).unwrap();
                let mut watched = [Watched::new(b"Bench 00 00", state)];
                code(session.status_change(Some(Duration::from_secs(20)), &mut watched, false))
            }
        });
        wait_until_asleep(receiver.recv().unwrap());
        end(&session).unwrap();
        assert_eq!(waiter.join().unwrap(), Error::Cancelled.code());
    }
}

#[test]
fn many_threads_and_moving_cards_end_in_order() {
    let rig = Rig::new(4);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let session = rig.session();
            scope.spawn(move || {
                for round in 0..200 {
                    let name = format!("Bench {:02X} 00", (number + round) % 4);
                    let reply = session.connect(name.as_bytes(), SHARED, ANY, None).unwrap();
                    if reply.rv != 0 {
                        assert!(
                            [0x8010_000C, 0x8010_0067, 0x8010_0066].contains(&reply.rv),
                            "{:#x}",
                            reply.rv
                        );
                        continue;
                    }
                    if session.begin_transaction(reply.card, None).unwrap().rv == 0 {
                        echo(&session, reply.card);
                        session.end_transaction(reply.card, round as u32 % 2).unwrap();
                    }
                    assert_eq!(session.disconnect(reply.card, 0).unwrap().rv, 0);
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
    let session = rig.session();
    for number in 0..4 {
        let name = format!("Bench {number:02X} 00");
        while change(&session, name.as_bytes(), 0).unwrap() & 0x20 == 0 {}
        let state = session
            .with_states(|states| states.find(name.as_bytes()).unwrap().sharing)
            .unwrap();
        assert_eq!(state, 0);
    }
    // Nothing is left running.
    drop(session);
    assert_eq!(Arc::strong_count(&rig.manager), 1);
}

/// A card that is out when it gets power, and in again before anybody looks.
#[test]
fn a_card_that_was_missed_by_a_power_up_is_found_by_the_next_look() {
    struct Shy(u32);
    impl Slot for Shy {
        fn presence(&mut self) -> Result<Presence, Fault> {
            Ok(Presence::Present)
        }
        fn power_up(&mut self, _warm: bool) -> Result<Powered, Fault> {
            self.0 += 1;
            if self.0 == 1 {
                return Err(Fault::NoCard);
            }
            Ok(Powered {
                atr: ATR.to_vec(),
                offered: 2,
                first: 2,
            })
        }
        fn power_down(&mut self) -> Result<(), Fault> {
            Ok(())
        }
        fn set_protocol(&mut self, _protocol: u32) -> Result<(), Fault> {
            Ok(())
        }
        fn transmit(&mut self, _command: &[u8], _response: &mut [u8]) -> Result<usize, Fault> {
            Err(Fault::Communication)
        }
        fn control(&mut self, _code: u32, _data: &[u8], _answer: &mut [u8]) -> Result<usize, Fault> {
            Err(Fault::Unsupported)
        }
        fn get_attribute(&mut self, _id: u32, _value: &mut [u8]) -> Result<usize, Fault> {
            Err(Fault::Unsupported)
        }
        fn set_attribute(&mut self, _id: u32, _value: &[u8]) -> Result<(), Fault> {
            Err(Fault::Unsupported)
        }
    }
    let reader = Reader::new(
        "Shy 00 00".into(),
        Box::new(Shy(0)),
        Arc::<Bench>::default(),
        Wakers::default(),
    );
    let has_card = || reader.snapshot().status & 4 != 0;
    reader.look();
    assert!(!has_card());
    reader.look();
    assert!(has_card());
}
