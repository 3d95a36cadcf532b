//! A reader that threads share, whose device does anything in any order: one thread for each slot makes
//! calls, another one waits for its events and polls it. Every call and every wait ends.
//!
//! An input is choices, the class descriptor without its length and type, the calls of each slot after their
//! length, and then for each time that the reader is opened the way in which that ends, what the interrupt
//! pipe brings after its length, and what the device replies ([`pcsc_fuzz::script`]) after its length.
#![no_main]

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use pcsc_ccid::descriptor::{ClassDescriptor, Interface};
use pcsc_ccid::reader::{DeviceInfo, Protocol, Reader, ReaderOptions, Reset};
use pcsc_ccid::shared::{
    AnyReader, InterruptSource, Interrupter, Notifications, OpenedReader, SharedError, SharedReader,
    SlotEvent,
};
use pcsc_ccid::transport::{Transport, TransportError};
use pcsc_fuzz::script::{End, Script};
use pcsc_fuzz::Input;

/// The most slots, each with two threads.
const SLOTS: u8 = 3;

/// The most messages of an interrupt pipe. Each has a slot polled.
const MOST_MESSAGES: usize = 32;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics")
}

/// One of the threads' ends of the device.
#[derive(Clone)]
struct Device(Arc<Mutex<Script>>);

impl Transport for Device {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        lock(&self.0).send(message, timeout)
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        lock(&self.0).receive(buffer, timeout)
    }

    fn control_out(
        &mut self,
        request: u8,
        value: u16,
        data: &[u8],
        timeout: Duration,
    ) -> Result<(), TransportError> {
        lock(&self.0).control_out(request, value, data, timeout)
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        lock(&self.0).control_in(request, value, buffer, timeout)
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        lock(&self.0).clear_halt()
    }

    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        lock(&self.0).pause(time)
    }

    fn now(&self) -> Duration {
        lock(&self.0).now()
    }
}

/// An interrupt pipe. Behind its last message it is silent.
struct Messages {
    left: Vec<Vec<u8>>,
    /// Whether the next wait is interrupted.
    interrupted: Arc<(Mutex<bool>, Condvar)>,
}

impl Messages {
    fn new(mut bytes: Input<'_>) -> Messages {
        let mut left = Vec::new();
        while !bytes.0.is_empty() && left.len() < MOST_MESSAGES {
            left.push(bytes.piece().to_vec());
        }
        left.reverse();
        Messages {
            left,
            interrupted: Arc::default(),
        }
    }
}

impl InterruptSource for Messages {
    fn next(
        &mut self,
        deadline: Option<Instant>,
        receive: &mut dyn FnMut(&[u8]),
    ) -> Result<(), TransportError> {
        assert_eq!(deadline, None, "the waits of this program have none");
        match self.left.pop().as_deref() {
            Some([0xFF, kind, ..]) => Err(match kind % 4 {
                0 => TransportError::Stall,
                1 => TransportError::Fault,
                2 => TransportError::Gone,
                _ => TransportError::Cancelled,
            }),
            Some(message) => {
                receive(message);
                Ok(())
            }
            None => {
                let (interrupted, changed) = &*self.interrupted;
                let mut interrupted = lock(interrupted);
                while !std::mem::take(&mut *interrupted) {
                    interrupted = changed.wait(interrupted).expect("no thread panics");
                }
                Err(TransportError::Cancelled)
            }
        }
    }

    fn interrupter(&self) -> Interrupter {
        let interrupted = self.interrupted.clone();
        Box::new(move || {
            *lock(&interrupted.0) = true;
            interrupted.1.notify_all();
        })
    }
}

