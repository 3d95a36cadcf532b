//! The state that the connections of a scripted daemon share.

use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::script::{Reader, Script};

/// The readers, and who waits for a change of them.
pub(super) struct World {
    pub(super) readers: Vec<Reader>,
    pub(super) events: u32,
    /// Connections that wait for an event.
    pub(super) waiting: Vec<Arc<Mutex<Out>>>,
}

/// The sending end of a connection.
pub(super) struct Out {
    pub(super) stream: UnixStream,
    /// Whether the client waits for an event.
    pub(super) waits: bool,
}

pub(super) struct Shared {
    pub(super) script: Script,
    pub(super) world: Mutex<World>,
    pub(super) connections: AtomicUsize,
    pub(super) rounds: AtomicUsize,
    pub(super) violations: AtomicUsize,
    pub(super) open: Mutex<Vec<UnixStream>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
