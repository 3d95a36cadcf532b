//! What threads that share a reader learn of its cards.

mod common;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use common::liar::Liar;
use common::{card, identity, interface, named};
use pcsc_ccid::reader::{Presence, Reader, ReaderOptions, Reset};
use pcsc_ccid::shared::{
    AnyReader, InterruptSource, Interrupter, Notifications, OpenedReader, SharedError, SharedReader,
    SlotEvent,
};
use pcsc_ccid::transport::TransportError;
use pcsc_sim::card::{Behaviour, Offer};
use pcsc_sim::{SimHandle, SimWatch};

const GET_SLOT_STATUS: u8 = 0x65;
/// Messages of the interrupt pipe about the first slot (CCID 1.1, clause 6.3.1).
const EMPTY: [u8; 2] = [0x50, 0b10];
const PRESENT: [u8; 2] = [0x50, 0b11];

/// A reader whose messages a test passes on.
struct Rig {
    handle: SimHandle,
    shared: Arc<SharedReader>,
    /// How the next answers to GetSlotStatus fail; `None` for one that does not.
    failures: Arc<Mutex<VecDeque<Option<TransportError>>>>,
    /// How many commands were cancelled.
    cancels: Arc<AtomicUsize>,
}

impl Rig {
    /// A reader of a model, with a card that was polled.
    fn new(model: &str) -> Rig {
        let device = named(model);
        let (interface, identity) = (interface(device.model()), identity(device.model()));
        let handle = SimHandle::new(device);
        insert(&handle);
        let failures = Arc::<Mutex<VecDeque<_>>>::default();
        let cancels = Arc::<AtomicUsize>::default();
        let (device, to_fail, count) = (handle.clone(), failures.clone(), cancels.clone());
        let open = move |_| {
            let (to_fail, count) = (to_fail.clone(), count.clone());
            let liar = Liar::new(device.transport(), move |command, reply| {
                let is_status = command.first() == Some(&GET_SLOT_STATUS);
                let failure = is_status.then(|| to_fail.lock().unwrap().pop_front());
                failure.flatten().flatten().map_or(Ok(reply), Err)
            });
            let transport = Box::new(liar) as _;
            let reader = Reader::open(transport, identity.clone(), &interface, ReaderOptions::default());
            let reader = reader.map_err(SharedError::opening)?;
            let mut opened = OpenedReader::new(reader, Notifications::Pushed);
            opened.cancel = Some(Box::new(move || _ = count.fetch_add(1, Ordering::Relaxed)));
            Ok(opened)
        };
        let shared = SharedReader::new(1, Box::new(open));
        assert_eq!(shared.presence(0), Ok(Presence::Present));
        shared.events().notify(&next_message(&handle));
        Rig {
            handle,
            shared,
            failures,
            cancels,
        }
    }

    fn will_fail(&self, failures: &[Option<TransportError>]) {
        self.failures.lock().unwrap().extend(failures);
    }
}

const TIMEOUT: Option<TransportError> = Some(TransportError::Timeout);

#[test]
fn a_swap_is_reported_by_the_poll_after_one_that_failed() {
    let rig = Rig::new("scr3310");
    rig.shared.events().notify(&EMPTY);
    rig.shared.events().notify(&PRESENT);
    rig.will_fail(&[TIMEOUT]);
    assert!(matches!(rig.shared.presence(0), Err(SharedError::Reader(_))));
    assert_eq!(rig.shared.presence(0), Ok(Presence::Replaced));
    assert_eq!(rig.shared.presence(0), Ok(Presence::Present));
}

#[test]
fn a_card_in_a_reader_that_was_opened_again_is_reported_by_the_first_poll_that_works() {
    let rig = Rig::new("scr3310");
    rig.shared.give_back(0);
    // The answer at opening is one of them.
    rig.will_fail(&[None, TIMEOUT]);
    assert!(matches!(rig.shared.presence(0), Err(SharedError::Reader(_))));
    assert_eq!(rig.shared.presence(0), Ok(Presence::Replaced));
    assert_eq!(rig.shared.presence(0), Ok(Presence::Present));
}

#[test]
fn a_reader_that_is_gone_right_after_it_was_opened_again_has_failed() {
    let rig = Rig::new("scr3310");
    rig.shared.give_back(0);
    rig.will_fail(&[None, Some(TransportError::Gone)]);
    // A reader that has worked would be opened once more by the same call.
    assert_eq!(rig.shared.presence(0), Err(SharedError::Failed));
    assert_eq!(rig.shared.presence(0), Ok(Presence::Replaced));
}

