//! Waits of a context on simulated readers.

use std::sync::mpsc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pcsc_manager::{FixedBus, Manager, Settings};

use super::StandaloneContext;
use crate::backend::calls::Calls;
use crate::backend::status_change::Watched;
use crate::error::{Error, Outcome};

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
    let changed = session.status_change(Some(Duration::from_secs(20)), &mut watched, false);
    changed.map_err(|failure| failure.code())?;
    Ok(watched[0].event().unwrap() & !2)
}

/// Waits until a thread of this process sleeps in the kernel.
fn wait_until_asleep(thread: rustix::thread::Pid) {
    let path = format!("/proc/self/task/{}/stat", thread.as_raw_nonzero());
    let deadline = Instant::now() + Duration::from_secs(20);
    // The state follows the name, which is in parentheses.
    while !std::fs::read_to_string(&path).unwrap().contains(") S ") {
        assert!(Instant::now() < deadline, "it never sleeps");
        std::thread::yield_now();
    }
}

#[test]
fn a_cancel_and_a_release_end_waits_that_have_begun() {
    let session = Arc::new(session());
    let ends: [fn(&StandaloneContext) -> Outcome<()>; 2] =
        [StandaloneContext::cancel, StandaloneContext::release];
    for end in ends {
        let known = change(&session, 0).unwrap();
        let (sender, receiver) = mpsc::channel();
        let waiter = std::thread::spawn({
            let session = session.clone();
            move || {
                sender.send(rustix::thread::gettid()).unwrap();
                change(&session, known)
            }
        });
        wait_until_asleep(receiver.recv().unwrap());
        end(&session).unwrap();
        assert_eq!(waiter.join().unwrap(), Err(Error::Cancelled.code()));
    }
}
