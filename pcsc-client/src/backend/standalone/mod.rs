//! No daemon: a resource manager in this process.
//!
//! `slot` says what a reader's driver offers, `card_state` who uses a card and how, `state` what is known of a slot, and
//! `reader` joins them. `calls` has connections and their transactions, `exchange` what goes to card and reader, and
//! `power` what both need of a card. `manager` finds and watches the readers, `current` is the manager that a process has,
//! and `session` is a context's view of it.
//!
//! `ccid` makes slots of `pcsc-ccid`'s readers and `watches` listens to them, those of `usb` and those of
//! `simulated`; `remote` has readers that another program plays.

mod board;
mod calls;
mod card_state;
mod ccid;
mod current;
mod exchange;
mod limit;
mod manager;
mod power;
mod reader;
mod remote;
mod session;
mod simulated;
mod slot;
mod state;
#[cfg(test)]
mod tests;
mod turns;
mod usb;
mod watches;

pub use current::{current, Kind};
pub use manager::{Bus, BusEvent, Manager};
pub use session::Session;
pub use simulated::{Simulated, SimulatedBus};

pub use slot::{Fault, Found, Powered, Presence, Sight, Slot, Watch};
