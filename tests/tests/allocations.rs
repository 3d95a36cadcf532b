//! A transmit allocates nothing after the first one: with a daemon and, without one, in the manager and the
//! driver.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use pcsc_ccid::descriptor::interfaces;
use pcsc_ccid::reader::{self, Reader, ReaderOptions, Reset};
use pcsc_ccid::transport::{Transport, TransportError};
use pcsc_client::{Choice, Context, Protocols, ShareMode};
use pcsc_manager::Simulated;
use pcsc_sim::Model;
use pcsc_tests::{atr, Pcscd};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: passes all calls on to the system's allocator; the counter is a thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the requirements are those of the system's allocator, which the caller meets.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_transmit_allocates_nothing() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let card = pcscd.connect(0);
    let mut response = vec![0; 70_000];
    let long = [&[0x80, 0xEC, 0, 0, 0, 0x80, 0][..], &vec![7; 0x8000], &[0, 0]].concat();
    for command in [&b"\x00\x00\x00\x00"[..], &long, b"\x80\xE2\x02\x00"] {
        card.transmit(command, &mut response).unwrap();
        let before = COUNT.get();
        for _ in 0..100 {
            card.transmit(command, &mut response).unwrap();
        }
        assert_eq!(COUNT.get() - before, 0, "{} bytes", command.len());
    }
    let before = COUNT.get();
    drop(card.context().list_readers_owned().unwrap());
    assert!(COUNT.get() > before, "the counter counts");
}

/// A transport whose own allocations are counted apart from those of the driver: a simulated reader's.
struct Apart<T> {
    transport: T,
    count: usize,
}

impl<T: Transport> Apart<T> {
    fn ask<R>(&mut self, ask: impl FnOnce(&mut T) -> R) -> R {
        let before = COUNT.get();
        let result = ask(&mut self.transport);
        self.count += COUNT.get() - before;
        COUNT.set(before);
        result
    }
}

impl<T: Transport> Transport for Apart<T> {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        self.ask(|transport| transport.send(message, timeout))
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        self.ask(|transport| transport.receive(buffer, timeout))
    }

    fn control_out(
        &mut self,
        request: u8,
        value: u16,
        data: &[u8],
        timeout: Duration,
    ) -> Result<(), TransportError> {
        self.ask(|transport| transport.control_out(request, value, data, timeout))
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        self.ask(|transport| transport.control_in(request, value, buffer, timeout))
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        self.ask(Transport::clear_halt)
    }

    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        self.ask(|transport| transport.pause(time))
    }

    fn now(&self) -> Duration {
        self.transport.now()
    }
}

/// The numbers of allocations of the driver, and of the simulated reader of this model, in the second half of
/// these transmits.
fn of_driver(model: &str, protocol: reader::Protocol, command: &[u8]) -> (usize, usize) {
    let simulated = Simulated::new(model).unwrap();
    let model = simulated.device().with(|device| device.model().clone());
    let configuration = Model::configuration_descriptor(&[&model], 4);
    let interface = interfaces(&configuration).remove(0).unwrap();
    let device = model.identity.device_info();
    let transport = Apart {
        transport: simulated.device().transport(),
        count: 0,
    };
    let mut reader = Reader::open(transport, device, &interface, ReaderOptions::default()).unwrap();
    reader.power_on(0, Reset::Cold).unwrap();
    reader.set_protocol(0, protocol).unwrap();
    let mut response = vec![0; 70_000];
    let mut transmit_all = || {
        let before = (COUNT.get(), reader.transport().count);
        for _ in 0..ROUNDS {
            reader.transmit(0, command, &mut response).unwrap();
        }
        (COUNT.get() - before.0, reader.transport().count - before.1)
    };
    transmit_all();
    transmit_all()
}

const ROUNDS: usize = 50;

/// The same for a context without a daemon, with everything below it.
fn of_context(model: &str, protocol: reader::Protocol, command: &[u8]) -> usize {
    std::env::set_var("PCSCLITE_SIMULATED", model);
    let context = Context::builder()
        .choose_backend(Choice::Simulated)
        .establish()
        .unwrap();
    let name = context.list_readers_owned().unwrap().remove(0);
    let protocols = match protocol {
        reader::Protocol::T0 => Protocols::T0,
        reader::Protocol::T1 => Protocols::T1,
    };
    let card = context.connect(&name, ShareMode::Shared, protocols).unwrap();
    let mut response = vec![0; 70_000];
    let mut transmit_all = || {
        let before = COUNT.get();
        for _ in 0..ROUNDS {
            card.transmit(command, &mut response).unwrap();
        }
        COUNT.get() - before
    };
    transmit_all();
    transmit_all()
}

#[test]
fn a_transmit_without_a_daemon_allocates_nothing() {
    use reader::Protocol::{T0, T1};

    let long = [&[0x80, 0xEC, 0, 0, 0, 0x08, 0][..], &[7; 0x800], &[0, 0]].concat();
    let short: &[u8] = &[0x80, 0xEC, 0, 0, 3, 1, 2, 3, 0];
    let mut of_all_simulators = 0;
    for (model, protocol, command) in [
        // TPDU level, and chains of T=1 blocks.
        ("gempc-express", T0, short),
        ("gempc-express", T1, short),
        ("gempc-express", T1, &long),
        // Short and extended APDU level, the latter in parts of a message's length.
        ("omnikey-5321", T1, short),
        ("omnikey-3x21", T1, short),
        ("au9540", T1, &long),
        // Character level.
        ("oz776", T0, short),
        // On the control pipe.
        ("ibank2key", T0, short),
        ("starsign", T1, short),
    ] {
        let (of_driver, of_simulator) = of_driver(model, protocol, command);
        let what = format!("{model} over {protocol:?}, {} bytes", command.len());
        assert_eq!(of_driver, 0, "{what}");
        assert_eq!(of_context(model, protocol, command), of_simulator, "{what}");
        of_all_simulators += of_simulator;
    }
    assert!(of_all_simulators > 0, "the counter counts");
}
