//! A PC/SC resource manager as a library (PC/SC part 5): it finds readers, watches their cards, shares them between
//! connections and orders transactions, in the process that uses it. The rules are pcscd's.
//!
//! `slot` says what a reader's driver offers, `card_state` who uses a card and how, `state` what is known of a slot, and
//! `reader` joins them. `calls` has connections and their transactions, `exchange` what goes to card and reader, and
//! `power` what both need of a card. `manager` finds and watches the readers.
//!
//! `ccid` makes slots of `pcsc-ccid`'s readers and `watches` listens to them, those of `usb` and those of
//! `simulated`; `remote` has readers that another program plays.

mod board;
mod calls;
mod card_state;
mod ccid;
mod error;
mod exchange;
mod limit;
mod manager;
mod power;
mod reader;
mod remote;
mod simulated;
mod slot;
mod state;
mod thread;
mod turns;
mod usb;
mod watches;

pub use board::Board;
pub use calls::{check_disposition, check_terms};
pub use card_state::Handle;
pub use error::{CallError, StartError};
pub use manager::{Bus, BusEvent, End, Manager, Settings, Watching};
pub use reader::{GaveUp, Interest, Reader, Snapshot, Wakers};
pub use remote::RemoteBus;
pub use simulated::{Simulated, SimulatedBus};
pub use slot::{Fault, Found, Powered, Presence, Sight, Slot, Watch};
#[doc(hidden)]
pub use turns::{Turn, Turns};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use usb::DeviceBus;
pub use usb::UsbBus;
