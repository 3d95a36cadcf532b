//! The counter that threads sleep on, and helpers for locks.

pub use pcsc_ccid::internals::{lock, wait_until, TimedMutex, TimedMutexGuard};
pub use pcsc_process::wait::ChangeCounter;
