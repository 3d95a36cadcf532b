//! The manager that all contexts of a process share, one for each kind of readers.

use std::sync::{Arc, Mutex, Weak};

use super::board::lock;
use super::manager::{Bus, End, Manager};
use crate::process;

/// A kind of readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Those on the USB.
    Usb,
    /// Simulated ones.
    Simulated,
}

/// One place for each generation, so that a forked child never waits for a lock that was held at the
/// moment of the fork.
const GENERATIONS: usize = 64;

#[derive(Default)]
struct Place(Option<(u32, Weak<Manager>, Arc<End>)>);

static PLACES: [[Mutex<Place>; GENERATIONS]; 2] =
    [const { [const { Mutex::new(Place(None)) }; GENERATIONS] }; 2];

fn place(kind: Kind, generation: u32) -> &'static Mutex<Place> {
    &PLACES[kind as usize][generation as usize % GENERATIONS]
}

/// The manager of this process, if it has one.
pub fn current(kind: Kind) -> Option<Arc<Manager>> {
    let generation = process::generation();
    match &lock(place(kind, generation)).0 {
        Some((its, manager, _)) if *its == generation => {
            manager.upgrade().filter(|manager| !manager.is_over())
        }
        _ => None,
    }
}

/// The manager of this process, started if it has none; `bus` says where the readers are.
pub fn acquire<E>(kind: Kind, bus: impl FnOnce() -> Result<Arc<dyn Bus>, E>) -> Result<Arc<Manager>, E> {
    let generation = process::generation();
    let mut place = lock(place(kind, generation));
    if let Some((its, manager, end)) = &place.0 {
        if *its == generation {
            match manager.upgrade() {
                Some(manager) if !manager.is_over() => return Ok(manager),
                // It is giving its readers back, which the next one wants to have.
                _ => end.wait(),
            }
        }
    }
    let manager = Arc::new(Manager::start(bus()?));
    place.0 = Some((
        generation,
        Arc::downgrade(&manager),
        manager.moment_of_end().clone(),
    ));
    Ok(manager)
}

/// Forgets a manager that has ended, so that nothing of it is left in a library that is unloaded.
pub fn forget(end: &Arc<End>) {
    let generation = process::generation();
    for kind in [Kind::Usb, Kind::Simulated] {
        // Whoever has the lock is about to replace it.
        if let Ok(mut place) = place(kind, generation).try_lock() {
            if place.0.as_ref().is_some_and(|(_, _, its)| Arc::ptr_eq(its, end)) {
                place.0 = None;
            }
        }
    }
}
