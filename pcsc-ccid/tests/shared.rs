//! What threads that share a reader learn of its cards.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use common::liar::Liar;
use common::{card, identity, interface, named};
use pcsc_ccid::reader::{Options, Presence, Reader};
use pcsc_ccid::shared::{
    InterruptSource, Interrupter, Notifications, OpenedReader, SharedError, SharedReader, SlotEvent,
};
use pcsc_ccid::transport;
use pcsc_sim::card::{Behaviour, Offer};
use pcsc_sim::{Handle, SimWatch};

const GET_SLOT_STATUS: u8 = 0x65;
/// Messages of the interrupt pipe about the first slot (CCID 1.1, clause 6.3.1).
const EMPTY: [u8; 2] = [0x50, 0b10];
const PRESENT: [u8; 2] = [0x50, 0b11];

#[test]
fn a_swap_is_reported_by_the_poll_after_one_that_failed() {
    let device = named("scr3310");
    let (interface, identity) = (interface(device.model()), identity(device.model()));
    let handle = Handle::new(device);
    handle.insert(0, card(None, &[Offer::T0], Behaviour::default()));
    let fails = Arc::new(AtomicBool::new(false));
    let (at, is_asked) = (handle.clone(), fails.clone());
    let open = move |_| {
        let is_asked = is_asked.clone();
        let liar = Liar::new(at.transport(), move |command, reply| {
            let is_status = command.first() == Some(&GET_SLOT_STATUS);
            match is_status && is_asked.swap(false, Ordering::Relaxed) {
                true => Err(transport::Error::Timeout),
                false => Ok(reply),
            }
        });
        let reader = Reader::open(
            Box::new(liar) as _,
            identity.clone(),
            &interface,
            Options::default(),
        );
        Ok(OpenedReader {
            reader: reader.map_err(SharedError::opening)?,
            notifications: Notifications::Pushed,
            cancel: None,
            senders: Vec::new(),
        })
    };
    let shared = SharedReader::new(1, Box::new(open));
    assert_eq!(shared.presence(0), Ok(Presence::Present));
    shared.events().notify(&EMPTY);
    shared.events().notify(&PRESENT);
    fails.store(true, Ordering::Relaxed);
    assert!(matches!(shared.presence(0), Err(SharedError::Reader(_))));
    assert_eq!(shared.presence(0), Ok(Presence::Replaced));
    assert_eq!(shared.presence(0), Ok(Presence::Present));
}

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
    ) -> Result<(), transport::Error> {
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
    let handle = Handle::new(device);
    let claim: Mutex<Weak<()>> = Mutex::default();
    let (sender, is_waiting) = mpsc::channel();
    let open = move |_| {
        if claim.lock().unwrap().strong_count() > 0 {
            return Err(SharedError::Busy);
        }
        let now = Arc::new(());
        *claim.lock().unwrap() = Arc::downgrade(&now);
        let transport = Box::new(handle.transport()) as _;
        let reader = Reader::open(transport, identity.clone(), &interface, Options::default());
        Ok(OpenedReader {
            reader: reader.map_err(SharedError::opening)?,
            notifications: Notifications::Interrupts(Box::new(Claiming {
                watch: handle.watch(),
                _claim: now,
                is_waiting: sender.clone(),
            })),
            cancel: None,
            senders: Vec::new(),
        })
    };
    let shared = SharedReader::new(1, Box::new(open));
    assert_eq!(shared.presence(0), Ok(Presence::Absent));
    thread::scope(|scope| {
        let watch = scope.spawn(|| shared.events().wait(0, None));
        is_waiting.recv().unwrap();
        shared.give_back(0);
        let opened_again = shared.presence(0);
        shared.events().stop();
        assert_eq!(watch.join().unwrap(), SlotEvent::Stopped);
        assert_eq!(opened_again, Ok(Presence::Absent));
    });
}
