//! The clients that wait for an event.
//!
//! A client is registered from WAIT until its event is sent or STOP_WAITING removes it. The event is sent
//! under the lock: if a client is not registered, its event has been sent before anything that is sent to it
//! later. A client that has sent STOP_WAITING relies on this order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::outgoing::Outgoing;
use crate::sync::lock;

/// The clients that wait for an event, by their numbers.
#[derive(Default)]
pub struct Waiters(Mutex<HashMap<u64, Arc<Outgoing>>>);

impl Waiters {
    /// Registers a client for the next event.
    pub fn add(&self, client: u64, outgoing: &Arc<Outgoing>) {
        lock(&self.0).insert(client, outgoing.clone());
    }

    /// Removes a client. Returns whether it was registered: if not, its event has been sent.
    pub fn remove(&self, client: u64) -> bool {
        lock(&self.0).remove(&client).is_some()
    }

    /// Ends a client's wait with an event that has this return code, if it waits.
    pub fn end(&self, client: u64, rv: u32) {
        let mut waiting = lock(&self.0);
        if let Some(outgoing) = waiting.remove(&client) {
            outgoing.event(rv);
        }
    }

    /// Sends the event to all clients that wait.
    pub fn signal(&self) {
        // Held while all are sent, see above. No send waits for its client.
        let mut waiting = lock(&self.0);
        for (_, outgoing) in waiting.drain() {
            outgoing.event(pcsc_constants::SCARD_S_SUCCESS);
        }
    }
}
