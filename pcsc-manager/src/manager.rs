//! The readers of the process: found, watched, and given back when the last context ends.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use pcsc_ccid::names;

use crate::board::{lock, wait_until, Board};
use crate::reader::Reader;
use crate::slot::{Found, Sight, Slot, Watch};
use crate::thread;

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
    threads: Mutex<Vec<JoinHandle<()>>>,
}

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

/// What the threads share with the manager.
struct Shared {
    bus: Arc<dyn Bus>,
    board: Arc<Board>,
    settings: Settings,
    readers: Mutex<Readers>,
    /// How many readers came and went; never 0, as pcscd counts.
    events: AtomicU32,
    is_over: AtomicBool,
    end: Arc<End>,
    /// Signalled when what is due for a reader may have changed.
    janitor: Condvar,
    janitor_calls: Mutex<u64>,
}

#[derive(Default)]
struct Readers {
    /// A place that a reader left is taken by the next one that comes, as pcscd has it.
    places: Vec<Option<Watched>>,
    /// The threads of readers that are gone, which end without help.
    gone: Vec<JoinHandle<()>>,
}

struct Watched {
    reader: Arc<Reader>,
    watch: Arc<dyn Watch>,
    thread: JoinHandle<()>,
}

impl Readers {
    fn watched(&self) -> impl Iterator<Item = &Watched> {
        self.places.iter().flatten()
    }
}

impl Manager {
    /// Starts to manage the readers of a bus. Nobody waits for a reader here: each is looked at by a thread
    /// of its own.
    pub fn start(bus: Arc<dyn Bus>, settings: Settings) -> Manager {
        let shared = Arc::new(Shared {
            bus,
            board: Arc::new(Board::default()),
            settings,
            readers: Mutex::default(),
            events: AtomicU32::new(1),
            is_over: AtomicBool::new(false),
            end: Arc::default(),
            janitor: Condvar::new(),
            janitor_calls: Mutex::default(),
        });
        for found in shared.bus.initial() {
            shared.add(found);
        }
        let (for_bus, for_janitor) = (shared.clone(), shared.clone());
        let bus = thread::spawn("pcsc-bus", move || {
            while let BusEvent::Added(found) = for_bus.bus.wait() {
                for_bus.add(found);
            }
        });
        let janitor = thread::spawn("pcsc-power", move || for_janitor.attend_to_readers());
        let threads = [bus, janitor].into_iter().filter_map(|spawned| {
            spawned
                .inspect_err(|error| log::error!("cannot start a thread: {error}"))
                .ok()
        });
        Manager {
            threads: Mutex::new(threads.collect()),
            shared,
        }
    }

    /// The moment at which all readers are given back.
    pub fn moment_of_end(&self) -> &Arc<End> {
        &self.shared.end
    }

    /// Where changes are posted.
    pub fn board(&self) -> &Board {
        &self.shared.board
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

    /// Tells the janitor that something may be due at another time.
    pub fn wake_janitor(&self) {
        self.shared.wake_janitor();
    }

    /// Gives all readers back and ends all threads; what is left of this manager's contexts has lost them.
    pub fn end(&self) {
        let shared = &self.shared;
        if shared.is_over.swap(true, Ordering::SeqCst) {
            return shared.end.wait();
        }
        shared.bus.stop();
        shared.wake_janitor();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            let _ = thread.join();
        }
        // No reader comes any more.
        let readers = std::mem::take(&mut *lock(&shared.readers));
        let watched: Vec<Watched> = readers.places.into_iter().flatten().collect();
        watched.iter().for_each(|watched| watched.watch.stop());
        for watched in watched {
            let _ = watched.thread.join();
            watched.reader.end();
        }
        for thread in readers.gone {
            let _ = thread.join();
        }
        shared.board.post();
        shared.end.come();
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn add(self: &Arc<Shared>, found: Found) {
        if names::is_ignored(&found.name, &self.settings.ignored_names) {
            log::info!("reader {:?} is ignored, as its name is filtered", found.name);
            return;
        }
        let number = {
            let readers = lock(&self.readers);
            let in_use = readers.watched().map(|watched| watched.reader.name.as_str());
            names::free_number(in_use)
        };
        let Some(number) = number else {
            log::error!("reader {:?} is ignored: there are too many", found.name);
            return;
        };
        let base = found.name + &self.settings.name_extension;
        for (slot, (driver, watch)) in (0..=u8::MAX).zip(found.slots) {
            let name = names::name(&base, number, slot);
            if let Err(error) = self.add_slot(&name, driver, watch) {
                log::error!("reader {name:?} is ignored: cannot start a thread: {error}");
            }
        }
        self.count_event();
    }

    fn add_slot(
        self: &Arc<Shared>,
        name: &str,
        slot: Box<dyn Slot>,
        watch: Arc<dyn Watch>,
    ) -> std::io::Result<()> {
        let reader = Arc::new(Reader::new(name.to_owned(), slot, self.board.clone()));
        let (shared, its_reader, its_watch) = (self.clone(), reader.clone(), watch.clone());
        // The lock is held until the reader has its place, where its thread may look for it at once.
        let mut readers = lock(&self.readers);
        let thread = thread::spawn("pcsc-reader", move || {
            its_reader.look();
            loop {
                shared.wake_janitor();
                match its_watch.wait() {
                    Sight::Card => its_reader.look(),
                    Sight::Unclear => its_reader.look_again(),
                    Sight::Gone => return shared.remove(&its_reader),
                    Sight::Stopped => return,
                }
            }
        })?;
        log::info!("reader {name:?} is there");
        let watched = Watched {
            reader,
            watch,
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
            let _ = thread.join();
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
        self.board.post();
    }

    fn wake_janitor(&self) {
        *lock(&self.janitor_calls) += 1;
        self.janitor.notify_all();
    }

    /// Sleeps until something is due for a reader; for ever where nothing is.
    fn attend_to_readers(&self) {
        let mut answered = 0;
        while !self.is_over.load(Ordering::SeqCst) {
            let readers: Vec<_> = lock(&self.readers)
                .watched()
                .map(|watched| watched.reader.clone())
                .collect();
            let due = |reader: &Arc<Reader>| Some((reader.due()?, reader.clone()));
            match readers.iter().filter_map(due).min_by_key(|due| due.0) {
                Some((at, reader)) if at <= Instant::now() => reader.attend(),
                next => {
                    let at = next.map(|(at, _)| at);
                    let mut calls = lock(&self.janitor_calls);
                    if *calls == answered {
                        calls = wait_until(&self.janitor, calls, at).unwrap_or_else(|guard| guard);
                    }
                    answered = *calls;
                }
            }
        }
    }
}

/// Takes the threads out that have ended.
fn take_finished(threads: &mut Vec<JoinHandle<()>>) -> Vec<JoinHandle<()>> {
    let (finished, running) = std::mem::take(threads)
        .into_iter()
        .partition(JoinHandle::is_finished);
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
