//! The drivers of a reader whose slots work in parallel: one for each slot.

use std::sync::{Condvar, Mutex};
use std::time::Instant;
use std::vec::Vec;

use super::sync::{lock, wait_until, TimedMutex, TimedMutexGuard};

/// One driver for each slot, and a limit on how many work at a time.
pub struct Parallel<R> {
    /// `None` once the reader is closed.
    slots: Vec<TimedMutex<Option<R>>>,
    /// How many more may begin to work.
    free: Mutex<usize>,
    freed: Condvar,
}

/// A slot's driver at work.
pub struct Working<'a, R> {
    /// `None` if the reader was closed meanwhile.
    pub reader: TimedMutexGuard<'a, Option<R>>,
    // Dropped after `reader`: a thread that gets the permit must not find the driver still locked.
    _permit: Permit<'a, R>,
}

struct Permit<'a, R>(&'a Parallel<R>);

impl<R> Drop for Permit<'_, R> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.freed.notify_one();
    }
}

impl<R> Parallel<R> {
    /// One driver at least, of which `busy` may work at a time (`bMaxCCIDBusySlots`).
    pub fn new(readers: Vec<R>, busy: usize) -> Parallel<R> {
        let slots = readers.into_iter().map(|reader| TimedMutex::new(Some(reader)));
        Parallel {
            slots: slots.collect(),
            free: Mutex::new(busy),
            freed: Condvar::new(),
        }
    }

    /// Locks a slot's driver. A slot number without a driver goes to the first driver, which refuses it.
    /// Returns `None` if the deadline has passed before.
    pub fn lock(&self, slot: u8, deadline: Option<Instant>) -> Option<Working<'_, R>> {
        let slot = self.slots.get(usize::from(slot)).unwrap_or(&self.slots[0]);
        // The driver before the permit: a thread that waits for its slot must not keep another slot from
        // working.
        let reader = slot.lock_until(deadline)?;
        let mut free = lock(&self.free);
        while *free == 0 {
            free = wait_until(&self.freed, free, deadline).ok()?;
        }
        *free -= 1;
        Some(Working {
            reader,
            _permit: Permit(self),
        })
    }

    /// Closes all drivers, each when its command has ended.
    pub fn close(&self) {
        self.slots.iter().for_each(|slot| *slot.lock() = None);
    }
}
