//! The readers of the process: found, watched, and given back when the last context ends.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use pcsc_ccid::names;

use crate::board::{lock, wait_until, Board};
use crate::error::{CallError, StartError};
use crate::reader::{GaveUp, Interest, Reader, Wakers};
use crate::slot::Found;
use crate::thread::Thread;

/// Where readers come from: the USB, or a simulation.
pub trait Bus: Send + Sync {
    /// The readers that are there when the manager starts. Finds them, and opens none.
    fn initial(&self) -> Vec<Found>;
    /// Blocks until a reader comes, or until [`Bus::stop`] was called. That a reader goes is told by the
    /// watches of its slots.
    fn wait(&self) -> BusEvent;
    /// Ends the wait, now and for ever.
    fn stop(&self);
}

/// What happened on a bus.
pub enum BusEvent {
    /// A reader came.
    Added(Found),
    /// The bus was told to stop.
    Stopped,
}

/// How readers are named.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Parts of names, between colons: readers whose names contain one are ignored. pcscd's
    /// `PCSCLITE_FILTER_IGNORE_READER_NAMES`.
    pub ignored_names: String,
    /// Text to append to each name. pcscd's `PCSCLITE_FILTER_EXTEND_READER_NAMES`.
    pub name_extension: String,
}

/// All readers, and the threads that watch them: one for the bus, one for what is due at a time, and one for
/// each slot. All sleep while nothing happens.
pub struct Manager {
    shared: Arc<Shared>,
    threads: Mutex<Vec<Thread>>,
}

/// When to try again to start the thread of a reader that came while the system had no room for one.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How long the end of a manager waits for its threads. Each ends in the time of a few USB transfers.
const PATIENCE: Duration = Duration::from_secs(10);

/// The moment at which all readers of a manager are given back.
#[derive(Default)]
pub struct End {
    has_come: Mutex<bool>,
    came: Condvar,
}

impl End {
    /// Waits for it.
    pub fn wait(&self) {
        let mut has_come = lock(&self.has_come);
        while !*has_come {
            has_come = wait_until(&self.came, has_come, None).unwrap_or_else(|guard| guard);
        }
    }

    fn come(&self) {
        *lock(&self.has_come) = true;
        self.came.notify_all();
    }
}

/// The readers that a wait for card events keeps open.
pub struct Watching<'a> {
    interests: HashMap<&'a [u8], Option<Interest<Arc<Reader>>>>,
}

impl Watching<'_> {
    /// Adopts readers that came since: one of a name that is waited for may have been unplugged and plugged in again.
    pub fn refresh(&mut self, manager: &Manager) {
        if self.interests.is_empty() {
            return;
        }
        for reader in manager.readers() {
            let Some(interest) = self.interests.get_mut(reader.name.as_bytes()) else {
                continue;
            };
            let is_new = |held: &Interest<Arc<Reader>>| !std::ptr::eq(held.reader(), &*reader);
            if interest.as_ref().is_none_or(is_new) {
                *interest = Some(Interest::new(reader));
            }
        }
    }

    /// Waits until each reader was looked at.
    ///
    /// # Errors
    /// [`CallError::InvalidHandle`] where `gave_up` says so.
    pub fn wait_for_first_look(&self, gave_up: GaveUp<'_>) -> Result<(), CallError> {
        for interest in self.interests.values().flatten() {
            interest.reader().wait_for_first_look(None, gave_up)?;
        }
        Ok(())
    }
}

/// What the threads share with the manager.
struct Shared {
    bus: Arc<dyn Bus>,
    wakers: Wakers,
    settings: Settings,
    readers: Mutex<Readers>,
    /// How many readers came and went; never 0, as pcscd counts.
    events: AtomicU32,
    is_over: AtomicBool,
    end: Arc<End>,
}

#[derive(Default)]
struct Readers {
    /// A place that a reader left is taken by the next one that comes, as pcscd has it.
    places: Vec<Option<Watched>>,
    /// The threads of readers that are gone, which end without help.
    gone: Vec<Thread>,
    /// Readers whose threads could not be started, and when to try again. They are not listed.
    unstarted: Vec<Arc<Reader>>,
    try_again_at: Option<Instant>,
}

struct Watched {
    reader: Arc<Reader>,
    thread: Thread,
}

impl Readers {
    fn watched(&self) -> impl Iterator<Item = &Watched> {
        self.places.iter().flatten()
    }
}

