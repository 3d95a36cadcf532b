//! A simulated reader, at the level of USB transfers.
//!
//! A [`SimDevice`] is made of a [`Model`]: what one line of the list of readers says. Its firmware is written
//! from the reader's side of the texts (CCID 1.1, ICCD 1.0) and does what its `dwFeatures` promise, no more:
//! a host that forgets to negotiate meets a card that does not answer. Of the driver it shares the codecs of
//! messages, parameters and ATRs and, at the APDU levels, the T=0 and T=1 engines.
//!
//! Time passes only by what goes over the contact and by waits that end without an answer; a second of card
//! time costs nothing. [`Oddities`] are what real devices do wrong.

mod control;
mod device;
mod exchange;
mod firmware;
mod handle;
mod model;
mod models;
mod oddities;
mod parameters;
mod reply;
mod secure;
mod slot;
mod speed;
#[cfg(test)]
mod tests;

pub use device::{Counters, Logged, MessageDirection, SimDevice};
pub use handle::{SimEvent, SimHandle, SimTransport, SimWatch};
pub use model::{BadColumn, Model, PACKET};
pub use models::{model, NAMES};
pub use oddities::{Lists, Oddities};
pub use secure::{Key, KeypadEntry};
