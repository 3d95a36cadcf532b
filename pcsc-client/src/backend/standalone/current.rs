//! The manager that all contexts of a process share, one for each kind of readers.

use std::sync::{Arc, Mutex, Weak};

use pcsc_ccid::internals::lock;
use pcsc_manager::{Bus, ChangeCounter, Manager, Settings, StartError};

use crate::backend::daemon::Listeners;
use crate::env;
use pcsc_process::generation;

/// Which readers a manager has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderKind {
    /// Readers on the USB.
    Usb,
    /// Simulated readers.
    Simulated,
}

/// A manager with its place in the table. The last context to drop it gives the readers back.
pub struct Shared {
    manager: Arc<Manager>,
    daemons: Mutex<Listeners>,
    /// `None` for a manager that is in no table. Dropped after the manager.
    _listed: Option<Listed>,
}

/// Keeps the entry of a manager in the table.
struct Listed {
    place: &'static Mutex<Place>,
    end: Arc<ChangeCounter>,
}

/// The number of places for each kind of readers. Each generation uses another place, so that a forked child
/// does not wait for a lock that was held at the time of the fork.
const GENERATIONS: usize = 64;

/// A place in the table.
type Place = Option<Entry>;

struct Entry {
    generation: u32,
    shared: Weak<Shared>,
    end: Arc<ChangeCounter>,
}

static PLACES: [[Mutex<Place>; GENERATIONS]; 2] = [const { [const { Mutex::new(None) }; GENERATIONS] }; 2];

fn place(kind: ReaderKind, generation: u32) -> &'static Mutex<Place> {
    &PLACES[kind as usize][generation as usize % GENERATIONS]
}

impl Shared {
    /// A manager that is in no table.
    pub fn alone(manager: Arc<Manager>) -> Arc<Shared> {
        Arc::new(Shared {
            manager,
            daemons: Mutex::default(),
            _listed: None,
        })
    }

    /// The manager.
    pub fn manager(&self) -> &Arc<Manager> {
        &self.manager
    }

    /// What was at the daemons' sockets when this process began to drive the readers itself.
    pub fn daemons_then(&self) -> Listeners {
        *lock(&self.daemons)
    }

    /// Notes what is at the daemons' sockets, without being a daemon that listens.
    pub fn note_daemons(&self, listeners: Listeners) {
        *lock(&self.daemons) = listeners;
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        // Frees the entry, so that a library that is unloaded leaves no memory. A thread that holds the lock
        // is about to replace the entry.
        if let Ok(mut place) = self.place.try_lock() {
            place.take_if(|entry| Arc::ptr_eq(&entry.end, &self.end));
        }
    }
}

/// The manager of this process, if it has one.
pub fn current(kind: ReaderKind) -> Option<Arc<Shared>> {
    let generation = generation();
    match &*lock(place(kind, generation)) {
        Some(entry) if entry.generation == generation => entry
            .shared
            .upgrade()
            .filter(|shared| !shared.manager().is_over()),
        _ => None,
    }
}

/// The manager of this process, started on `bus` if there is none.
pub fn acquire(
    kind: ReaderKind,
    bus: impl FnOnce() -> Result<Arc<dyn Bus>, StartError>,
) -> Result<Arc<Shared>, StartError> {
    let generation = generation();
    let mutex = place(kind, generation);
    // Held until the manager is there: a second context of this process waits, and does not start one of its
    // own.
    let mut place = lock(mutex);
    if let Some(entry) = &*place {
        if entry.generation == generation {
            match entry.shared.upgrade() {
                Some(shared) if !shared.manager().is_over() => return Ok(shared),
                // The next manager opens the readers once the last one has closed them.
                _ => _ = entry.end.wait(0, None),
            }
        }
    }
    let manager = Arc::new(Manager::start(bus()?, settings())?);
    let end = manager.has_ended().clone();
    let shared = Arc::new(Shared {
        manager,
        daemons: Mutex::default(),
        _listed: Some(Listed {
            place: mutex,
            end: end.clone(),
        }),
    });
    *place = Some(Entry {
        generation,
        shared: Arc::downgrade(&shared),
        end,
    });
    Ok(shared)
}

/// How readers are named, by the environment.
pub fn settings() -> Settings {
    pcsc_manager::environment::settings(env::text)
}
