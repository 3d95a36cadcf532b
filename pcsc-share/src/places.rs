//! The places for clients: a limit for all, and a share of it for each owner.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use pcsc_process::wait::ChangeCounter;
use pcsc_process::Waker;

use crate::sync::lock;

/// Places for clients. `K` identifies an owner.
pub struct Places<K> {
    count: AtomicUsize,
    /// How many each owner has.
    owners: Mutex<HashMap<K, usize>>,
    /// Moves when a place is free again.
    pub ended: ChangeCounter,
    /// Ends a poll when no place is taken any more.
    pub waker: Waker,
}

impl<K: Eq + Hash + Clone> Places<K> {
    pub fn new() -> io::Result<Arc<Places<K>>> {
        Ok(Arc::new(Places {
            count: AtomicUsize::new(0),
            owners: Mutex::default(),
            ended: ChangeCounter::default(),
            waker: Waker::new()?,
        }))
    }

    /// How many are taken.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Takes a place, unless `limit` are taken, or `share` by this owner.
    pub fn take(self: &Arc<Places<K>>, owner: &K, limit: usize, share: usize) -> Option<Place<K>> {
        let mut owners = lock(&self.owners);
        let own = owners.get(owner).copied().unwrap_or(0);
        if self.count() >= limit || own >= share {
            return None;
        }
        owners.insert(owner.clone(), own + 1);
        self.count.fetch_add(1, Ordering::SeqCst);
        Some(Place {
            places: self.clone(),
            owner: owner.clone(),
        })
    }

    /// Waits until no place is taken; false if the deadline passes before.
    pub fn wait_until_empty(&self, deadline: Instant) -> bool {
        loop {
            let seen = self.ended.changes();
            if self.count() == 0 {
                return true;
            }
            if !self.ended.wait(seen, Some(deadline)) {
                return false;
            }
        }
    }
}

/// How many of the places one owner gets, other than the server's user and root.
pub fn share_of(limit: usize) -> usize {
    limit.div_ceil(4)
}

/// A place that is taken, while it lives.
pub struct Place<K: Eq + Hash> {
    places: Arc<Places<K>>,
    owner: K,
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut owners = lock(&self.places.owners);
        if let Some(own) = owners.get_mut(&self.owner) {
            *own -= 1;
            if *own == 0 {
                owners.remove(&self.owner);
            }
        }
        drop(owners);
        // The owner's share first: a client that finds a place free must not be refused for a share that is
        // no longer taken.
        if self.places.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.places.waker.wake();
        }
        self.places.ended.post();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_gets_a_share_of_the_places() {
        let places = Places::new().unwrap();
        let mut taken: Vec<Place<u32>> = (0..2).filter_map(|_| places.take(&7, 4, 2)).collect();
        assert!(places.take(&7, 4, 2).is_none());
        taken.extend(places.take(&0, 4, 4));
        taken.extend(places.take(&8, 4, 2));
        assert_eq!(taken.len(), 4);
        assert!(places.take(&0, 4, 4).is_none(), "all places are taken");
        taken.remove(0);
        assert!(places.take(&7, 4, 2).is_some());
        assert!(!places.wait_until_empty(Instant::now()));
        drop(taken);
        assert!(places.wait_until_empty(Instant::now()));
        assert!(lock(&places.owners).is_empty());
    }
}
