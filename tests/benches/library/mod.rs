//! A PC/SC library that a benchmark loads, and calls of it.

#![allow(dead_code, reason = "each benchmark makes some of the calls")]

use std::ffi::{c_char, c_long, c_ulong, c_void, CString};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::time::Instant;

use libloading::{Library, Symbol};

/// Echoed by the cards of the tests.
pub const APDU: [u8; 16] = [0x80, 0xEC, 0, 0, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0];

#[repr(C)]
struct IoRequest {
    protocol: c_ulong,
    length: c_ulong,
}

#[repr(C)]
struct ReaderState {
    reader: *const c_char,
    user_data: *mut c_void,
    current: c_ulong,
    event: c_ulong,
    atr_length: c_ulong,
    atr: [u8; 33],
}

type Transmit = unsafe extern "C" fn(
    c_long,
    *const IoRequest,
    *const u8,
    c_ulong,
    *mut IoRequest,
    *mut u8,
    *mut c_ulong,
) -> c_long;

/// A library with a context and a connection.
pub struct Client {
    library: Library,
    /// Looked up once, as in a linked program.
    transmit: Transmit,
    context: c_long,
    card: c_long,
    reader: CString,
    response: Vec<u8>,
    /// How much of it a transmit offers.
    room: usize,
}

/// Calls a function of the library by its name.
macro_rules! call {
    ($client:expr, $name:literal, $($argument:expr => $type:ty),*) => {{
        // SAFETY: the function has this signature in winscard.h, and the arguments outlive the call.
        unsafe {
            let function: Symbol<'_, unsafe extern "C" fn($($type),*) -> c_long> =
                $client.library.get(concat!($name, "\0").as_bytes()).expect($name);
            function($($argument),*)
        }
    }};
}

impl Client {
    /// A context, with a connection to the card in a reader.
    pub fn new(path: &Path, reader: &str) -> Client {
        // SAFETY: the constructors of a libpcsclite have no preconditions.
        let library = unsafe { Library::new(path) }.unwrap();
        // SAFETY: winscard.h has this signature.
        let transmit = unsafe { *library.get::<Transmit>(b"SCardTransmit\0").unwrap() };
        let mut client = Client {
            library,
            transmit,
            context: 0,
            card: 0,
            reader: CString::new(reader).unwrap(),
            response: vec![0; 70_000],
            room: 70_000,
        };
        client.context = client.establish();
        client.card = client.connect();
        client
    }

    fn establish(&self) -> c_long {
        let mut context = 0;
        let code = call!(self, "SCardEstablishContext", 2 => c_ulong, null() => *const c_void,
            null() => *const c_void, &mut context => *mut c_long);
        assert_eq!(code, 0);
        context
    }

    fn release(&self, context: c_long) {
        assert_eq!(call!(self, "SCardReleaseContext", context => c_long), 0);
    }

    fn connect(&self) -> c_long {
        let (mut card, mut protocol) = (0, 0);
        let code = call!(self, "SCardConnect", self.context => c_long, self.reader.as_ptr() => *const c_char,
            2 => c_ulong, 3 => c_ulong, &mut card => *mut c_long, &mut protocol => *mut c_ulong);
        assert_eq!(code, 0);
        card
    }

    fn transmit(&mut self, card: c_long, apdu: &[u8]) {
        let pci = IoRequest {
            protocol: 2,
            length: 16,
        };
        let mut length = self.room as c_ulong;
        let (sent, room) = (apdu.as_ptr(), self.response.as_mut_ptr());
        // SAFETY: the buffers have these lengths and outlive the call.
        let code = unsafe {
            (self.transmit)(
                card,
                &pci,
                sent,
                apdu.len() as c_ulong,
                null_mut(),
                room,
                &mut length,
            )
        };
        assert_eq!(code, 0);
    }

