//! The ways from a program to a card, behind one face: a check that runs over two of them compares them.

mod appear;
mod daemon;
mod driver;

pub use appear::{appear, appear_within, gone, reader};
pub use daemon::{Daemon, Stock};
pub use driver::{Bus, Driver};

use crate::tries::Tries;
use crate::Result;

/// A system that may have a driver for a reader.
pub trait Host: Sync {
    /// Whether it has a driver for devices with these numbers.
    fn knows(&self, vendor: u16, product: u16) -> Result<bool>;

    /// The readers whose names contain these have been plugged in.
    fn begin(&mut self, names: &[&str]) -> Result<()>;

    /// How often a card is tried that the driver gives up.
    fn tries(&self) -> Tries;

    /// Waits for a reader whose name contains `name`, with a card in its first slot, and connects to it.
    fn connect(&self, name: &str) -> Result<Box<dyn Path>>;

    /// Waits until the system reports that the card of the first slot has been taken out.
    fn card_removed(&self, name: &str) -> Result<()>;

    /// The readers will be unplugged.
    fn end(&mut self);
}

/// A way to the card in a reader.
pub trait Path {
    /// The reader's name.
    fn reader(&self) -> String;

    /// The card's answer to reset.
    fn atr(&mut self) -> Result<Vec<u8>>;

    /// The protocol in use: its number.
    fn protocol(&self) -> Option<u8>;

    /// The card's response to a command APDU, status word included.
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>>;

    /// Resets the card, warm.
    fn reset(&mut self) -> Result<()>;
}
