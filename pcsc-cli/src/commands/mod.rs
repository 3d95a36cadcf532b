//! One module for each command.

pub mod apdu;
pub mod list;
