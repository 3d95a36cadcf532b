//! How times grow without a daemon: of establishing a context, with the number of contexts, and of a call of
//! SCardGetStatusChange, with the number of readers in it.
//!
//! `cargo bench -p pcsc-tests --bench scaling`

use std::ffi::{c_long, c_ulong, c_void};
use std::ptr::null;
use std::time::{Duration, Instant};

use libloading::{Library, Symbol};
use pcsc_client::{Choice, Context, Error, ReaderState, State};
use pcsc_tests::artifacts;

type Establish = unsafe extern "C" fn(c_ulong, *const c_void, *const c_void, *mut c_long) -> c_long;
type Release = unsafe extern "C" fn(c_long) -> c_long;

const CONTEXTS: [usize; 4] = [100, 500, 1000, 3900];
const READERS: [usize; 4] = [24, 96, 192, 255];
const MEASURED: usize = 100;

fn micros(time: Duration, calls: usize) -> f64 {
    time.as_secs_f64() * 1e6 / calls as f64
}

fn contexts() {
    // SAFETY: the library's initialisers have no preconditions; the types are winscard.h's.
    let library = unsafe { Library::new(artifacts::library()) }.unwrap();
    let (establish, release): (Symbol<'_, Establish>, Symbol<'_, Release>) = unsafe {
        (
            library.get(b"SCardEstablishContext").unwrap(),
            library.get(b"SCardReleaseContext").unwrap(),
        )
    };
    let new = || {
        let mut context = 0;
        // SAFETY: the pointer is to a local.
        assert_eq!(unsafe { establish(2, null(), null(), &mut context) }, 0);
        context
    };
    println!("contexts  establish  release, each of {MEASURED} on top of them");
    let mut held = Vec::new();
    for count in CONTEXTS {
        held.resize_with(count, new);
        let mut best = [Duration::MAX; 2];
        // The best of some rounds, since other programs slow rounds down.
        for _ in 0..10 {
            let start = Instant::now();
            let measured: Vec<c_long> = (0..MEASURED).map(|_| new()).collect();
            best[0] = best[0].min(start.elapsed());
            let start = Instant::now();
            for context in measured {
                // SAFETY: the function takes any number.
                assert_eq!(unsafe { release(context) }, 0);
            }
            best[1] = best[1].min(start.elapsed());
        }
        let [established, released] = best.map(|time| micros(time, MEASURED));
        println!("{count:8} {established:7.2} us {released:6.2} us");
    }
    for context in held {
        // SAFETY: as above.
        assert_eq!(unsafe { release(context) }, 0);
    }
}

fn readers() {
    println!("readers   a status change of all, with nothing new");
    for count in READERS {
        std::env::set_var("PCSCLITE_SIMULATED", vec!["scr3310"; count].join(","));
        let context = Context::builder()
            .choose_backend(Choice::Simulated)
            .establish()
            .unwrap();
        let names = context.list_readers_owned().unwrap();
        assert_eq!(names.len(), count);
        let mut states: Vec<ReaderState> = names
            .into_iter()
            .map(|name| ReaderState::new(name, State::UNAWARE))
            .collect();
        context
            .get_status_change(Duration::from_secs(20), &mut states)
            .unwrap();
        let mut best = Duration::MAX;
        for _ in 0..MEASURED {
            states.iter_mut().for_each(ReaderState::sync_current_state);
            let start = Instant::now();
            let changed = context.get_status_change(Duration::ZERO, &mut states);
            best = best.min(start.elapsed());
            assert_eq!(changed, Err(Error::Timeout));
        }
        println!("{count:8} {:7.2} us", micros(best, 1));
    }
}

fn main() {
    std::env::set_var("PCSCLITE_BACKEND", "simulated");
    contexts();
    readers();
}
