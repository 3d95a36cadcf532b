//! The readers of a bus, from the first to the last: found, watched, and given back at the end.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pcsc_ccid::names;

use crate::bus::Bus;
use crate::error::StartError;
use crate::reader::{ManagedReader, Wakers};
use crate::slot::FoundReader;
use crate::sync::{lock, ChangeCounter};
use crate::thread::Thread;
use crate::watching::Watching;

/// How readers are named.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Settings {
    /// Parts of names, between colons: readers whose names contain one are ignored. pcscd's
    /// `PCSCLITE_FILTER_IGNORE_READER_NAMES`.
    pub ignored_names: String,
    /// Text to append to each name. pcscd's `PCSCLITE_FILTER_EXTEND_READER_NAMES`.
    pub name_extension: String,
}

/// The readers of a bus and the threads that watch them. Dropping it gives all readers back.
pub struct Manager {
    shared: Arc<Shared>,
    threads: Mutex<Vec<Thread>>,
}

/// When to try again to start a reader's thread.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How long the end of a manager waits for its threads and for calls in progress. A thread ends in the time
/// of a few USB transfers; a card may work on a command for minutes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the threads share with the manager. `readers` is locked for bookkeeping alone, and no reader is
/// locked meanwhile.
struct Shared {
    bus: Arc<dyn Bus>,
    wakers: Wakers,
    settings: Settings,
    /// Locked from the choice of a reader's number until the reader is listed, before `readers`.
    adding: Mutex<()>,
    readers: Mutex<Readers>,
    /// How many readers came and went.
    events: AtomicU32,
    is_over: AtomicBool,
    /// Moves when all readers were given back.
    end: Arc<ChangeCounter>,
}

#[derive(Default)]
struct Readers {
    /// A place that a reader left is taken by the next one that comes, as in pcscd.
    places: Vec<Option<Watched>>,
    /// The readers in them: what callers get, who ask much more often than readers come and go.
    listed: Arc<[Arc<ManagedReader>]>,
    /// The threads of readers that are gone. They end by themselves and are to be joined.
    gone: Vec<Thread>,
    /// Readers whose threads could not be started, and when to try again. They are not listed.
    unstarted: Vec<Arc<ManagedReader>>,
    try_again_at: Option<Instant>,
}

struct Watched {
    reader: Arc<ManagedReader>,
    thread: Thread,
}

impl Readers {
    fn watched(&self) -> impl Iterator<Item = &Watched> {
        self.places.iter().flatten()
    }
}

impl Manager {
    /// Starts to manage the readers of a bus. This opens no device.
    ///
    /// # Errors
    /// [`StartError::Thread`] where a thread cannot be started.
    pub fn start(bus: Arc<dyn Bus>, settings: Settings) -> Result<Manager, StartError> {
        let shared = Arc::new(Shared {
            bus,
            wakers: Wakers::default(),
            settings,
            adding: Mutex::default(),
            readers: Mutex::default(),
            events: AtomicU32::new(0),
            is_over: AtomicBool::new(false),
            end: Arc::default(),
        });
        // Where one thread cannot be started, dropping the manager ends the others.
        let manager = Manager {
            shared: shared.clone(),
            threads: Mutex::default(),
        };
        // Before the thread of the bus starts, so that a first call that lists the readers finds them, in the
        // order of the bus.
        for found in shared.bus.initial() {
            shared.add(found).map_err(StartError::Thread)?;
        }
        let (for_bus, for_schedule) = (shared.clone(), shared);
        manager.spawn("pcsc-bus", Box::new(move || for_bus.attend_to_bus()))?;
        manager.spawn("pcsc-power", Box::new(move || for_schedule.attend_to_readers()))?;
        Ok(manager)
    }

    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> Result<(), StartError> {
        let thread = Thread::spawn(name, work).map_err(StartError::Thread)?;
        lock(&self.threads).push(thread);
        Ok(())
    }

    /// Moves from 0 when the manager has ended and all readers were given back. It outlives the manager, so
    /// that the next one can wait for it.
    pub fn has_ended(&self) -> &Arc<ChangeCounter> {
        &self.shared.end
    }

    /// Counts the changes of readers and cards that clients can see.
    pub fn changes(&self) -> &ChangeCounter {
        &self.shared.wakers.changes
    }

    /// Counts those of them that concern more than connections: a reader or a card has come, gone or been
    /// reset.
    pub fn card_changes(&self) -> &ChangeCounter {
        &self.shared.wakers.cards
    }

    /// Counts the changes of [`Manager::readers`] and of the readers' [snapshots](ManagedReader::snapshot),
    /// also those that are no events. A copy of them is up to date as long as the count has the value that
    /// was read before the copy was made.
    pub fn state_changes(&self) -> u64 {
        self.shared.wakers.states.load(Ordering::SeqCst)
    }

    /// The readers, in pcscd's order: a reader that comes takes the place of one that went.
    /// The list is the same one until a reader comes or goes.
    pub fn readers(&self) -> Arc<[Arc<ManagedReader>]> {
        lock(&self.shared.readers).listed.clone()
    }

