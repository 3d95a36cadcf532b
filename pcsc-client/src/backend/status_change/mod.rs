//! `SCardGetStatusChange`: `watched` compares one reader with the state that the caller knows, `look`
//! compares all readers, and `wait` repeats that until a state differs.

mod look;
#[cfg(test)]
mod tests;
mod wait;
mod watched;

pub use look::{Comparison, StatusChange};
pub use wait::{wait_for_change, Readers};
pub use watched::{Watched, PNP_NAME};
