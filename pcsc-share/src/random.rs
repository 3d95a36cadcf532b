//! Numbers that a client cannot guess.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A number from 1 to 2^31 - 1, from the system's random keys of the hash maps.
pub fn number() -> i32 {
    loop {
        let random = RandomState::new().build_hasher().finish();
        let number = (random as u32 & i32::MAX as u32) as i32;
        if number != 0 {
            return number;
        }
    }
}
