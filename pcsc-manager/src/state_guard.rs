//! The lock of a slot's state, which counts changes.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::MutexGuard;

use crate::slot_state::SlotState;

/// A locked state. The count of changes moves before the change, while the state is locked: a thread that
/// reads the count first and the state then cannot get an old state with the new count.
pub struct StateGuard<'a> {
    state: MutexGuard<'a, SlotState>,
    changes: &'a AtomicU64,
}

impl<'a> StateGuard<'a> {
    /// The state that `state` has locked, whose changes are counted in `changes`.
    pub fn new(state: MutexGuard<'a, SlotState>, changes: &'a AtomicU64) -> StateGuard<'a> {
        StateGuard { state, changes }
    }
}

impl Deref for StateGuard<'_> {
    type Target = SlotState;

    fn deref(&self) -> &SlotState {
        &self.state
    }
}

impl DerefMut for StateGuard<'_> {
    /// Counts a change. Whether the caller makes one is not known.
    fn deref_mut(&mut self) -> &mut SlotState {
        self.changes.fetch_add(1, Ordering::SeqCst);
        &mut self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::lock;
    use std::sync::Mutex;

    #[test]
    fn a_change_is_counted_and_a_look_is_not() {
        let (state, changes) = (Mutex::new(SlotState::new()), AtomicU64::new(0));
        let mut guard = StateGuard::new(lock(&state), &changes);
        assert!(!guard.has_power);
        assert_eq!(changes.load(Ordering::SeqCst), 0);
        guard.has_power = true;
        assert_eq!(changes.load(Ordering::SeqCst), 1);
    }
}
