//! Simulated smart card readers and cards, in virtual time: no hardware, no daemon, no waiting.
//!
//! ```text
//! driver ── SimTransport ─┐
//! watcher ── SimWatch ────┼─ Handle ── Device (firmware) ── slots ── card::Contact ── card
//! test ───────────────────┘
//! ```
//!
//! A reader is simulated at the level of USB transfers, a card at the level of bytes on the contact, so that
//! a driver meets what it meets on real hardware. [`NAMES`] lists the readers that are built in.
//!
//! * [`SimDevice`], [`SimHandle`], [`Model`]: a reader and how a test controls it.
//! * [`card`]: cards and what can go wrong with them.
//! * [`control`]: a socket over which another program moves the cards.
//! * [`usb_record`]: the transfers of a reader as a text file, and the reader in such a file.
//! * [`masked`]: bytes in which PINs and keys are hidden.
//! * [`FaultTransport`]: a decorator of a [`pcsc_ccid::transport::Transport`] that damages its transfers.
#![forbid(unsafe_code)]

pub mod card;
#[cfg(unix)]
pub mod control;
mod fault;
pub mod masked;
mod mismatch;
mod random;
mod reader;
mod record_error;
mod usb_identity;
pub mod usb_record;

pub use fault::{Fault, FaultTransport};
pub use mismatch::Mismatch;
pub use reader::*;
pub use record_error::RecordError;
pub use usb_identity::UsbIdentity;

/// Compiles and runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
