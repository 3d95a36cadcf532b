//! The time of one call of SCardGetStatusChange that watches all readers and finds no change, by the number
//! of readers, with a daemon and without one. It is the processor time of the calling thread, which does not
//! include the scripted daemon and other programs. The time for each reader must not depend on their number.
//!
//! `cargo bench -p pcsc-tests --bench status_change`

use std::time::Duration;

use pcsc_client::{Choice, Context, Error, ReaderState, State};
use pcsc_tests::scripted::{Script, Scripted};

const BATCHES: usize = 100;
const BATCH: u32 = 20;

/// The processor time of this thread, in microseconds.
fn used() -> f64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a local.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
    assert_eq!(code, 0);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

/// The median time of a call, in microseconds.
fn time(context: &Context) -> f64 {
    let names = context.list_readers_owned().unwrap();
    let mut states: Vec<_> = names
        .into_iter()
        .map(|name| ReaderState::new(name, State::UNAWARE))
        .collect();
    // Until all changes of the readers have been reported.
    while context.get_status_change(Duration::from_millis(100), &mut states) == Ok(()) {
        states.iter_mut().for_each(ReaderState::sync_current_state);
    }
    let mut batch = || {
        let start = used();
        for _ in 0..BATCH {
            let changed = context.get_status_change(Duration::ZERO, &mut states);
            assert_eq!(changed, Err(Error::Timeout));
        }
        (used() - start) / f64::from(BATCH)
    };
    let mut times: Vec<f64> = (0..BATCHES).map(|_| batch()).collect();
    times.sort_by(f64::total_cmp);
    times[BATCHES / 2]
}

fn report(backend: &str, readers: usize, time: f64) {
    println!(
        "{backend}: {readers:3} readers {time:7.1} us, {:4.0} ns each",
        time * 1000.0 / readers as f64
    );
}

fn main() {
    const COUNTS: [usize; 3] = [24, 96, 255];
    for readers in COUNTS {
        let script = Script {
            readers,
            ..Script::new(6)
        };
        let daemon = Scripted::start(script);
        let context = Context::builder().socket_path(daemon.path()).establish().unwrap();
        report("daemon", readers, time(&context));
    }
    for readers in COUNTS {
        std::env::set_var("PCSCLITE_SIMULATED", vec!["gempc-express"; readers].join(","));
        let context = Context::builder()
            .choose_backend(Choice::Simulated)
            .establish()
            .unwrap();
        report("standalone", readers, time(&context));
    }
}
