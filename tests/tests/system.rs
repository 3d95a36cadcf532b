//! The backend `system` on Debian's library, where it does more than the library: time limits, cancels that
//! come at any time, and forks.

use std::ffi::CString;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pcsc_client::{BackendKind, Card, Context, Disposition, Error, Protocols, ReaderState, ShareMode, State};
use pcsc_tests::{atr, run, stock, Pcscd};

const LIMIT: Duration = Duration::from_secs(60);

/// Runs one of the tests below in a process of its own: Debian's library reads the environment once.
fn run_test(test: &str) {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env("PCSCLITE_BACKEND", "system")
        .env("PCSCLITE_SYSTEM_LIBRARY", stock::library())
        .env("PCSCLITE_CSOCK_NAME", pcscd.socket());
    let text = run(&mut command, LIMIT).stdout();
    assert!(text.contains("1 passed"), "{text}");
}

fn context() -> Context {
    let context = Context::builder().establish().unwrap();
    let library = stock::library();
    assert_eq!(context.backend(), BackendKind::System { library });
    context
}

fn connect(context: &Context) -> Card {
    let reader = context.list_readers_owned().unwrap().remove(0);
    let card = context.connect_timeout(&reader, ShareMode::Shared, Protocols::ANY, LIMIT);
    card.unwrap()
}

#[test]
#[ignore = "is run by the next one"]
fn inner_calls_have_time_limits() {
    let [one, two, three] = [(); 3].map(|()| context());
    let [mut first, mut second, mut third] = [&one, &two, &three].map(connect);
    let transaction = first.transaction_timeout(LIMIT).unwrap();
    let short = Duration::from_millis(20);
    let waited = second.transaction_timeout(short).map(drop);
    assert_eq!(waited.unwrap_err().error(), Error::Timeout);
    transaction
        .end(Disposition::LeaveCard)
        .map_err(|(_, e)| e)
        .unwrap();
    // The transaction that comes late ends at once. Otherwise this one would never begin.
    let begun = third.transaction_timeout(LIMIT).unwrap();
    drop(begun);

    // A command of one second.
    let mut response = [0; 300];
    let late = second.transmit_timeout(b"\x80\xDE\x04\x00", &mut response, short);
    assert_eq!(late.unwrap_err().error(), Error::Timeout);
    let answer = second
        .transmit_timeout(&[0; 4], &mut [0; 300], LIMIT)
        .unwrap()
        .to_vec();
    assert_eq!(answer, b"Hello world!\x90\x00");
    let small = second.transmit_timeout(&[0; 4], &mut [0; 3], LIMIT).unwrap_err();
    assert_eq!(small.error(), Error::InsufficientBuffer);
}

#[test]
fn calls_have_time_limits() {
    run_test("inner_calls_have_time_limits");
}

#[test]
#[ignore = "is run by the next one"]
fn inner_a_cancel_ends_a_wait_whenever_it_comes() {
    let context = context();
    let name: CString = context.list_readers_owned().unwrap().remove(0);
    let mut states = [ReaderState::new(name, State::UNAWARE)];
    context.get_status_change(LIMIT, &mut states).unwrap();
    states[0].sync_current_state();
    for round in 0..100 {
        let begun = AtomicBool::new(false);
        let waited = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                begun.store(true, Ordering::Release);
                context.get_status_change(None, &mut states)
            });
            while !begun.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            // Before the library waits, while it begins to, and afterwards.
            let pause = Instant::now() + Duration::from_micros(20 * round);
            while Instant::now() < pause {
                std::hint::spin_loop();
            }
            context.cancel().unwrap();
            waiter.join().unwrap()
        });
        assert_eq!(waited, Err(Error::Cancelled));
    }
    // No cancel is left over, neither here nor in the library.
    let unchanged = context.get_status_change(Duration::from_millis(1), &mut states);
    assert_eq!(unchanged, Err(Error::Timeout));
    assert!(states[0].event_state().contains(State::PRESENT));
}

#[test]
fn a_cancel_ends_a_wait_whenever_it_comes() {
    run_test("inner_a_cancel_ends_a_wait_whenever_it_comes");
}

#[test]
#[ignore = "is run by the next one"]
fn inner_a_forked_child_leaves_its_parents_context_alone() {
    let context = context();
    let card = connect(&context);
    // SAFETY: the child makes calls of this thread's context, which use no lock of other threads, and ends
    // without returning.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = context.list_readers_owned() == Err(Error::InvalidHandle)
            && card.transmit(&[0; 4], &mut [0; 300]) == Err(Error::InvalidHandle);
        drop((card, context));
        // SAFETY: it has no preconditions.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = -1;
    // SAFETY: a child of this process, waited for once, and `status` is writable.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(
        card.transmit(&[0; 4], &mut [0; 300]).unwrap(),
        b"Hello world!\x90\x00"
    );
}

#[test]
fn a_forked_child_leaves_its_parents_context_alone() {
    run_test("inner_a_forked_child_leaves_its_parents_context_alone");
}
