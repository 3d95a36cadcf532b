//! A system without room for more threads (RLIMIT_NPROC, RLIMIT_AS): a context without a daemon fails, and is
//! not left without readers. A reader that is plugged in is listed once there is room.
//!
//! Limits concern a process and its user, so each test runs in a process of its own, as another user.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pcsc_client::{Choice, Context, Error};
use pcsc_manager::{Bus, ChangeCounter, FoundReader, Manager, Settings, Simulated};

/// Runs one of the ignored tests in another process.
fn run(test: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture", "--test-threads=1"])
        .env_remove("PCSCLITE_SIMULATED")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(
        output.status.success() && text[0].contains("1 passed"),
        "{}\n{}",
        text[0],
        text[1]
    );
    if let Some(skipped) = text[0].lines().find(|line| line.starts_with("SKIPPED")) {
        println!("{skipped}");
    }
}

fn set_limit(resource: libc::__rlimit_resource_t, soft: Option<u64>) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is readable and writable.
    unsafe {
        assert_eq!(libc::getrlimit(resource, &mut limit), 0);
        limit.rlim_cur = soft.unwrap_or(limit.rlim_max);
        assert_eq!(libc::setrlimit(resource, &limit), 0);
    }
}

/// How many threads the process has.
fn threads() -> u64 {
    std::fs::read_dir("/proc/self/task").unwrap().count() as u64
}

/// Waits until the process has this many threads: one that was joined is listed until the kernel has removed
/// it.
fn wait_for_threads(count: u64) {
    let start = Instant::now();
    while threads() != count {
        assert!(start.elapsed() < Duration::from_secs(60), "{} threads", threads());
        std::thread::yield_now();
    }
}

/// Becomes a user that has no other process. Returns false if the process may not.
fn become_another_user() -> bool {
    let user = 100_000 + std::process::id();
    // SAFETY: the call has no memory to observe. glibc makes it for all threads.
    let became = unsafe { libc::setresuid(user, user, user) } == 0;
    if !became {
        println!(
            "SKIPPED: RLIMIT_NPROC can be tested by root alone, who can become a user without processes"
        );
    }
    became
}

fn establish() -> Result<Context, pcsc_client::Failure> {
    Context::builder().choose_backend(Choice::Simulated).establish()
}

#[test]
fn without_threads_there_is_no_context() {
    run("inner_without_threads_there_is_no_context");
}

#[test]
#[ignore = "is run by the test above in a process of its own"]
fn inner_without_threads_there_is_no_context() {
    if !become_another_user() {
        return;
    }
    let own = threads();
    // One for the bus, one for what is due, and one for the reader.
    for missing in 1..=3 {
        set_limit(libc::RLIMIT_NPROC, Some(own + 3 - missing));
        let failure = establish().map(drop).unwrap_err();
        assert_eq!(
            failure.error(),
            Error::NoMemory,
            "{missing} threads too few: {failure}"
        );
        assert!(failure.cause().is_some());
        wait_for_threads(own);
    }
    set_limit(libc::RLIMIT_NPROC, Some(own + 3));
    assert_eq!(establish().unwrap().list_readers_owned().unwrap().len(), 1);
}

#[test]
fn without_memory_for_threads_there_is_no_context() {
    run("inner_without_memory_for_threads_there_is_no_context");
}

#[test]
#[ignore = "is run by the test above in a process of its own"]
fn inner_without_memory_for_threads_there_is_no_context() {
    let own = threads();
    let pages: u64 = {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    // Less than a thread's stack.
    set_limit(libc::RLIMIT_AS, Some(pages * 4096 + (1 << 20)));
    let failure = establish().map(drop).unwrap_err();
    assert_eq!(failure.error(), Error::NoMemory, "{failure}");
    wait_for_threads(own);
    set_limit(libc::RLIMIT_AS, None);
    assert_eq!(establish().unwrap().list_readers_owned().unwrap().len(), 1);
}

/// A bus that readers come to.
#[derive(Default)]
struct LateBus {
    readers: Mutex<Vec<FoundReader>>,
    moves: ChangeCounter,
    is_stopped: AtomicBool,
}

impl LateBus {
    fn plug(&self) {
        let reader = Simulated::new("scr3310").unwrap().found();
        self.readers.lock().unwrap().push(reader);
        self.moves.post();
    }
}

impl Bus for LateBus {
    fn initial(&self) -> Vec<FoundReader> {
        std::mem::take(&mut *self.readers.lock().unwrap())
    }

    fn wait(&self) -> Option<FoundReader> {
        loop {
            let seen = self.moves.changes();
            if self.is_stopped.load(Ordering::SeqCst) {
                return None;
            }
            let reader = self.readers.lock().unwrap().pop();
            if reader.is_some() {
                return reader;
            }
            self.moves.wait(seen, None);
        }
    }

    fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        self.moves.post();
    }
}

#[test]
fn a_reader_that_comes_while_there_is_no_thread_for_it_is_listed_later() {
    run("inner_a_reader_that_comes_while_there_is_no_thread_for_it_is_listed_later");
}

#[test]
#[ignore = "is run by the test above in a process of its own"]
fn inner_a_reader_that_comes_while_there_is_no_thread_for_it_is_listed_later() {
    if !become_another_user() {
        return;
    }
    let bus = Arc::new(LateBus::default());
    bus.plug();
    let manager = Manager::start(bus.clone(), Settings::default()).unwrap();
    let wait_until = |is_so: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let seen = manager.changes().changes();
            if is_so() {
                return;
            }
            assert!(manager.changes().wait(seen, Some(deadline)), "nothing changes");
        }
    };
    set_limit(libc::RLIMIT_NPROC, Some(threads()));
    let events = manager.events();
    bus.plug();
    wait_until(&|| manager.events() > events);
    assert_eq!(manager.readers().len(), 1);
    set_limit(libc::RLIMIT_NPROC, None);
    wait_until(&|| manager.readers().len() == 2);
    // The name of the unlisted reader was taken.
    let names: Vec<String> = manager
        .readers()
        .iter()
        .map(|reader| reader.name().to_owned())
        .collect();
    assert!(
        names[0].ends_with(" 00 00") && names[1].ends_with(" 01 00"),
        "{names:?}"
    );
}
