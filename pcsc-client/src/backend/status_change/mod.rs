//! `SCardGetStatusChange`: `watched` says what is reported of a reader, `look` compares all readers with what
//! the caller knows, and `wait` repeats that until there is something to report.

mod look;
#[cfg(test)]
mod tests;
mod wait;
mod watched;

pub use look::{Comparison, StatusChange};
pub use wait::{wait_for_change, Readers};
pub use watched::{Watched, PNP_NAME};