impl Manager {
    /// Starts to manage the readers of a bus. Nobody waits for a reader here: each is looked at by a thread
    /// of its own.
    ///
    /// # Errors
    /// [`StartError::Thread`] where a thread cannot be started.
    pub fn start(bus: Arc<dyn Bus>, settings: Settings) -> Result<Manager, StartError> {
        let shared = Arc::new(Shared {
            bus,
            wakers: Wakers::default(),
            settings,
            readers: Mutex::default(),
            events: AtomicU32::new(1),
            is_over: AtomicBool::new(false),
            end: Arc::default(),
        });
        // Where one thread cannot be started, dropping the manager ends the others.
        let manager = Manager {
            shared: shared.clone(),
            threads: Mutex::default(),
        };
        for found in shared.bus.initial() {
            shared.add(found).map_err(StartError::Thread)?;
        }
        let (for_bus, for_schedule) = (shared.clone(), shared);
        manager.spawn("pcsc-bus", move || {
            while let BusEvent::Added(found) = for_bus.bus.wait() {
                if let Err(error) = for_bus.add(found) {
                    log::error!("cannot start a thread for a reader, trying again: {error}");
                }
            }
        })?;
        manager.spawn("pcsc-power", move || for_schedule.attend_to_readers())?;
        Ok(manager)
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
        let thread = Thread::spawn(name, work).map_err(StartError::Thread)?;
        lock(&self.threads).push(thread);
        Ok(())
    }

    /// The moment at which all readers are given back.
    pub fn moment_of_end(&self) -> &Arc<End> {
        &self.shared.end
    }

    /// Where changes are posted.
    pub fn board(&self) -> &Board {
        &self.shared.wakers.board
    }

    /// The readers, in pcscd's order.
    pub fn readers(&self) -> Vec<Arc<Reader>> {
        let readers = lock(&self.shared.readers);
        readers.watched().map(|watched| watched.reader.clone()).collect()
    }

    /// The reader of this name.
    pub fn find(&self, name: &[u8]) -> Option<Arc<Reader>> {
        let readers = lock(&self.shared.readers);
        let mut watched = readers.watched().map(|watched| &watched.reader);
        watched.find(|reader| reader.name.as_bytes() == name).cloned()
    }

