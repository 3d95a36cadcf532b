//! The ways from a program to a card, behind one face: a check that runs over two of them compares them.

mod daemon;
mod driver;

pub use daemon::{reader, wait, Daemon};
pub use driver::Driver;

use crate::Result;

/// A way to the card in a reader.
pub trait Path {
    /// The reader's name.
    fn reader(&self) -> String;

    /// The card's answer to reset.
    fn atr(&mut self) -> Result<Vec<u8>>;

    /// The card's response to a command APDU, status word included.
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>>;

    /// Resets the card, warm.
    fn reset(&mut self) -> Result<()>;
}
