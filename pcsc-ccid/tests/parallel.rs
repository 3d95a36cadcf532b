//! Slots of a reader with bMaxCCIDBusySlots above 1 work in parallel, up to that number: by the order of the
//! messages on the wire.

#[macro_use]
mod common;

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use common::{card, identity, interface};
use pcsc_ccid::reader::{Presence, Protocol, Reader, ReaderError, ReaderOptions, Reset};
use pcsc_ccid::shared::{Notifications, OpenedReader, SharedError, SharedReader};
use pcsc_ccid::transport::{Transport, TransportError};
use pcsc_sim::card::{Behaviour, Offer};
use pcsc_sim::{SimDevice, SimHandle, SimTransport};

const LIMIT: Duration = Duration::from_secs(60);
/// How long a reader that serves a number of slots at a time is given to break the rule.
const MOMENT: Duration = Duration::from_millis(50);
const XFR_BLOCK: u8 = 0x6F;
const ABORT: u8 = 0x72;
const CANCELLED: ReaderError = ReaderError::Transport(TransportError::Cancelled);

/// A message, by its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passed {
    Out { kind: u8, slot: u8 },
    In { slot: u8 },
}

#[derive(Default)]
struct Wire {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    passed: Vec<Passed>,
    /// No answer comes before this number of commands is on its way. One that would be too many is then given
    /// a [`MOMENT`] to come.
    gate: Option<usize>,
    is_held: bool,
    is_receiving: bool,
    is_interrupted: bool,
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits for something to happen.
    fn wait_for(&self, condition: impl Fn(&State) -> bool) {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), LIMIT, |state| !condition(state));
        assert!(!waited.unwrap().1.timed_out(), "it does not happen");
    }
}

impl State {
    fn commands(&self, wanted: u8) -> usize {
        let is_wanted = |passed: &&Passed| matches!(passed, Passed::Out { kind, .. } if *kind == wanted);
        self.passed.iter().filter(is_wanted).count()
    }
}

/// The simulated reader's pipes, with the wire's rules.
struct Pipes {
    sim: SimTransport,
    wire: Arc<Wire>,
}

impl Transport for Pipes {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        // Under the lock, so that the answer is not noted first.
        let mut state = self.wire.lock();
        self.sim.send(message, timeout)?;
        let (kind, slot) = (message[0], message[5]);
        state.passed.push(Passed::Out { kind, slot });
        self.wire.changed.notify_all();
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        let mut state = self.wire.lock();
        state.is_receiving = true;
        self.wire.changed.notify_all();
        if let Some(count) = state.gate.take() {
            for (wanted, patience) in [(count, LIMIT), (count + 1, MOMENT)] {
                let is_closed = |state: &mut State| state.commands(XFR_BLOCK) < wanted;
                let waited = self.wire.changed.wait_timeout_while(state, patience, is_closed);
                state = waited.unwrap().0;
            }
        }
        let is_held = |state: &mut State| state.is_held && !state.is_interrupted;
        state = self
            .wire
            .changed
            .wait_timeout_while(state, LIMIT, is_held)
            .unwrap()
            .0;
        state.is_receiving = false;
        if std::mem::take(&mut state.is_interrupted) {
            return Err(TransportError::Cancelled);
        }
        drop(state);
        let length = self.sim.receive(buffer, timeout)?;
        if length > 5 {
            let slot = buffer[5];
            self.wire.change(|state| state.passed.push(Passed::In { slot }));
        }
        Ok(length)
    }

    pass_on!(sim);
}

