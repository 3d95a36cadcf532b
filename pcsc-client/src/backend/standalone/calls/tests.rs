//! Waits of a context on simulated readers.

use std::sync::mpsc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pcsc_manager::{FixedBus, Manager, Reader, Settings};

use super::{StandaloneContext, StandaloneReaders};
use crate::backend::calls::Calls;
use crate::backend::status_change::{Readers, StatusChange, Watched};
use crate::error::{Error, Outcome};

/// What ends a wait.
type End = fn(&StandaloneContext) -> Outcome<()>;

fn session() -> StandaloneContext {
    let bus = Arc::new(FixedBus::bundled(Default::default()).unwrap());
    StandaloneContext::on(Arc::new(Manager::start(bus, Settings::default()).unwrap()))
}

fn name(session: &StandaloneContext) -> Vec<u8> {
    session.manager().readers()[0].name().as_bytes().to_vec()
}

/// Waits until the reader's state is not `known`. Returns it.
fn change(session: &StandaloneContext, known: u32) -> Result<u32, u32> {
    let name = name(session);
    let mut watched = [Watched::new(&name, known)];
    let changed = session.status_change(Some(Duration::from_secs(60)), &mut watched, false);
    changed.map_err(|failure| failure.code())?;
    Ok(watched[0].event().unwrap() & !2)
}

/// Waits until a thread of this process sleeps in the kernel.
fn wait_until_asleep(thread: rustix::thread::Pid) {
    let path = format!("/proc/self/task/{}/stat", thread.as_raw_nonzero());
    let deadline = Instant::now() + Duration::from_secs(60);
    // The state follows the name, which is in parentheses.
    while !std::fs::read_to_string(&path).unwrap().contains(") S ") {
        assert!(Instant::now() < deadline, "it never sleeps");
        std::thread::yield_now();
    }
}

/// Waits until a call keeps the reader open: from then on a cancel or a release ends that call.
fn wait_until_held(reader: &Arc<Reader>, holders: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Arc::strong_count(reader) == holders {
        assert!(Instant::now() < deadline, "no call waits");
        std::thread::yield_now();
    }
}

#[test]
fn a_cancel_and_a_release_end_waits_that_have_begun() {
    let session = Arc::new(session());
    let reader = session.manager().readers()[0].clone();
    let ends: [End; 2] = [StandaloneContext::cancel, StandaloneContext::release];
    for end in ends {
        let known = change(&session, 0).unwrap();
        let holders = Arc::strong_count(&reader);
        let (sender, receiver) = mpsc::channel();
        let waiter = std::thread::spawn({
            let session = session.clone();
            move || {
                sender.send(rustix::thread::gettid()).unwrap();
                change(&session, known)
            }
        });
        let thread = receiver.recv().unwrap();
        wait_until_held(&reader, holders);
        wait_until_asleep(thread);
        end(&session).unwrap();
        assert_eq!(waiter.join().unwrap(), Err(Error::Cancelled.code()));
    }
}

#[test]
fn a_wait_between_two_looks_ends_with_the_code_of_its_end() {
    let end_manager = |session: &StandaloneContext| {
        session.manager().end();
        Ok(())
    };
    let ends: [(End, Error); 3] = [
        (StandaloneContext::cancel, Error::Cancelled),
        (StandaloneContext::release, Error::Cancelled),
        // Not the code of a reader that is gone.
        (end_manager, Error::NoService),
    ];
    for (end, expected) in ends {
        let session = session();
        let name = name(&session);
        let mut watched = [Watched::new(&name, 0)];
        let since = session.lifecycle.now();
        let is_cancelled = || session.lifecycle.is_cancelled(since);
        let mut readers = StandaloneReaders {
            context: &session,
            watching: session.manager().watching([&name[..]]),
            is_cancelled: &is_cancelled,
            seen: None,
        };
        let mut call = StatusChange::new(&mut watched).unwrap();
        readers.look(&mut call, true).unwrap();
        end(&session).unwrap();
        let looked = readers.look(&mut call, true);
        assert_eq!(looked.err().map(|failure| failure.error()), Some(expected));
    }
}

#[test]
fn a_released_context_refuses_a_wait() {
    let session = session();
    let known = change(&session, 0).unwrap();
    session.release().unwrap();
    assert_eq!(change(&session, known), Err(Error::InvalidHandle.code()));
}
