//! What the integration tests of all crates share.
//!
//! - [`Pcscd`]: Debian's pcscd, private to the test, with readers that the test controls
//! - [`Simulation`]: the same readers without pcscd
//! - [`atr`]: cards to insert
//! - [`artifacts`]: the libraries and programs of this workspace, [`stock`]: Debian's library
//! - [`run`]: a command with a deadline
//!
//! Everything here panics with an explanation when the machine cannot do what a test needs: a test never passes by doing nothing.

#![forbid(unsafe_code)]

pub mod artifacts;
pub mod atr;
mod daemon;
mod reader;
pub mod relay;
mod run;
pub mod scripted;
mod simulation;
pub mod stock;

pub use daemon::{Pcscd, FRIENDLY_NAME};
pub use pcsc_test_ifd::{abi, card, Counts};
pub use reader::Reader;
pub use run::{run, Output};
pub use simulation::Simulation;