/// A reader with a ready card in each slot, of which this number works at a time.
fn reader(slots: u8, busy: u8) -> (Arc<Wire>, Arc<SharedReader>, SimHandle) {
    let mut model = pcsc_sim::model("octsim").unwrap();
    (model.descriptor.max_slot_index, model.descriptor.max_busy_slots) = (slots - 1, busy);
    let (interface, identity) = (interface(&model), identity(&model));
    let handle = SimHandle::new(SimDevice::new(model));
    for slot in 0..slots {
        handle.insert(slot, card(None, &[Offer::T0], Behaviour::default()));
    }
    let wire = Arc::new(Wire::default());
    let (for_pipes, device) = (wire.clone(), handle.clone());
    let pipes = move || -> Box<dyn Transport> {
        Box::new(Pipes {
            sim: device.transport(),
            wire: for_pipes.clone(),
        })
    };
    let to_interrupt = wire.clone();
    let open = move |_: Option<Instant>| {
        let reader = Reader::open(pipes(), identity.clone(), &interface, ReaderOptions::default());
        let wire = to_interrupt.clone();
        let reader = reader.map_err(SharedError::opening)?;
        let mut opened = OpenedReader::new(reader, Notifications::Pushed);
        opened.cancel = Some(Box::new(move || wire.change(|state| state.is_interrupted = true)));
        opened.senders = (0..slots).map(|_| pipes()).collect();
        Ok(opened)
    };
    let shared = SharedReader::new(slots.into(), Box::new(open));
    for slot in 0..slots {
        let ready = shared.with(slot, None, |reader| {
            reader.power_on(slot, Reset::Cold)?;
            reader.set_protocol(slot, Protocol::T0)
        });
        assert_eq!(ready, Ok(()));
    }
    wire.lock().passed.clear();
    (wire, shared, handle)
}

fn exchange(reader: &SharedReader, slot: u8) -> Result<Vec<u8>, SharedError> {
    let mut response = [0; 258];
    let length = reader.with(slot, None, |reader| {
        reader.transmit(slot, &[0x80, 0xEE, 0, slot + 1, slot + 1], &mut response)
    })?;
    Ok(response[..length].to_vec())
}

/// Exchanges in all slots at once; gives what has passed.
fn exchange_in_all(slots: u8, busy: u8) -> Vec<Passed> {
    let (wire, reader, _) = reader(slots, busy);
    wire.lock().gate = Some(busy.into());
    thread::scope(|scope| {
        for slot in 0..slots {
            let reader = &reader;
            scope.spawn(move || {
                let expected = common::pattern(usize::from(slot) + 1);
                assert_eq!(exchange(reader, slot), Ok(expected), "slot {slot}");
            });
        }
    });
    let passed = std::mem::take(&mut wire.lock().passed);
    passed
}

/// The most commands that were on their way at a time.
fn most_at_once(passed: &[Passed]) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for message in passed {
        match message {
            Passed::Out { .. } => now += 1,
            Passed::In { .. } => now -= 1,
        }
        most = most.max(now);
    }
    most
}

#[test]
fn two_slots_work_in_parallel() {
    let passed = exchange_in_all(2, 2);
    assert_eq!(most_at_once(&passed), 2, "{passed:?}");
}

#[test]
fn slots_of_a_reader_that_serves_one_take_turns() {
    let passed = exchange_in_all(2, 1);
    assert_eq!(most_at_once(&passed), 1, "{passed:?}");
}

#[test]
fn no_more_slots_work_at_a_time_than_the_reader_can_serve() {
    for busy in [2, 4] {
        let passed = exchange_in_all(5, busy);
        assert_eq!(most_at_once(&passed), busy.into(), "{passed:?}");
    }
}

