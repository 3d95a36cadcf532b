//! What a wait for card events keeps open.

use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::error::CallError;
use crate::interest::Interest;
use crate::reader::{IsCancelled, ManagedReader};

/// A reader that is kept open.
type KeptOpen = Interest<Arc<ManagedReader>>;

/// The readers that a wait for card events keeps open.
pub struct Watching<'a> {
    /// In the order of the readers' names.
    interests: Vec<(&'a [u8], Option<KeptOpen>)>,
}

impl<'a> Watching<'a> {
    /// Keeps none open before the first [`Watching::refresh`].
    pub(crate) fn new(names: impl IntoIterator<Item = &'a [u8]>) -> Watching<'a> {
        // Sorted for the binary search of `refresh`, which keeps the cost linear in the readers. `sort` of
        // the standard library brings several kilobytes of code.
        let mut names = BinaryHeap::from_iter(names).into_sorted_vec();
        names.dedup();
        Watching {
            interests: names.into_iter().map(|name| (name, None)).collect(),
        }
    }

    /// Includes readers that came since: one with a name that is waited for may have been unplugged and
    /// plugged in again. A wait calls this after it has read the count of changes and before it looks at the
    /// readers. `readers` are those of the manager.
    pub fn refresh(&mut self, readers: &[Arc<ManagedReader>]) {
        // A wait for readers alone watches no card. It must not pay for a look at all readers.
        if self.interests.is_empty() {
            return;
        }
        for reader in readers {
            let name = reader.name().as_bytes();
            let Ok(place) = self.interests.binary_search_by_key(&name, |(name, _)| *name) else {
                continue;
            };
            let interest = &mut self.interests[place].1;
            // By identity and not by name: a reader that was plugged in again is another one under the same
            // name, and the old one's device does not open any more.
            let is_new = |held: &KeptOpen| !std::ptr::eq(held.reader(), &**reader);
            if interest.as_ref().is_none_or(is_new) {
                *interest = Some(Interest::new(reader.clone()));
            }
        }
    }

    /// Waits until each reader is open and was polled.
    ///
    /// # Errors
    /// [`CallError::InvalidHandle`] where `is_cancelled` says so.
    pub fn wait_until_open(&self, is_cancelled: IsCancelled<'_>) -> Result<(), CallError> {
        for interest in self.interests.iter().flat_map(|(_, interest)| interest) {
            interest.reader().wait_until_open(None, is_cancelled)?;
        }
        Ok(())
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        let mut first = None;
        for interest in self.interests.iter_mut().flat_map(|(_, interest)| interest) {
            let Some(due) = interest.end() else { continue };
            if first.as_ref().is_none_or(|(at, _)| due < *at) {
                first = Some((due, interest.reader().wakers().schedule.clone()));
            }
        }
        // Once for all: each time the thread looks at all readers.
        if let Some((due, schedule)) = first {
            schedule.plan(Some(due));
        }
    }
}