    /// The reader of this name.
    pub fn find(&self, name: &[u8]) -> Option<Arc<ManagedReader>> {
        let readers = lock(&self.shared.readers);
        let mut listed = readers.listed.iter();
        listed.find(|reader| reader.name().as_bytes() == name).cloned()
    }

    /// Adds a reader that no bus has found. Returns its slots once they are listed; none if the settings or a
    /// lack of numbers exclude the reader, or if the manager has ended.
    ///
    /// # Errors
    /// [`StartError::Thread`] where a thread cannot be started. Its slot is added later.
    pub fn add(&self, found: FoundReader) -> Result<Vec<Arc<ManagedReader>>, StartError> {
        self.shared.add(found).map_err(StartError::Thread)
    }

    /// Keeps the readers of these names open, for a wait for their card events.
    pub fn watching<'a>(&self, names: impl IntoIterator<Item = &'a [u8]>) -> Watching<'a> {
        let mut watching = Watching::new(names);
        watching.refresh(&self.readers());
        watching
    }

    /// How many readers came and went, in 15 bits and without 0, as pcscd counts.
    pub fn events(&self) -> u32 {
        // Never 0: our client tells the count from an event by this (`pcsc-wire/src/state_batch.rs`).
        self.shared.events.load(Ordering::SeqCst) % 0x7FFF + 1
    }

    /// Whether any reader has a connection.
    pub fn is_in_use(&self) -> bool {
        self.readers().iter().any(|reader| reader.is_in_use())
    }

    /// Whether [`Manager::end`] was called.
    pub fn is_over(&self) -> bool {
        self.shared.is_over.load(Ordering::SeqCst)
    }

    /// Ends all threads and gives all readers back. Calls of clients fail with
    /// [`ReaderUnavailable`](crate::CallError::ReaderUnavailable) or
    /// [`UnknownReader`](crate::CallError::UnknownReader) from now on. Waits for calls in progress, for some
    /// seconds. A second call waits for the first.
    pub fn end(&self) {
        self.end_until(Instant::now() + PATIENCE);
    }

    pub(crate) fn end_until(&self, deadline: Instant) {
        let shared = &self.shared;
        if shared.is_over.swap(true, Ordering::SeqCst) {
            shared.end.wait(0, None);
            return;
        }
        // The threads of bus and schedule end first: they start threads of readers.
        shared.bus.stop();
        shared.wakers.schedule.post();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            thread.join_until(deadline);
        }
        // No reader is listed after this: see `start_reader`.
        let readers = std::mem::take(&mut *lock(&shared.readers));
        let watched: Vec<Watched> = readers.places.into_iter().flatten().collect();
        // All are stopped before the first one is waited for, so that they end side by side.
        watched.iter().for_each(|watched| watched.reader.stop_watching());
        for watched in watched {
            watched.thread.join_until(deadline);
            // After the thread has ended, which may be in the middle of a poll and would open the device
            // again.
            watched.reader.end(Some(deadline));
        }
        for thread in readers.gone {
            thread.join_until(deadline);
        }
        // Waits for events of any reader look again and learn that the manager is over. Where there is no
        // reader, nothing else has woken them.
        shared.wakers.changes.post();
        shared.wakers.cards.post();
        // Last: a manager that waits for this one opens the same devices.
        shared.end.post();
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    /// Adds the slots of a reader. Returns them; none if the reader is ignored.
    ///
    /// # Errors
    /// Where a thread cannot be started. Its slot is added later.
    fn add(self: &Arc<Shared>, found: FoundReader) -> io::Result<Vec<Arc<ManagedReader>>> {
        if names::is_ignored(&found.name, &self.settings.ignored_names) {
            log::info!("reader {:?} is ignored, as its name is filtered", found.name);
            return Ok(Vec::new());
        }
        // Two threads that add readers would choose the same number. `readers` is not locked all the while,
        // since its lock is on the path of every connection.
        let _adding = lock(&self.adding);
        let number = {
            let readers = lock(&self.readers);
            let listed = readers.watched().map(|watched| watched.reader.name());
            let unlisted = readers.unstarted.iter().map(|reader| reader.name());
            names::free_number(listed.chain(unlisted))
        };
        let Some(number) = number else {
            log::error!(
                "reader {:?} is ignored: all 255 numbers of readers are in use",
                found.name
            );
            return Ok(Vec::new());
        };
        let base = found.name + &self.settings.name_extension;
        let device = found.device.map(Arc::new);
        let mut added = Vec::new();
        let mut result = Ok(());
        for (slot, found) in (0..=u8::MAX).zip(found.slots) {
            let name = names::name(&base, number, slot);
            let reader = ManagedReader::new(name, device.clone(), slot, found, self.wakers.clone());
            let reader = Arc::new(reader);
            match self.start_reader(&reader) {
                Ok(true) => added.push(reader),
                Ok(false) => (),
                Err(error) => {
                    self.start_later(reader);
                    result = Err(error);
                }
            }
        }
        // One event for a reader, however many slots it has, as in pcscd.
        self.count_event();
        result.map(|()| added)
    }

    fn start_later(&self, reader: Arc<ManagedReader>) {
        let mut readers = lock(&self.readers);
        readers.unstarted.push(reader);
        readers.try_again_at = Some(Instant::now() + TRY_AGAIN);
        drop(readers);
        // The thread may sleep without end: with no reader, nothing is due.
        self.wakers.schedule.post();
    }

    /// Lists the readers whose threads can be started now.
    fn try_again(self: &Arc<Shared>) {
        // A reader that is in neither list meanwhile keeps its number.
        let _adding = lock(&self.adding);
        let unstarted = {
            let mut readers = lock(&self.readers);
            readers.try_again_at = None;
            std::mem::take(&mut readers.unstarted)
        };
        for reader in unstarted {
            match self.start_reader(&reader) {
                Ok(true) => self.count_event(),
                Ok(false) => (),
                Err(error) => {
                    log::debug!("cannot start a thread for reader {:?}: {error}", reader.name());
                    self.start_later(reader);
                }
            }
        }
    }

    /// Lists a reader and starts its thread. Returns `false` if the manager has ended.
    fn start_reader(self: &Arc<Shared>, reader: &Arc<ManagedReader>) -> io::Result<bool> {
        let (shared, its_reader) = (self.clone(), reader.clone());
        // Held until the reader has its place, which its thread looks for if the reader is gone at once.
        let mut readers = lock(&self.readers);
        // `Manager::end` sets this before it locks the list: a reader that is listed later would never be
        // given back.
        if self.is_over.load(Ordering::SeqCst) {
            return Ok(false);
        }
        let work = move || {
            if its_reader.watch() {
                shared.remove(&its_reader);
            }
        };
        let thread = Thread::spawn("pcsc-reader", Box::new(work))?;
        log::info!("reader {:?} is there", reader.name());
        let watched = Watched {
            reader: reader.clone(),
            thread,
        };
        match readers.places.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(watched),
            None => readers.places.push(Some(watched)),
        }
        self.list(&mut readers);
        Ok(true)
    }

    /// Removes a reader that is gone. Runs in its own thread.
    fn remove(&self, reader: &Arc<ManagedReader>) {
        let mut readers = lock(&self.readers);
        let is_its = |watched: &mut Watched| Arc::ptr_eq(&watched.reader, reader);
        let place = readers.places.iter_mut().find_map(|place| place.take_if(is_its));
        // The end of the manager has emptied its place.
        let Some(watched) = place else { return };
        // Not its own thread, which cannot join itself. A program that plugs for days does not collect
        // threads.
        while let Some(ended) = readers.gone.iter().position(Thread::has_ended) {
            readers.gone.swap_remove(ended).join_until(Instant::now());
        }
        readers.gone.push(watched.thread);
        self.list(&mut readers);
        // `end` waits for the driver, which may be at work for seconds.
        drop(readers);
        log::info!("reader {:?} is gone", reader.name());
        // The count moves last: a thread that has seen it move finds the reader neither listed nor usable.
        reader.end(None);
        self.count_event();
    }

    /// Lists the readers that have a place now.
    fn list(&self, readers: &mut Readers) {
        readers.listed = readers.watched().map(|watched| watched.reader.clone()).collect();
        // After the list, where a slot's state is counted before: the lock of `readers` is held, so that a
        // thread that reads the count first cannot get the old list with the new count.
        self.wakers.states.fetch_add(1, Ordering::SeqCst);
    }

    fn count_event(&self) {
        self.events.fetch_add(1, Ordering::SeqCst);
        self.wakers.changes.post();
        self.wakers.cards.post();
    }

    /// Adds the readers that come: the work of the thread "pcsc-bus".
    fn attend_to_bus(self: &Arc<Shared>) {
        while let Some(found) = self.bus.wait() {
            if let Err(error) = self.add(found) {
                log::error!("cannot start a thread for a reader, trying again: {error}");
            }
        }
    }

    /// Does what is due for the readers, and sleeps in between: the work of the thread "pcsc-power".
    fn attend_to_readers(self: &Arc<Shared>) {
        while !self.is_over.load(Ordering::SeqCst) {
            // Before the look at the list: what is planned during the look must end the sleep after it.
            let seen = self.wakers.schedule.begin();
            let (readers, try_again_at) = {
                let readers = lock(&self.readers);
                (readers.listed.clone(), readers.try_again_at)
            };
            let now = Instant::now();
            if try_again_at.is_some_and(|at| at <= now) {
                self.try_again();
                continue;
            }
            // Once for all readers that are due, so that the cost is linear in their number.
            let (mut is_any_due, mut next) = (false, try_again_at);
            for reader in &*readers {
                match reader.due() {
                    Some(at) if at > now => next = Some(next.map_or(at, |next| next.min(at))),
                    // Each driver call may take seconds, and `end` waits for this thread.
                    Some(_) if self.is_over.load(Ordering::SeqCst) => return,
                    Some(_) => {
                        is_any_due = true;
                        reader.attend();
                    }
                    None => (),
                }
            }
            // What was due has planned the next thing by now, which `next` does not know.
            if !is_any_due {
                self.wakers.schedule.sleep(seen, next);
            }
        }
    }
}
