//! A PC/SC resource manager as a library (PC/SC part 5): it finds readers, watches their cards, shares them
//! between clients and orders their transactions, in the process that uses it. The rules are pcscd's.
//!
//! A [`Bus`] finds readers: [`UsbBus`], a [`FixedBus`] such as that of simulated readers, or one of your own.
//! A [`Manager`] owns them. A [`Client`] is one user of the manager, such as a PC/SC context: it connects to
//! cards and exchanges APDUs with them. Many clients share a manager, and behave to each other as the clients
//! of a daemon do.
//!
//! ```
//! use pcsc_manager::{Client, FixedBus, Manager, Settings};
//! use std::sync::Arc;
//!
//! const SHARED: u32 = 2;
//! const ANY: u32 = 3;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bus = Arc::new(FixedBus::bundled(Default::default())?);
//! let manager = Arc::new(Manager::start(bus, Settings::default())?);
//! let client = Client::new(manager.clone(), true);
//! for reader in &*manager.readers() {
//!     let connected = client.connect(reader.name().as_bytes(), SHARED, ANY, None)?;
//!     let mut response = [0; 258];
//!     let select = b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01";
//!     let answer = client.transmit(connected.handle, connected.protocol, select, &mut response, None)?;
//!     assert_eq!(&response[..answer.length], b"\x90\x00");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Events
//!
//! [`Manager::changes`] counts changes that clients can see. A wait for an event reads the count, looks at
//! [`ManagedReader::snapshot`] and [`Manager::events`], and sleeps until the count moves; or that of
//! [`Manager::card_changes`], if connections that are made or end are no events for it. While it waits for a
//! reader's card it holds [`Manager::watching`], which keeps the device open. A device that no connection and
//! no such wait needs is given back to the system after a second, so that other processes can use it.
//!
//! # Threads
//!
//! The manager has a thread for the bus ("pcsc-bus"), one for what is due at a time ("pcsc-power") and one
//! for each slot ("pcsc-reader"). All sleep while nothing happens, and end with the manager. A client's calls
//! run in the caller's threads. A call ends by its deadline, or when the client is released.
//!
//! # Layers
//!
//! ```text
//! client                      connections by their handles
//! terms, exchange, power      what connections do with a reader
//! poll                        whether a card came or went
//! interest                    what keeps a device open
//! schedule                    when the thread "pcsc-power" looks at the readers
//! reader                      one slot, shared by all connections; describes lock order and wake-ups
//! slot_state, connections     its bookkeeping, without I/O
//! state_guard                 the lock of a slot's state, which counts changes
//! snapshot                    what clients see of it
//! slot                        the driver's interface, with ccid, vpcd, remote and call_replay behind it
//! usb, simulated, usb_record  CCID readers, shared by their slots with `pcsc_ccid::shared`
//! ```

mod bus;
#[cfg(feature = "sim")]
mod call_replay;
mod ccid;
mod client;
mod connections;
pub mod environment;
mod error;
mod exchange;
mod interest;
mod manager;
#[cfg(all(feature = "sim", unix))]
mod offered;
#[cfg(all(feature = "sim", unix))]
mod played;
mod poll;
mod power;
mod reader;
#[cfg(all(feature = "sim", unix))]
mod remote;
mod schedule;
#[cfg(feature = "sim")]
mod simulated;
mod slot;
mod slot_state;
mod snapshot;
mod state_guard;
mod sync;
mod terms;
#[cfg(test)]
mod tests;
mod thread;
mod usb;
#[cfg(feature = "sim")]
mod usb_record;
#[cfg(all(feature = "sim", unix))]
mod vpcd;
mod watching;

pub use bus::{Bus, FixedBus};
#[cfg(feature = "sim")]
pub use call_replay::{CallRecord, CallReplay, RecordedCard, RecordedStep, StepKind};
pub use client::{Client, Connected, Transmitted};
pub use connections::ConnectionHandle;
pub use error::{CallError, StartError};
pub use interest::Interest;
pub use manager::{Manager, Settings};
#[cfg(all(feature = "sim", unix))]
pub use offered::OfferedReader;
#[cfg(all(feature = "sim", unix))]
pub use played::PlayedReader;
pub use reader::{IsCancelled, ManagedReader};
#[cfg(feature = "sim")]
pub use simulated::{read_record, simulated_bus, Simulated};
pub use slot::{FoundReader, FoundSlot, Powered, Presence, Slot, SlotError, Watch, WatchEvent};
pub use snapshot::Snapshot;
pub use sync::ChangeCounter;
pub use terms::check_terms;
pub use usb::UsbBus;
#[cfg(feature = "sim")]
pub use usb_record::{recorded_device, recorded_reader, replayed_reader, Recorder};
#[cfg(all(feature = "sim", unix))]
pub use vpcd::VpcdReader;
pub use watching::Watching;
