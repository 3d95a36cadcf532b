//! Smart cards through PC/SC, in pure Rust down to the socket: no C library is linked.
//!
//! # For users of the `pcsc` crate
//!
//! The names, the signatures and the behaviour are those of `pcsc` 2.9. A program written for it builds
//! on this crate when its dependency line becomes
//!
//! ```toml
//! pcsc = { package = "pcsc-client", version = "0.1" }
//! ```
//!
//! Beyond it there are contexts on a given socket ([`Context::builder`]), calls with a timeout
//! ([`Context::connect_timeout`], [`Card::transmit_timeout`], [`Card::transaction_timeout`]), failures with
//! their cause ([`Failure`], [`Context::try_connect`] and others), a choice of what dropping does to the card
//! ([`Card::set_drop_disposition`]), [events](Context::events), and readers with their
//! [identity](Context::readers). Where `pcsc` panics on a value that the daemon gave, or on a transmit over a
//! direct connection, this crate returns an error.
//!
//! # For newcomers
//!
//! A *reader* is a device that a *card* goes into. A program establishes a [`Context`], lists readers,
//! connects to the [`Card`] in one of them, and sends command APDUs (ISO 7816-4), to which the card
//! answers with response APDUs. A [`Transaction`] keeps other programs from using the card in between.
//!
//! ```no_run
//! use pcsc_client::{Context, Protocols, Scope, ShareMode, MAX_BUFFER_SIZE};
//!
//! fn main() -> Result<(), pcsc_client::Error> {
//!     let context = Context::establish(Scope::User)?;
//!     for reader in context.list_readers_owned()? {
//!         let card = context.connect(&reader, ShareMode::Shared, Protocols::ANY)?;
//!         let mut response = [0; MAX_BUFFER_SIZE];
//!         let response = card.transmit(b"\x00\xA4\x04\x00\x00", &mut response)?;
//!         println!("{reader:?} answers {response:02X?}");
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Environment
//!
//! `PCSCLITE_CSOCK_NAME` names the daemon's socket, and is read when a context is established. The default is
//! `/run/pcscd/pcscd.comm`, and where no process listens there, `pcsc/pcscd.comm` in the user's own
//! `XDG_RUNTIME_DIR`, where `pcsc share` listens. If no process listens there either, this process drives the
//! readers on the USB itself.
//! `PCSCLITE_BACKEND` chooses the backend instead: `daemon`, `standalone`, `system` or `simulated`. `system`
//! is the PC/SC library of the system, or the one that `PCSCLITE_SYSTEM_LIBRARY` names: see the next section.
//! `PCSCLITE_SIMULATED` is a list of simulated readers, separated by commas: short names of models, and
//! `vpcd:PORT` for a reader whose card is a program that connects to this port. Or it is `replay:FILE`, the
//! reader in a record of its USB transfers, or a path with a slash, the socket of `pcsc sim run`.
//! `PCSCLITE_FILTER_IGNORE_READER_NAMES` and `PCSCLITE_FILTER_EXTEND_READER_NAMES` have the same effect on a
//! process that drives its readers as on pcscd. With `PCSCLITE_NO_BLOCKING`, calls that meet another
//! connection's transaction fail with [`Error::SharingViolation`] and do not wait. setuid and setgid programs
//! ignore these variables. The library logs through the `log` crate.
//!
//! # The library of the system
//!
//! Windows and macOS have a PC/SC library of their own. Where no socket is named, contexts use it there: it
//! is loaded at run time, and has readers that are on no USB, such as those of a remote desktop. On other
//! systems [`Choice::System`] loads libpcsclite.so.1. A library that is not there is [`Error::NoService`],
//! with [`Cause::NoLibrary`]. The library has no time limits: a call that has one is made in a thread, and
//! goes on in it when the time is over. Until it has ended, further calls with a time limit return
//! [`Error::Timeout`] and are not sent, calls without one wait, and the end of a transaction or of a
//! connection is left to the thread. That holds for the connection, and for the whole context with
//! libpcsclite.so.1, which makes one call of a context at a time. [`Context::cancel`] is not safe in a signal
//! handler there.
//!
//! # Without a daemon
//!
//! All contexts of a process share its readers as the clients of a daemon do. The first context opens the
//! devices and starts the threads, and the last one closes the devices and ends the threads. A reader that
//! another process uses is listed, and connecting to it fails with [`Error::SharingViolation`] until it is
//! free. When a daemon is running and no card is in use, new contexts connect to it, and calls of older
//! contexts fail with [`Error::NoService`].
//!
//! # Systems
//!
//! A cargo feature adds a backend where the system has what it needs. Elsewhere the feature has no effect,
//! and asking for the backend fails with [`Error::NoService`] and a [`Cause`] that says why.
//!
//! | system | `daemon` | `standalone` | `system` | `sim` |
//! |---|---|---|---|---|
//! | Linux | yes | yes | any libpcsclite.so.1 | yes |
//! | Android | yes | by file descriptor, with `Builder::usb_device` | any libpcsclite.so.1 | yes |
//! | FreeBSD, NetBSD, illumos | yes | no | any libpcsclite.so.1 | yes |
//! | macOS | yes | yes | PCSC.framework | yes |
//! | Windows | no | yes | winscard.dll | yes |
//!
//! `Builder::usb_device` exists on Linux and Android alone.
//!
//! # Fork
//!
//! A context belongs to the process that established it. A forked child that uses it gets
//! [`Error::InvalidHandle`], and the parent's connection is not disturbed. The child of a process that drives
//! readers itself can do so too on Linux. To a forked child, readers held by the parent appear in use by
//! another process.
#![deny(unsafe_code)]

pub mod ffi;
pub mod internals;
#[cfg(feature = "sim")]
pub mod sim;

mod backend;
mod card;
mod card_status;
mod context;
mod env;
mod error;
mod events;
mod identity;
mod reader_info;
mod reader_state;
mod transaction;
mod values;

pub use backend::{BackendKind, Choice};
pub use card::Card;
pub use card_status::{CardStatus, CardStatusOwned};
pub use context::{Builder, Context, ReaderNames};
pub use error::{Cause, Error, Failure, Found, Permissions};
pub use events::{Event, Events};
pub use identity::ReaderIdentity;
#[cfg(feature = "standalone")]
pub use pcsc_manager::StartError;
pub use reader_info::ReaderInfo;
pub use reader_state::{ReaderState, PNP_NOTIFICATION};
pub use transaction::Transaction;
pub use values::{
    ctl_code, Attribute, AttributeClass, Disposition, Protocol, Protocols, Scope, ShareMode, State, Status,
    MAX_ATR_SIZE, MAX_BUFFER_SIZE, MAX_BUFFER_SIZE_EXTENDED,
};

/// The version of pcscd's socket protocol, in [`BackendKind::Daemon`] and [`Cause::Version`].
#[doc(inline)]
pub use pcsc_wire::Version;

/// Compiles and runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
