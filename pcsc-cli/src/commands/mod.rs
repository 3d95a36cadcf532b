//! One module for each command.

pub mod apdu;
pub mod atr;
pub mod list;
pub mod watch;