    /// Begins to need the readers of these names, for a wait for their card events.
    pub fn watching<'a>(&self, names: impl IntoIterator<Item = &'a [u8]>) -> Watching<'a> {
        let mut watching = Watching {
            interests: names.into_iter().map(|name| (name, None)).collect(),
        };
        watching.refresh(self);
        watching
    }

    /// How many readers came and went.
    pub fn events(&self) -> u32 {
        self.shared.events.load(Ordering::SeqCst)
    }

    /// Whether a reader is connected to.
    pub fn is_in_use(&self) -> bool {
        self.readers().iter().any(|reader| reader.is_in_use())
    }

    /// Whether the readers were given back.
    pub fn is_over(&self) -> bool {
        self.shared.is_over.load(Ordering::SeqCst)
    }

    /// Gives all readers back and ends all threads; what is left of this manager's contexts has lost them.
    pub fn end(&self) {
        let shared = &self.shared;
        if shared.is_over.swap(true, Ordering::SeqCst) {
            return shared.end.wait();
        }
        let deadline = Instant::now() + PATIENCE;
        shared.bus.stop();
        shared.wakers.schedule.post();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            thread.join_until(deadline);
        }
        // No reader comes any more.
        let readers = std::mem::take(&mut *lock(&shared.readers));
        let watched: Vec<Watched> = readers.places.into_iter().flatten().collect();
        watched.iter().for_each(|watched| watched.reader.stop_watching());
        for watched in watched {
            watched.thread.join_until(deadline);
            watched.reader.end();
        }
        for thread in readers.gone {
            thread.join_until(deadline);
        }
        shared.wakers.board.post();
        shared.end.come();
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    /// Adds the slots of a reader. Where a thread cannot be started, its slot is added later.
    fn add(self: &Arc<Shared>, found: Found) -> io::Result<()> {
        if names::is_ignored(&found.name, &self.settings.ignored_names) {
            log::info!("reader {:?} is ignored, as its name is filtered", found.name);
            return Ok(());
        }
        let number = {
            let readers = lock(&self.readers);
            let listed = readers.watched().map(|watched| watched.reader.name.as_str());
            let unlisted = readers.unstarted.iter().map(|reader| reader.name.as_str());
            names::free_number(listed.chain(unlisted))
        };
        let Some(number) = number else {
            log::error!("reader {:?} is ignored: there are too many", found.name);
            return Ok(());
        };
        let base = found.name + &self.settings.name_extension;
        let mut result = Ok(());
        for (slot, (driver, watch)) in (0..=u8::MAX).zip(found.slots) {
            let name = names::name(&base, number, slot);
            let reader = Arc::new(Reader::new(name, driver, watch, self.wakers.clone()));
            if let Err(error) = self.start_reader(&reader) {
                self.start_later(reader);
                result = Err(error);
            }
        }
        self.count_event();
        result
    }

    fn start_later(&self, reader: Arc<Reader>) {
        let mut readers = lock(&self.readers);
        readers.unstarted.push(reader);
        readers.try_again_at = Some(Instant::now() + TRY_AGAIN);
        drop(readers);
        self.wakers.schedule.post();
    }

    /// Lists the readers whose threads can be started now.
    fn try_again(self: &Arc<Shared>) {
        let unstarted = {
            let mut readers = lock(&self.readers);
            readers.try_again_at = None;
            std::mem::take(&mut readers.unstarted)
        };
        for reader in unstarted {
            match self.start_reader(&reader) {
                Ok(()) => self.count_event(),
                Err(error) => {
                    log::debug!("cannot start a thread for reader {:?}: {error}", reader.name);
                    self.start_later(reader);
                }
            }
        }
    }

    fn start_reader(self: &Arc<Shared>, reader: &Arc<Reader>) -> io::Result<()> {
        let (shared, its_reader) = (self.clone(), reader.clone());
        // The lock is held until the reader has its place, where its thread may look for it at once.
        let mut readers = lock(&self.readers);
        let thread = Thread::spawn("pcsc-reader", move || {
            if its_reader.watch() {
                shared.remove(&its_reader);
            }
        })?;
        log::info!("reader {:?} is there", reader.name);
        let watched = Watched {
            reader: reader.clone(),
            thread,
        };
        match readers.places.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(watched),
            None => readers.places.push(Some(watched)),
        }
        Ok(())
    }

    /// Forgets a reader that is gone. Called by its own thread.
    fn remove(&self, reader: &Arc<Reader>) {
        let mut readers = lock(&self.readers);
        let is_its = |watched: &mut Watched| Arc::ptr_eq(&watched.reader, reader);
        let place = readers.places.iter_mut().find_map(|place| place.take_if(is_its));
        // At the end of the manager it has no place any more.
        let Some(watched) = place else { return };
        for thread in take_finished(&mut readers.gone) {
            thread.join_until(Instant::now());
        }
        readers.gone.push(watched.thread);
        drop(readers);
        log::info!("reader {:?} is gone", reader.name);
        reader.end();
        self.count_event();
    }

    fn count_event(&self) {
        let next = |events| Some(event_after(events));
        let _ = self.events.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        self.wakers.board.post();
    }

    /// Does what is due for the readers, and sleeps in between: the work of the thread "pcsc-power".
    fn attend_to_readers(self: &Arc<Shared>) {
        while !self.is_over.load(Ordering::SeqCst) {
            let seen = self.wakers.schedule.changes();
            let (readers, try_again_at) = {
                let readers = lock(&self.readers);
                let listed = readers.watched().map(|watched| watched.reader.clone());
                (listed.collect::<Vec<_>>(), readers.try_again_at)
            };
            let now = Instant::now();
            if try_again_at.is_some_and(|at| at <= now) {
                self.try_again();
                continue;
            }
            let due = |reader: &Arc<Reader>| Some((reader.due()?, reader.clone()));
            match readers.iter().filter_map(due).min_by_key(|due| due.0) {
                Some((at, reader)) if at <= now => reader.attend(),
                next => {
                    let at = next.map(|(at, _)| at).into_iter().chain(try_again_at).min();
                    self.wakers.schedule.wait(seen, at);
                }
            }
        }
    }
}

/// Takes the threads out that have ended.
fn take_finished(threads: &mut Vec<Thread>) -> Vec<Thread> {
    let (finished, running) = std::mem::take(threads).into_iter().partition(Thread::has_ended);
    *threads = running;
    finished
}

/// Readers that come and go are counted in 15 bits, without 0.
fn event_after(events: u32) -> u32 {
    if events >= 0x7FFF {
        1
    } else {
        events + 1
    }
}

#[cfg(test)]
mod tests {
    use super::event_after;

    #[test]
    fn events_are_counted_in_15_bits_without_0() {
        assert_eq!([0, 1, 0x7FFE, 0x7FFF].map(event_after), [1, 2, 0x7FFF, 1]);
    }
}
