//! The readers of the process: found, watched, and given up when the last context ends.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use super::board::{lock, wait_until, Board};
use super::reader::Reader;
use super::slot::{Found, Sight, Watch};
use crate::process;

/// Where readers come from: the USB, or a simulation.
pub trait Bus: Send + Sync {
    /// The readers that are there when the manager starts.
    fn initial(&self) -> Vec<Found>;
    /// Blocks until readers come or go, or until [`Bus::stop`] was called.
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

/// All readers, and the threads that watch them.
pub struct Manager {
    shared: Arc<Shared>,
    bus: Arc<dyn Bus>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads share with the manager.
struct Shared {
    board: Arc<Board>,
    readers: Mutex<Vec<Watched>>,
    /// How many readers came and went; never 0, as pcscd counts.
    events: AtomicU32,
    is_over: AtomicBool,
    /// Signalled when a reader's time of power down may have changed.
    janitor: Condvar,
    janitor_lock: Mutex<()>,
}

struct Watched {
    reader: Arc<Reader>,
    watch: Arc<dyn Watch>,
    thread: Option<JoinHandle<()>>,
}

impl Manager {
    /// The manager of this process, started if there is none; `bus` says where the readers are.
    pub fn acquire(bus: impl FnOnce() -> Arc<dyn Bus>) -> Arc<Manager> {
        /// One place for each generation, so that a forked child never waits for a lock that was held at
        /// the moment of the fork.
        static CURRENT: [Mutex<(u32, Weak<Manager>)>; 64] = [const { Mutex::new((0, Weak::new())) }; 64];
        let generation = process::generation();
        let mut current = lock(&CURRENT[generation as usize % CURRENT.len()]);
        if current.0 == generation {
            if let Some(manager) = current.1.upgrade() {
                return manager;
            }
        }
        let manager = Arc::new(Manager::start(bus()));
        *current = (generation, Arc::downgrade(&manager));
        manager
    }

    /// Starts to manage the readers of a bus.
    pub fn start(bus: Arc<dyn Bus>) -> Manager {
        let shared = Arc::new(Shared {
            board: Arc::new(Board::default()),
            readers: Mutex::default(),
            events: AtomicU32::new(1),
            is_over: AtomicBool::new(false),
            janitor: Condvar::new(),
            janitor_lock: Mutex::default(),
        });
        for found in bus.initial() {
            shared.add(found);
        }
        let (for_bus, for_janitor, the_bus) = (shared.clone(), shared.clone(), bus.clone());
        let threads = vec![
            std::thread::spawn(move || {
                while let BusEvent::Added(found) = the_bus.wait() {
                    for_bus.add(found);
                }
            }),
            std::thread::spawn(move || for_janitor.power_down_idle_cards()),
        ];
        Manager { shared, bus, threads }
    }

    /// Where changes are posted.
    pub fn board(&self) -> &Board {
        &self.shared.board
    }

    /// The readers, in the order in which they came.
    pub fn readers(&self) -> Vec<Arc<Reader>> {
        lock(&self.shared.readers)
            .iter()
            .map(|watched| watched.reader.clone())
            .collect()
    }

    /// The reader of this name.
    pub fn find(&self, name: &[u8]) -> Option<Arc<Reader>> {
        let readers = lock(&self.shared.readers);
        readers
            .iter()
            .map(|watched| &watched.reader)
            .find(|reader| reader.name.as_bytes() == name)
            .cloned()
    }

    /// How many readers came and went.
    pub fn events(&self) -> u32 {
        self.shared.events.load(Ordering::SeqCst)
    }

    /// Tells the power-down thread that a card may have become idle.
    pub fn wake_janitor(&self) {
        let _lock = lock(&self.shared.janitor_lock);
        self.shared.janitor.notify_all();
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.bus.stop();
        self.wake_janitor();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        // No reader comes any more.
        for mut watched in std::mem::take(&mut *lock(&self.shared.readers)) {
            watched.watch.stop();
            if let Some(thread) = watched.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    fn add(self: &Arc<Shared>, found: Found) {
        let Found { name, slot, watch } = found;
        log::info!("reader {name:?} is there");
        let reader = Arc::new(Reader::new(name, slot, self.board.clone()));
        let (shared, its_reader, its_watch) = (Arc::downgrade(self), reader.clone(), watch.clone());
        let thread = std::thread::spawn(move || {
            while its_watch.wait() == Sight::Card {
                its_reader.look();
                if let Some(shared) = shared.upgrade() {
                    let _lock = lock(&shared.janitor_lock);
                    shared.janitor.notify_all();
                }
            }
            if let Some(shared) = shared.upgrade() {
                shared.remove(&its_reader);
            }
        });
        lock(&self.readers).push(Watched {
            reader,
            watch,
            thread: Some(thread),
        });
        self.count_event();
    }

    /// Forgets a reader that is gone. Called by its own thread, which nobody joins then.
    fn remove(&self, reader: &Arc<Reader>) {
        if self.is_over.load(Ordering::SeqCst) {
            return;
        }
        log::info!("reader {:?} is gone", reader.name);
        reader.on_gone();
        lock(&self.readers).retain(|watched| !Arc::ptr_eq(&watched.reader, reader));
        self.count_event();
    }

    fn count_event(&self) {
        self.events.fetch_add(1, Ordering::SeqCst);
        self.board.post();
    }

    /// Sleeps until the next card is to lose its power; for ever where none is.
    fn power_down_idle_cards(&self) {
        let mut guard = lock(&self.janitor_lock);
        while !self.is_over.load(Ordering::SeqCst) {
            let readers: Vec<_> = lock(&self.readers)
                .iter()
                .map(|watched| watched.reader.clone())
                .collect();
            let next = readers
                .iter()
                .filter_map(|reader| Some((reader.power_down_at()?, reader)))
                .min_by_key(|due| due.0);
            match next {
                Some((at, reader)) if at <= Instant::now() => {
                    drop(guard);
                    reader.power_down_if_due();
                    guard = lock(&self.janitor_lock);
                }
                next => {
                    let at = next.map(|(at, _)| at);
                    guard = match wait_until(&self.janitor, guard, at) {
                        Ok(guard) | Err(guard) => guard,
                    };
                }
            }
        }
    }
}
