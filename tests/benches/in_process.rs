//! The time of a transmit without a daemon and without a bus: on the bundled simulated reader, whose own time
//! is included, through Rust and through the C interface. Medians of alternating batches.
//!
//! `cargo bench -p pcsc-tests --bench in_process`, or scripts/bench.

use std::ffi::{c_char, c_long, c_ulong, c_void};
use std::ptr::{null, null_mut};
use std::time::Instant;

use libloading::{Library, Symbol};
use pcsc_client::{Choice, Context, Protocols, ShareMode};
use pcsc_tests::artifacts;

const BATCHES: usize = 200;
const BATCH: u32 = 200;
/// A command that the Hello world! applet refuses at once.
const COMMAND: [u8; 5] = [0x80, 0xCA, 0, 0, 0];

#[repr(C)]
struct IoRequest {
    protocol: c_ulong,
    length: c_ulong,
}

type Establish = unsafe extern "C" fn(c_ulong, *const c_void, *const c_void, *mut c_long) -> c_long;
type List = unsafe extern "C" fn(c_long, *const c_char, *mut c_char, *mut c_ulong) -> c_long;
type Connect =
    unsafe extern "C" fn(c_long, *const c_char, c_ulong, c_ulong, *mut c_long, *mut c_ulong) -> c_long;
type Transmit = unsafe extern "C" fn(
    c_long,
    *const IoRequest,
    *const u8,
    c_ulong,
    *mut IoRequest,
    *mut u8,
    *mut c_ulong,
) -> c_long;

fn time(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..BATCH).for_each(|_| call());
    start.elapsed().as_nanos() as f64 / f64::from(BATCH)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    std::env::set_var("PCSCLITE_BACKEND", "simulated");
    let context = Context::builder()
        .choose_backend(Choice::Simulated)
        .establish()
        .unwrap();
    let name = context.list_readers_owned().unwrap().remove(0);
    let card = context.connect(&name, ShareMode::Shared, Protocols::ANY).unwrap();
    let mut room = vec![0; pcsc_client::MAX_BUFFER_SIZE_EXTENDED];
    let mut rust = || assert_eq!(card.transmit(&COMMAND, &mut room).unwrap().len(), 2);

    // SAFETY: the constructors of a libpcsclite have no preconditions.
    let library = unsafe { Library::new(artifacts::library()) }.unwrap();
    let (mut own, mut handle, mut protocol, mut length) = (0, 0, 0, 1000);
    let mut names = [0; 1000];
    // SAFETY: winscard.h has these signatures, and all that is pointed to outlives the calls.
    let transmit = unsafe {
        let establish: Symbol<'_, Establish> = library.get(b"SCardEstablishContext\0").unwrap();
        let list: Symbol<'_, List> = library.get(b"SCardListReaders\0").unwrap();
        let connect: Symbol<'_, Connect> = library.get(b"SCardConnect\0").unwrap();
        assert_eq!(establish(2, null(), null(), &mut own), 0);
        assert_eq!(list(own, null(), names.as_mut_ptr(), &mut length), 0);
        assert_eq!(connect(own, names.as_ptr(), 2, 3, &mut handle, &mut protocol), 0);
        *library.get::<Transmit>(b"SCardTransmit\0").unwrap()
    };
    let mut room = vec![0; pcsc_client::MAX_BUFFER_SIZE_EXTENDED];
    let mut c = || {
        let request = IoRequest { protocol, length: 16 };
        let mut length = room.len() as c_ulong;
        let (sent, received) = (COMMAND.as_ptr(), room.as_mut_ptr());
        // SAFETY: as above; the buffers have these lengths.
        let code = unsafe {
            transmit(
                handle,
                &request,
                sent,
                COMMAND.len() as c_ulong,
                null_mut(),
                received,
                &mut length,
            )
        };
        assert_eq!((code, length), (0, 2));
    };

    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..BATCHES {
        times[0].push(time(&mut rust));
        times[1].push(time(&mut c));
    }
    let [rust, c] = times.map(median);
    println!("a transmit on the simulated reader: {rust:.0} ns through Rust, {c:.0} ns through C");
}