#[test]
fn a_reader_that_is_closed_has_no_command_to_cancel() {
    let rig = Rig::new("scr3310");
    let cancels = || {
        rig.shared.cancel(0);
        rig.cancels.load(Ordering::Relaxed)
    };
    assert_eq!(cancels(), 1);
    rig.shared.give_back(0);
    assert_eq!(cancels(), 1);
    assert_eq!(rig.shared.presence(0), Ok(Presence::Replaced));
    assert_eq!(cancels(), 2);
}

/// The message of the interrupt pipe that a device sends next. The host may handle it later.
fn next_message(handle: &SimHandle) -> Vec<u8> {
    handle.with(|device| device.interrupt_in()).unwrap()
}

/// A reader of a model whose messages a test passes on, with a card.
fn pushed(model: &str) -> (SimHandle, Arc<SharedReader>) {
    let Rig { handle, shared, .. } = Rig::new(model);
    (handle, shared)
}

fn insert(handle: &SimHandle) {
    handle.insert(0, card(None, &[Offer::T0], Behaviour::default()));
}

/// One that leaves the power of cards to the host, and one that activates them by itself.
const MODELS: [&str; 2] = ["scr3310", "au9540"];

/// Takes the card out and puts it back. The next poll is to report it, and no other one.
fn swap_between_two_polls(handle: &SimHandle, shared: &SharedReader) {
    handle.remove(0);
    let empty = next_message(handle);
    insert(handle);
    for message in [empty, next_message(handle)] {
        shared.events().notify(&message);
    }
    assert_eq!(shared.presence(0), Ok(Presence::Replaced));
    assert_eq!(shared.presence(0), Ok(Presence::Present));
}

#[test]
fn a_replaced_card_has_no_power_even_where_the_reader_gives_it() {
    for model in MODELS {
        let (handle, shared) = pushed(model);
        let power = |reader: &mut AnyReader| reader.power_on(0, Reset::Cold).map(|_| ());
        shared.with(0, None, power).unwrap();
        swap_between_two_polls(&handle, &shared);
        let has_atr = shared.with(0, None, |reader| Ok(!reader.atr(0).is_empty()));
        assert_eq!(has_atr, Ok(false), "{model}");
    }
}

/// How long a close waits for the thread that listens.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// A wait for notifications that is part of the claim on the reader, and that takes a moment to end.
struct Claiming {
    watch: SimWatch,
    _claim: Arc<()>,
    is_waiting: mpsc::Sender<()>,
}

impl InterruptSource for Claiming {
    fn next(
        &mut self,
        deadline: Option<Instant>,
        receive: &mut dyn FnMut(&[u8]),
    ) -> Result<(), TransportError> {
        self.is_waiting.send(()).unwrap();
        let result = self.watch.next(deadline, receive);
        // A close that does not wait for this thread has returned by then.
        thread::sleep(Duration::from_millis(50));
        result
    }

    fn interrupter(&self) -> Interrupter {
        self.watch.interrupter()
    }
}

#[test]
fn a_reader_that_was_closed_can_be_opened_at_once() {
    let device = named("scr3310");
    let (interface, identity) = (interface(device.model()), identity(device.model()));
    let handle = SimHandle::new(device);
    let claim: Mutex<Weak<()>> = Mutex::default();
    let (sender, is_waiting) = mpsc::channel();
    let open = move |_| {
        if claim.lock().unwrap().strong_count() > 0 {
            return Err(SharedError::Busy);
        }
        let now = Arc::new(());
        *claim.lock().unwrap() = Arc::downgrade(&now);
        let transport = Box::new(handle.transport()) as _;
        let reader = Reader::open(transport, identity.clone(), &interface, ReaderOptions::default());
        let notifications = Notifications::Interrupts(Box::new(Claiming {
            watch: handle.watch(),
            _claim: now,
            is_waiting: sender.clone(),
        }));
        let reader = reader.map_err(SharedError::opening)?;
        Ok(OpenedReader::new(reader, notifications))
    };
    let shared = SharedReader::new(1, Box::new(open));
    assert_eq!(shared.presence(0), Ok(Presence::Absent));
    thread::scope(|scope| {
        let watch = scope.spawn(|| shared.events().wait(0, None));
        let opened_again = loop {
            is_waiting.recv().unwrap();
            let begun = Instant::now();
            shared.give_back(0);
            let has_given_up = begun.elapsed() >= CLOSE_LIMIT;
            match shared.presence(0) {
                // The other thread was not scheduled for as long as a close waits for it. It drops its claim
                // later, and the reader is opened for it again.
                Err(SharedError::Busy) if has_given_up => {
                    while shared.presence(0) == Err(SharedError::Busy) {
                        thread::yield_now();
                    }
                }
                opened_again => break opened_again,
            }
        };
        shared.events().stop();
        assert_eq!(watch.join().unwrap(), SlotEvent::Stopped);
        assert_eq!(opened_again, Ok(Presence::Absent));
    });
}
