//! What the clients of a server share. Each lock is held for a few instructions, and no other one under it,
//! but for that of the waiters: events are sent under it, without waiting.

use std::sync::atomic::{AtomicU32, Ordering};

use pcsc_process::Yields;

use crate::buffers::Buffers;
use crate::contexts::Contexts;
use crate::limits::Limits;
use crate::readers::Readers;
use crate::waiters::Waiters;

/// What the clients of a server share.
pub struct Shared {
    pub readers: Readers,
    pub waiters: Waiters,
    pub contexts: Contexts,
    pub buffers: Buffers,
    pub limits: Limits,
    pub yields: Yields,
    /// The last number of a connection.
    pub last_card: AtomicU32,
}

impl Shared {
    /// A number for a connection. No two clients have the same, until 2^31 connections were made: a
    /// libpcsclite finds the context of a connection by its number.
    pub fn new_card(&self) -> i32 {
        loop {
            // `Relaxed`: each caller gets a number of its own, and nothing is passed on with it.
            let number = self.last_card.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX as u32;
            if number != 0 {
                return number as i32;
            }
        }
    }
}
