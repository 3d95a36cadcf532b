//! The backend `system` on Debian's library, where it does more than the library: time limits, cancels that
//! come at any time, and forks.

use std::ffi::CString;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pcsc_client::{BackendKind, Card, Context, Disposition, Error, Protocols, ReaderState, ShareMode, State};
use pcsc_tests::{atr, run, stock, Pcscd};

const LIMIT: Duration = Duration::from_secs(300);
const SHORT: Duration = Duration::from_millis(20);
/// Asks a card how many commands it has received since its last reset, this one included.
const COUNT: &[u8] = b"\x80\xC0\x00\x00";

/// Runs one of the tests below in a process of its own: Debian's library reads the environment once.
fn run_test(test: &str) {
    let pcscd = Pcscd::start(2);
    for reader in [0, 1] {
        pcscd.reader(reader).insert(atr::T1);
    }
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
    connect_to(context, 0)
}

fn connect_to(context: &Context, reader: usize) -> Card {
    let reader = context.list_readers_owned().unwrap().remove(reader);
    let card = context.connect_timeout(&reader, ShareMode::Shared, Protocols::ANY, LIMIT);
    card.unwrap()
}

fn count(card: &Card) -> u32 {
    let mut response = [0; 300];
    let response = card.transmit_timeout(COUNT, &mut response, LIMIT).unwrap();
    let [a, b, c, d, 0x90, 0x00] = *response else {
        panic!("{response:?}");
    };
    u32::from_be_bytes([a, b, c, d])
}

/// The states of the threads that make calls with a time limit, as the kernel describes them.
fn call_threads() -> Vec<String> {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let states = threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).ok());
    states
        .filter(|state| state.contains("Name:\tpcsc-call\n"))
        .collect()
}

/// Waits until `count` threads make calls, and returns their states. A thread ends shortly after its call has
/// returned.
#[track_caller]
fn wait_for_call_threads(count: usize) -> Vec<String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let threads = call_threads();
        if threads.len() == count {
            return threads;
        }
        assert!(
            Instant::now() < deadline,
            "{} threads, not {count}: {threads:#?}",
            threads.len()
        );
        std::thread::yield_now();
    }
}

#[test]
#[ignore = "is run by the next one"]
fn inner_calls_have_time_limits() {
    let [one, two, three] = [(); 3].map(|()| context());
    let [mut first, mut second, mut third] = [&one, &two, &three].map(connect);
    let transaction = first.transaction_timeout(LIMIT).unwrap();
    let waited = second.transaction_timeout(SHORT).map(drop);
    assert_eq!(waited.unwrap_err().error(), Error::Timeout);
    transaction
        .end(Disposition::LeaveCard)
        .map_err(|(_, e)| e)
        .unwrap();
    // The transaction that comes late ends at once. Otherwise this one would never begin.
    let begun = third.transaction_timeout(LIMIT).unwrap();
    drop(begun);

    // A command of four seconds.
    let mut response = [0; 300];
    let late = second.transmit_timeout(b"\x80\xDE\x10\x00", &mut response, SHORT);
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
fn inner_a_call_that_was_given_up_is_not_sent() {
    let [one, two] = [(); 2].map(|()| context());
    let (mut first, mut second) = (connect(&one), connect(&two));
    let transaction = first.transaction().unwrap();
    // Goes on until the transaction ends.
    let late = second.transaction_timeout(SHORT).map(drop);
    assert_eq!(late.unwrap_err().error(), Error::Timeout);
    for _ in 0..5 {
        let refused = second.transmit_timeout(COUNT, &mut [0; 300], SHORT).map(drop);
        assert_eq!(refused.unwrap_err().error(), Error::Timeout);
        let refused = second.transaction_timeout(SHORT).map(drop);
        assert_eq!(refused.unwrap_err().error(), Error::Timeout);
    }
    wait_for_call_threads(1);
    transaction
        .end(Disposition::LeaveCard)
        .map_err(|(_, e)| e)
        .unwrap();
    assert_eq!(count(&second), 1);
}

#[test]
fn a_call_that_was_given_up_is_not_sent() {
    run_test("inner_a_call_that_was_given_up_is_not_sent");
}

#[test]
#[ignore = "is run by the next one"]
fn inner_a_call_that_was_given_up_during_a_wait_is_not_sent() {
    let [context, others] = [(); 2].map(|()| context());
    let [card, other] = [&context, &others].map(connect);
    let name = context.list_readers_owned().unwrap().remove(0);
    let mut states = [ReaderState::new(name, State::UNAWARE)];
    context.get_status_change(LIMIT, &mut states).unwrap();
    states[0].sync_current_state();
    let mut sent = count(&other);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| context.get_status_change(None, &mut states));
        // How many calls in a row were given up and not sent.
        let (mut given_up, mut late) = (0, 0);
        while given_up < 20 {
            match card.transmit_timeout(COUNT, &mut [0; 300], SHORT) {
                Ok(_) => (sent, given_up) = (sent + 1, 0),
                Err(failure) => {
                    assert_eq!(failure.error(), Error::Timeout);
                    wait_for_call_threads(0);
                    let before = std::mem::replace(&mut sent, count(&other));
                    match sent - before {
                        1 => given_up += 1,
                        // It was sent before the wait began, and took longer than `SHORT`.
                        more => (late, given_up) = (late + more - 1, 0),
                    }
                    assert!(late < 50, "{late} calls were sent, and {given_up} given up");
                }
            }
        }
        wait_for_call_threads(0);
        context.cancel().unwrap();
        assert_eq!(waiter.join().unwrap(), Err(Error::Cancelled));
    });
    assert_eq!(count(&card), sent + 1);
}

