//! One module for each command.

pub mod apdu;
pub mod atr;
pub mod bench;
mod child;
pub mod doctor;
pub mod features;
pub mod generated;
mod library;
pub mod list;
mod offer;
pub mod play;
pub mod record;
pub mod replay;
pub mod share;
pub mod spy;
pub mod watch;
pub mod with;
