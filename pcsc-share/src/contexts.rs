//! The numbers of contexts, by which another connection cancels a wait.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::random;
use crate::sync::lock;

/// Which client has which context.
#[derive(Default)]
pub struct Contexts(Mutex<HashMap<u32, u64>>);

impl Contexts {
    /// Gives a client a context. The number cannot be guessed, since every client may cancel by it.
    pub fn add(&self, client: u64) -> u32 {
        let mut contexts = lock(&self.0);
        loop {
            let number = random::number();
            // 0 is no context to clients.
            if number != 0 && !contexts.contains_key(&number) {
                contexts.insert(number, client);
                return number;
            }
        }
    }

    /// The client that has a context.
    pub fn client(&self, context: u32) -> Option<u64> {
        lock(&self.0).get(&context).copied()
    }

    /// Ends a context.
    pub fn remove(&self, context: u32) {
        lock(&self.0).remove(&context);
    }
}
