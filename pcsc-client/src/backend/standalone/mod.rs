//! No daemon: a resource manager in this process.
//!
//! `slot` says what a reader's driver offers, `card_state` who uses a card and how, `reader` joins the
//! two, `manager` finds and watches the readers, and `session` is a context's view of them. `simulated` is
//! a reader that is always there.

mod board;
mod card_state;
mod manager;
mod reader;
mod session;
mod simulated;
mod slot;
#[cfg(test)]
mod tests;

pub use manager::{Bus, BusEvent};
pub use session::Session;
pub use simulated::SimulatedBus;
pub use slot::{Fault, Found, Powered, Sight, Slot, Watch};
