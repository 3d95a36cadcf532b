//! Where readers come from.

use std::sync::Mutex;

use crate::slot::FoundReader;
use crate::sync::{lock, ChangeCounter};

/// A source of readers, such as the USB or a simulation.
pub trait Bus: Send + Sync {
    /// The readers that are there when the manager starts. Finds them and opens none.
    fn initial(&self) -> Vec<FoundReader>;
    /// Blocks until a reader comes; `None` once [`Bus::stop`] was called. The watches of its slots report
    /// that a reader goes.
    fn wait(&self) -> Option<FoundReader>;
    /// Ends the wait in progress and every later one.
    fn stop(&self);
}

/// A bus whose readers are all there from the beginning.
pub struct FixedBus {
    readers: Mutex<Vec<FoundReader>>,
    /// Moves when the bus is stopped.
    end: ChangeCounter,
}

impl FixedBus {
    /// A bus with these readers.
    pub fn new(readers: Vec<FoundReader>) -> FixedBus {
        FixedBus {
            readers: Mutex::new(readers),
            end: ChangeCounter::default(),
        }
    }
}

impl Bus for FixedBus {
    fn initial(&self) -> Vec<FoundReader> {
        std::mem::take(&mut *lock(&self.readers))
    }

    fn wait(&self) -> Option<FoundReader> {
        self.end.wait(0, None);
        None
    }

    fn stop(&self) {
        self.end.post();
    }
}