#[test]
fn a_cancellation_is_one_slots_whoever_receives() {
    for cancelled in [0, 1] {
        let (wire, reader, _) = reader(2, 2);
        wire.lock().is_held = true;
        let results = thread::scope(|scope| {
            let first = scope.spawn(|| exchange(&reader, 0));
            wire.wait_for(|state| state.is_receiving);
            let second = scope.spawn(|| exchange(&reader, 1));
            wire.wait_for(|state| state.commands(XFR_BLOCK) == 2);
            reader.cancel(cancelled);
            wire.wait_for(|state| state.commands(ABORT) == 1);
            wire.change(|state| state.is_held = false);
            [first, second].map(|thread| thread.join().unwrap())
        });
        for (slot, result) in (0..).zip(results) {
            match slot == cancelled {
                true => assert_eq!(result, Err(SharedError::Reader(CANCELLED)), "{cancelled}"),
                false => assert!(result.is_ok(), "{cancelled}: {result:?}"),
            }
        }
        // Both work on.
        for slot in [0, 1] {
            let ready = reader.with(slot, None, |reader| {
                reader.power_on(slot, Reset::Cold)?;
                reader.set_protocol(slot, Protocol::T0)
            });
            assert_eq!(ready, Ok(()), "{cancelled} {slot}");
            assert!(exchange(&reader, slot).is_ok(), "{cancelled} {slot}");
        }
    }
}

#[test]
fn a_reader_that_is_pulled_out_ends_all_exchanges_and_is_closed() {
    let (wire, reader, handle) = reader(2, 2);
    wire.lock().is_held = true;
    let gone = Err(SharedError::Reader(ReaderError::Transport(TransportError::Gone)));
    thread::scope(|scope| {
        let first = scope.spawn(|| exchange(&reader, 0));
        let second = scope.spawn(|| exchange(&reader, 1));
        wire.wait_for(|state| state.commands(XFR_BLOCK) == 2 && state.is_receiving);
        handle.unplug();
        wire.change(|state| state.is_held = false);
        for thread in [first, second] {
            assert_eq!(thread.join().unwrap(), gone);
        }
    });
    assert_eq!(exchange(&reader, 0), Err(SharedError::NotPolled));
    assert_eq!(reader.presence(1), Err(SharedError::Failed));
}

#[test]
fn a_reader_that_is_closed_ends_the_command_of_another_slot() {
    let (wire, reader, _) = reader(2, 2);
    wire.lock().is_held = true;
    thread::scope(|scope| {
        let exchange = scope.spawn(|| exchange(&reader, 1));
        wire.wait_for(|state| state.is_receiving);
        reader.events().set_gone();
        // The answer is held until the end of the test: it is not waited for.
        assert_eq!(reader.presence(0), Err(SharedError::Gone));
        let gone = Err(SharedError::Reader(ReaderError::Transport(TransportError::Gone)));
        assert_eq!(exchange.join().unwrap(), gone);
    });
    assert!(wire.lock().is_held);
}

/// Waits until the only task of this process with this name sleeps in the kernel.
#[cfg(target_os = "linux")]
fn wait_until_asleep(name: &str) {
    let deadline = Instant::now() + LIMIT;
    let is_asleep = |task: std::fs::DirEntry| {
        // A task that has ended meanwhile has no file.
        let state = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        state.contains(&format!("({name}) S "))
    };
    while !std::fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .any(is_asleep)
    {
        assert!(Instant::now() < deadline, "it never sleeps");
        thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_poll_that_waits_for_a_busy_slot_reports_a_card_that_is_exchanged_meanwhile() {
    let (wire, reader, _) = reader(2, 2);
    assert_eq!(reader.presence(0), Ok(Presence::Present));
    wire.lock().is_held = true;
    thread::scope(|scope| {
        let exchange = scope.spawn(|| exchange(&reader, 0));
        wire.wait_for(|state| state.commands(XFR_BLOCK) == 1);
        let poll = thread::Builder::new().name("poll".into());
        let poll = poll.spawn_scoped(scope, || reader.presence(0)).unwrap();
        wait_until_asleep("poll");
        // The slot has been empty, and has a card again.
        for slots in [0b10, 0b11] {
            reader.events().notify(&[0x50, slots]);
        }
        wire.change(|state| state.is_held = false);
        exchange.join().unwrap().unwrap();
        assert_eq!(poll.join().unwrap(), Ok(Presence::Replaced));
    });
}
