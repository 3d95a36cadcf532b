//! Faults of a simulated reader's cards that a test switches on and off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::Duration;

use pcsc_ccid::internals::lock;

/// The switches of all cards of a reader.
#[derive(Debug, Default)]
pub struct Switches {
    is_mute: AtomicBool,
    fails: AtomicBool,
    owed: Mutex<Duration>,
}

impl Switches {
    /// Whether a card does not answer a reset.
    pub fn is_mute(&self) -> bool {
        self.is_mute.load(Ordering::Relaxed)
    }

    /// Whether a card does not answer commands.
    pub fn fails(&self) -> bool {
        self.fails.load(Ordering::Relaxed)
    }

    /// Sets [`Switches::is_mute`].
    pub fn set_mute(&self, is_mute: bool) {
        self.is_mute.store(is_mute, Ordering::Relaxed);
    }

    /// Sets [`Switches::fails`].
    pub fn set_fails(&self, fails: bool) {
        self.fails.store(fails, Ordering::Relaxed);
    }

    /// Delays the answer that the card has just given by `time`, in real time.
    pub fn owe(&self, time: Duration) {
        *lock(&self.owed) += time;
    }

    /// Takes the delay.
    pub fn take_owed(&self) -> Duration {
        std::mem::take(&mut lock(&self.owed))
    }
}
