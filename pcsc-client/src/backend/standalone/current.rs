//! The manager that all contexts of a process share, one for each kind of readers.

use std::sync::{Arc, Mutex, Weak};

use pcsc_ccid::internals::lock;
use pcsc_manager::{Bus, ChangeCounter, Manager, Settings, StartError};

use crate::backend::daemon::Listeners;
use crate::env;
use pcsc_process::generation;

/// The manager of a process and those that its parents had. Each generation uses another place, so that a
/// forked child does not wait for a lock that was held at the time of the fork.
// Boxed: a `None` is all zeros then, so that the tables take no room in the library's file.
pub struct Current([Mutex<Option<Box<Entry>>>; GENERATIONS]);

// A process shares its place only with descendants that are a multiple of 64 forks away.
const GENERATIONS: usize = 64;

/// The manager of the readers on the USB.
pub static USB: Current = Current::NONE;
/// That of the simulated readers.
#[cfg(feature = "sim")]
pub static SIMULATED: Current = Current::NONE;

struct Entry {
    generation: u32,
    /// Its contexts hold it. The last one to drop it gives the readers back.
    manager: Weak<Manager>,
    end: Arc<ChangeCounter>,
    /// The files at the daemons' sockets when this manager was started. No daemon listened there.
    daemons: Listeners,
}

impl Current {
    #[allow(clippy::declare_interior_mutable_const, reason = "for the statics above")]
    const NONE: Current = Current([const { Mutex::new(None) }; GENERATIONS]);

    /// The manager of this process, if it has one, and what was at the daemons' sockets when it began to
    /// drive the readers itself.
    pub fn get(&self) -> Option<(Arc<Manager>, Listeners)> {
        let generation = generation();
        let place = lock(self.place(generation));
        let entry = place.as_ref().filter(|entry| entry.generation == generation)?;
        let manager = entry.manager.upgrade().filter(|manager| !manager.is_over())?;
        Some((manager, entry.daemons))
    }

    /// The manager of this process, started on `bus` if there is none. `daemons` is what is at the daemons'
    /// sockets, without being a daemon that listens.
    pub fn acquire(
        &self,
        daemons: Listeners,
        bus: impl FnOnce() -> Result<Arc<dyn Bus>, StartError>,
    ) -> Result<Arc<Manager>, StartError> {
        let generation = generation();
        // Held until the manager is there: a second context of this process waits, and does not start one of
        // its own.
        let mut place = lock(self.place(generation));
        if let Some(entry) = place.as_ref().filter(|entry| entry.generation == generation) {
            match entry.manager.upgrade() {
                Some(manager) if !manager.is_over() => return Ok(manager),
                // The next manager opens the readers once the last one has closed them. The thread that ends
                // that one does not take this lock.
                _ => _ = entry.end.wait(0, None),
            }
        }
        let manager = Arc::new(Manager::start(bus()?, settings())?);
        *place = Some(Box::new(Entry {
            generation,
            manager: Arc::downgrade(&manager),
            end: manager.has_ended().clone(),
            daemons,
        }));
        Ok(manager)
    }

    fn place(&self, generation: u32) -> &Mutex<Option<Box<Entry>>> {
        &self.0[generation as usize % GENERATIONS]
    }
}

/// How readers are named, by the environment.
pub fn settings() -> Settings {
    pcsc_manager::environment::settings(env::text)
}
