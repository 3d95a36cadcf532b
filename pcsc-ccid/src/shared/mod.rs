//! A reader that threads share, for servers of many clients: opened when it is needed and again after a loss,
//! with one wait for the card events of each slot.
//!
//! ```text
//! SharedReader ── Reader, one command at a time; or one Reader for each slot ── Demux
//!             └── SlotEvents ── InterruptSource: the interrupt pipe, or the time of the next poll
//! ```
//!
//! [`usb::Candidate::opener`](crate::usb::Candidate::opener) opens a reader on the USB.

mod demux;
mod events;
mod parallel;
mod reader;
pub(crate) mod sync;
mod timed_mutex;

pub use events::{InterruptSource, Interrupter, Notifications, SlotEvent, SlotEvents, POLL_INTERVAL};
pub use reader::{time_on, AnyReader, Open, OpenedReader, SharedError, SharedReader};
