//! The counter that threads sleep on, and helpers for locks.

pub use pcsc_ccid::internals::{lock, TimedMutex, TimedMutexGuard};
pub use pcsc_process::wait::ChangeCounter;
