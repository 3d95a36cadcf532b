//! Where readers come from.

use crate::slot::FoundReader;

/// A source of readers, such as the USB or a simulation.
pub trait Bus: Send + Sync {
    /// The readers that are there when the manager starts. Finds them and opens none.
    fn initial(&self) -> Vec<FoundReader>;
    /// Blocks until a reader comes, or until [`Bus::stop`] was called. The watches of its slots report that a
    /// reader goes.
    fn wait(&self) -> BusEvent;
    /// Ends the wait in progress and every later one.
    fn stop(&self);
}

/// What happened on a bus.
pub enum BusEvent {
    /// A reader came.
    Added(FoundReader),
    /// The bus was stopped.
    Stopped,
}
