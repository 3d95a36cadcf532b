//! An IFD handler without hardware (IFDHandler 3.0), for tests against a real pcscd.
//!
//! pcscd loads it through a file in `reader.conf.d`, one entry a reader, with
//! `DEVICENAME anything:CONTROL:N`: the path of the [control socket](control), on which the handler listens,
//! and the reader's number, from 0 to 15. The readers start empty; every one has its own lock in pcscd; cards
//! behave as [`card::answer`] says.
//!
//! The entry points are those of `pcsc-ifd`.

pub mod abi;
pub mod card;
mod channel;
pub mod control;
mod device;
#[path = "../../../pcsc-ifd/src/entry.rs"]
mod entry;
mod reader;
#[path = "../../../pcsc-ifd/src/units.rs"]
mod units;

pub use reader::{reader, Behaviour, Counts, Reader, MAX_READERS};