/// Opens the reader as the next part of the input says; at its end the reader is gone.
fn open(input: &mut Input<'_>, interface: &Interface) -> Result<OpenedReader, SharedError> {
    if input.0.is_empty() {
        return Err(SharedError::Gone);
    }
    let choice = input.byte();
    let (messages, replies) = (Messages::new(Input(input.piece())), input.piece());
    match choice & 0x0F {
        0 => return Err(SharedError::Busy),
        1 => return Err(SharedError::Failed),
        2 => return Err(SharedError::TimedOut),
        _ => (),
    }
    let end = [End::Silence, End::Last, End::Again, End::Gone][usize::from(choice >> 6)];
    let script = Script::new(replies, end, (0, 0)).shared_by(2 * u32::from(SLOTS));
    let device = Device(Arc::new(Mutex::new(script)));
    let senders = (0..SLOTS).map(|_| Box::new(device.clone()) as Box<dyn Transport>);
    let senders = senders.collect();
    let info = DeviceInfo::new(0, 0, 0);
    let reader = Reader::open(
        Box::new(device) as Box<dyn Transport>,
        info,
        interface,
        ReaderOptions::default(),
    );
    let notifications = match choice >> 4 & 3 {
        0 => Notifications::Pushed,
        // Long: the end of the calls ends the wait.
        1 => Notifications::Polled(Duration::from_secs(3600)),
        _ => Notifications::Interrupts(Box::new(messages)),
    };
    let mut opened = OpenedReader::new(reader.map_err(SharedError::opening)?, notifications);
    opened.senders = senders;
    Ok(opened)
}

/// A call of the driver for a slot.
fn work(reader: &mut AnyReader, slot: u8, operation: u8) -> Result<(), pcsc_ccid::reader::ReaderError> {
    let mut answer = [0; 258];
    match operation >> 4 & 7 {
        0 | 1 => reader
            .power_on(slot, Reset::Cold)
            .map(|atr| assert!((1..=33).contains(&atr.len()))),
        2 => reader.power_off(slot),
        3 => reader.set_protocol(slot, Protocol::T0).map(drop),
        4 => reader.set_protocol(slot, Protocol::T1).map(drop),
        5 => reader.escape(slot, &[operation], &mut answer).map(drop),
        _ => reader
            .transmit(slot, &[0x00, 0x84, 0x00, 0x00, 0x08], &mut answer)
            .map(|length| assert!(length <= answer.len())),
    }
}

fn call(shared: &SharedReader, slot: u8, operation: u8) {
    let work = |reader: &mut AnyReader| work(reader, slot, operation);
    let was_gone = shared.events().is_gone();
    let result = match operation & 7 {
        0..=2 => shared.with(slot, None, work),
        3 => shared.with_reader(slot, None, work),
        4 | 5 => shared.presence(slot).map(drop),
        6 => {
            shared.cancel(slot);
            return;
        }
        _ if operation & 0x08 == 0 => {
            shared.give_back(slot);
            return;
        }
        _ => {
            shared.events().notify(&[0x50, operation]);
            return;
        }
    };
    match result {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(()) => assert!(!was_gone, "a reader that is gone was used"),
    }
}

/// Polls a slot after each of its events.
fn watch(shared: &SharedReader, slot: u8) {
    while shared.events().wait(slot, None) == SlotEvent::Card {
        let _ = shared.presence(slot);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let mut descriptor = [&[54, 0x21], input.bytes(52)].concat();
    if let Some([slots, ..]) = descriptor.get_mut(4..) {
        *slots %= SLOTS;
    }
    if let Some(busy) = descriptor.last_mut() {
        *busy %= SLOTS + 1;
    }
    let Ok(descriptor) = ClassDescriptor::parse(&descriptor) else {
        return;
    };
    let mut interface = Interface::default();
    interface.class = 0x0B;
    (interface.bulk_out, interface.bulk_in) = (Some(0x01), Some(0x82));
    interface.descriptor = descriptor;
    let calls = [(); SLOTS as usize].map(|()| input.piece());
    let mut openings = input.0.to_vec();
    let open = move |_| {
        let mut input = Input(&openings);
        let opened = open(&mut input, &interface);
        openings = input.0.to_vec();
        opened
    };
    let shared = SharedReader::new(u16::from(SLOTS), Box::new(open));
    thread::scope(|scope| {
        let shared = &*shared;
        for slot in 0..SLOTS {
            scope.spawn(move || watch(shared, slot));
        }
        let callers: Vec<_> = (0..SLOTS)
            .zip(calls)
            .map(|(slot, calls)| {
                scope.spawn(move || calls.iter().for_each(|operation| call(shared, slot, *operation)))
            })
            .collect();
        callers
            .into_iter()
            .for_each(|caller| caller.join().expect("no thread panics"));
        shared.events().stop();
    });
});
