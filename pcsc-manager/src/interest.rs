//! What keeps a device open.

use std::ops::Deref;
use std::time::Instant;

use crate::reader::ManagedReader;
use crate::slot_state::Access;

/// Keeps a reader's device open and its card watched while it lives.
pub struct Interest<R: Deref<Target = ManagedReader>> {
    reader: R,
    is_over: bool,
}

impl<R: Deref<Target = ManagedReader>> Interest<R> {
    /// Begins to need a reader. If its device is not open, its thread opens it and polls the slot.
    pub fn new(reader: R) -> Interest<R> {
        let is_closed = {
            let mut state = reader.state();
            state.interests += 1;
            // With the interest, under one lock: the thread that gives back looks at both.
            state.due.give_back = None;
            state.access == Access::Closed
        };
        if is_closed {
            // Without the lock. The reader's thread opens the device and not this one, so that the caller can
            // have a deadline.
            reader.wake_watch();
        }
        Interest {
            reader,
            is_over: false,
        }
    }

    /// The reader.
    pub fn reader(&self) -> &ManagedReader {
        &self.reader
    }

    /// Ends it. Returns when something is due for the reader, which the caller plans: for many readers, once
    /// is enough.
    pub(crate) fn end(&mut self) -> Option<Instant> {
        // `Watching` ends its interests itself, before they are dropped.
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        let mut state = self.reader.state();
        state.interests -= 1;
        state.plan_to_give_back();
        state.due.first()
    }
}

impl<R: Deref<Target = ManagedReader>> Drop for Interest<R> {
    fn drop(&mut self) {
        let due = self.end();
        self.reader.wakers().schedule.plan(due);
    }
}