    /// Makes a call.
    pub fn call(&mut self, what: What) {
        let (context, card) = (self.context, self.card);
        let mut length: c_ulong = 264;
        let code = match what {
            What::Transmit => return self.transmit(card, &APDU),
            What::TransmitShort => {
                let room = std::mem::replace(&mut self.room, 258);
                self.transmit(card, &APDU);
                self.room = room;
                0
            }
            What::TransmitLong => return self.transmit(card, &[0x80, 0xE0, 0x20, 0x00]),
            What::EstablishRelease => return self.release(self.establish()),
            What::ConnectDisconnect | What::Round => {
                let card = self.connect();
                if what == What::Round {
                    self.transmit(card, &APDU);
                }
                call!(self, "SCardDisconnect", card => c_long, 0 => c_ulong)
            }
            What::Status => {
                let (mut state, mut protocol, mut atr_length) = (0, 0, 33);
                let (name, rest) = self.response.split_at_mut(300);
                length = 300;
                call!(self, "SCardStatus", card => c_long, name.as_mut_ptr().cast() => *mut c_char,
                    &mut length => *mut c_ulong, &mut state => *mut c_ulong, &mut protocol => *mut c_ulong,
                    rest.as_mut_ptr() => *mut u8, &mut atr_length => *mut c_ulong)
            }
            What::StatusChange => {
                let mut state = ReaderState {
                    reader: self.reader.as_ptr(),
                    user_data: null_mut(),
                    current: 0x20 | 0x100,
                    event: 0,
                    atr_length: 0,
                    atr: [0; 33],
                };
                let code = call!(self, "SCardGetStatusChange", context => c_long, 0 => c_ulong,
                    &mut state => *mut ReaderState, 1 => c_ulong);
                assert_eq!(code, 0x8010_000A);
                0
            }
            What::ListReaders => {
                length = 4096;
                call!(self, "SCardListReaders", context => c_long, null() => *const c_char,
                    self.response.as_mut_ptr().cast() => *mut c_char, &mut length => *mut c_ulong)
            }
            What::Transaction => {
                assert_eq!(call!(self, "SCardBeginTransaction", card => c_long), 0);
                call!(self, "SCardEndTransaction", card => c_long, 0 => c_ulong)
            }
            What::Attribute => call!(self, "SCardGetAttrib", card => c_long, 0x0009_0303 => c_ulong,
                self.response.as_mut_ptr() => *mut u8, &mut length => *mut c_ulong),
            What::Control => call!(self, "SCardControl", card => c_long, 0x4200_0001 => c_ulong,
                APDU.as_ptr().cast() => *const c_void, 8 => c_ulong,
                self.response.as_mut_ptr().cast() => *mut c_void, 300 => c_ulong,
                &mut length => *mut c_ulong),
            What::IsValid => call!(self, "SCardIsValidContext", context => c_long),
            What::Cancel => call!(self, "SCardCancel", context => c_long),
        };
        assert_eq!(code, 0, "{what:?}");
    }
}

/// A call, or several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum What {
    /// With as much room for the response as there can be.
    Transmit,
    /// With the room that a short APDU needs.
    TransmitShort,
    TransmitLong,
    Status,
    StatusChange,
    ListReaders,
    Transaction,
    Attribute,
    Control,
    ConnectDisconnect,
    /// Connects, transmits and disconnects.
    Round,
    EstablishRelease,
    IsValid,
    Cancel,
}

/// The median.
pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The time of a call in a batch of `count`, in nanoseconds.
pub fn time(mut batch: impl FnMut(), count: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..count {
        batch();
    }
    start.elapsed().as_nanos() as f64 / f64::from(count)
}

/// The number of system calls that strace has counted.
pub fn system_calls(text: &str) -> u64 {
    let total = text
        .lines()
        .rev()
        .find(|line| line.trim_end().ends_with("total"))
        .expect("strace's total");
    total
        .split_whitespace()
        .nth(3)
        .expect("a count")
        .parse()
        .expect("a number")
}
