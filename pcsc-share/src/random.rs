//! Numbers that a client cannot guess.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A number below 2^31, from the system's random keys of the hash maps.
pub fn number() -> u32 {
    RandomState::new().build_hasher().finish() as u32 & i32::MAX as u32
}