#[test]
fn a_call_that_was_given_up_during_a_wait_is_not_sent() {
    run_test("inner_a_call_that_was_given_up_during_a_wait_is_not_sent");
}

#[test]
#[ignore = "is run by the next one"]
fn inner_a_late_call_holds_up_no_end() {
    let [one, two, three] = [(); 3].map(|()| context());
    let (mut first, mut second) = (connect(&one), connect(&two));
    let (mut other, mut third) = (connect_to(&two, 1), connect_to(&three, 1));
    let name = two.list_readers_owned().unwrap().remove(0);
    let mut states = [ReaderState::new(name, State::UNAWARE)];
    let transaction = first.transaction().unwrap();
    let others = other.transaction().unwrap();
    // Goes on until the transaction ends.
    let late = second.transaction_timeout(SHORT).map(drop);
    assert_eq!(late.unwrap_err().error(), Error::Timeout);

    // A transaction and a connection of the same context end, and so does a wait.
    others.end(Disposition::LeaveCard).map_err(|(_, e)| e).unwrap();
    drop(second);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| two.get_status_change(None, &mut states));
        while !waiter.is_finished() {
            two.cancel().unwrap();
            std::thread::yield_now();
        }
        assert_eq!(waiter.join().unwrap(), Err(Error::Cancelled));
    });
    wait_for_call_threads(1);
    transaction
        .end(Disposition::LeaveCard)
        .map_err(|(_, e)| e)
        .unwrap();

    // The late call's thread has made both calls: the transaction is over, and the card was reset.
    drop(third.transaction_timeout(LIMIT).unwrap());
    count(&other);
    let reset = first.transmit_timeout(COUNT, &mut [0; 300], LIMIT).map(drop);
    assert_eq!(reset.unwrap_err().error(), Error::ResetCard);
}

#[test]
fn a_late_call_holds_up_no_end() {
    run_test("inner_a_late_call_holds_up_no_end");
}

#[test]
#[ignore = "is run by the next one"]
fn inner_a_signal_is_handled_in_the_programs_threads() {
    let [one, two] = [(); 2].map(|()| context());
    let (mut first, mut second) = (connect(&one), connect(&two));
    let _transaction = first.transaction().unwrap();
    let late = second.transaction_timeout(SHORT).map(drop);
    assert_eq!(late.unwrap_err().error(), Error::Timeout);
    let thread = &wait_for_call_threads(1)[0];
    let blocked = thread.lines().find_map(|line| line.strip_prefix("SigBlk:\t"));
    let blocked = u64::from_str_radix(blocked.unwrap(), 16).unwrap();
    for signal in [
        libc::SIGINT,
        libc::SIGTERM,
        libc::SIGALRM,
        libc::SIGUSR1,
        libc::SIGCHLD,
    ] {
        assert_ne!(blocked & 1 << (signal - 1), 0, "signal {signal}: {blocked:x}");
    }
}

#[test]
fn a_signal_is_handled_in_the_programs_threads() {
    run_test("inner_a_signal_is_handled_in_the_programs_threads");
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
