//! Waits of a context on simulated readers.

use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use pcsc_manager::{FixedBus, FoundReader, ManagedReader, Manager, Powered, Presence, Settings};
use pcsc_manager::{Slot, SlotError, Watch, WatchEvent};

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
fn wait_until_held(reader: &Arc<ManagedReader>, holders: usize) {
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

/// A reader whose device does not open before the test lets it.
#[derive(Default)]
struct Opening {
    state: Mutex<OpeningState>,
    changed: Condvar,
}

#[derive(Default)]
struct OpeningState {
    is_begun: bool,
    is_let: bool,
    is_woken: bool,
    is_stopped: bool,
}

impl Opening {
    fn set(&self, change: impl FnOnce(&mut OpeningState)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn wait_until(&self, is_so: impl Fn(&mut OpeningState) -> bool) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| !is_so(state)).unwrap());
    }
}

struct OpeningSlot(Arc<Opening>);

impl Slot for OpeningSlot {
    fn presence(&mut self) -> Result<Presence, SlotError> {
        self.0.set(|state| state.is_begun = true);
        self.0.wait_until(|state| state.is_let);
        Ok(Presence::Absent)
    }

    fn power_up(&mut self, _warm: bool, _deadline: Option<Instant>) -> Result<Powered, SlotError> {
        Err(SlotError::NoCard)
    }

    fn power_down(&mut self) -> Result<(), SlotError> {
        Ok(())
    }

    fn set_protocol(&mut self, _protocol: u32, _deadline: Option<Instant>) -> Result<(), SlotError> {
        Err(SlotError::NoCard)
    }

    fn transmit(
        &mut self,
        _command: &[u8],
        _response: &mut [u8],
        _deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        Err(SlotError::NoCard)
    }
}

impl Watch for Opening {
    fn wait(&self) -> WatchEvent {
        self.wait_until(|state| state.is_woken || state.is_stopped);
        let mut state = self.state.lock().unwrap();
        state.is_woken = false;
        match state.is_stopped {
            true => WatchEvent::Stopped,
            false => WatchEvent::Card,
        }
    }

    fn wake(&self) {
        self.set(|state| state.is_woken = true);
    }

    fn stop(&self) {
        self.set(|state| state.is_stopped = true);
    }
}

#[test]
fn a_cancel_and_a_release_end_a_wait_whose_device_is_being_opened() {
    let ends: [End; 2] = [StandaloneContext::cancel, StandaloneContext::release];
    for end in ends {
        let opening = Arc::<Opening>::default();
        let watch: Arc<dyn Watch> = opening.clone();
        let slot = Box::new(OpeningSlot(opening.clone()));
        let found = FoundReader::new("Opening", vec![(slot as Box<dyn Slot>, watch)]);
        let manager = Manager::start(Arc::new(FixedBus::new(vec![found])), Settings::default());
        let session = StandaloneContext::on(Arc::new(manager.unwrap()));
        let (sender, ended) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send(change(&session, 0)).unwrap());
            opening.wait_until(|state| state.is_begun);
            end(&session).unwrap();
            let ended = ended.recv_timeout(Duration::from_secs(60));
            opening.set(|state| state.is_let = true);
            assert_eq!(ended, Ok(Err(Error::Cancelled.code())));
        });
    }
}
