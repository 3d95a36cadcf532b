//! Helpers of the integration tests of all crates.
//!
//! - [`Pcscd`]: Debian's pcscd, private to the test, with readers that the test controls
//! - [`Simulation`]: the same readers without pcscd, [`Share`]: the same behind our own server
//! - [`atr`]: cards to insert
//! - [`artifacts`]: the libraries and programs of this workspace, [`stock`]: Debian's library
//! - [`target`]: builds for other processors, and what runs them
//! - [`WireClient`]: a client of pcscd's protocol in any version, byte by byte
//! - [`client`]: a program that uses PC/SC, on the stock library
//! - [`Network`]: hosts with networks of their own
//! - [`in_namespace`]: a program without the daemon and the USB devices of this machine
//! - [`assert_same`]: a comparison of two texts that prints what differs
//! - [`published`]: the examples of the published `pcsc` crate
//! - [`Usage`], [`context_switches`], [`processor_time`], [`sleeps_since`]: what a process has and does
//! - [`run`]: a command with a deadline, [`Live`]: one whose output is read while it runs, [`c_program`]: a
//!   program of tests/c
//!
//! All helpers panic with an explanation if the machine cannot do what a test needs, so that no test passes
//! without testing anything.

#![forbid(unsafe_code)]

pub mod artifacts;
pub mod atr;
mod client;
mod compiled;
mod daemon;
mod difference;
mod live;
mod namespace;
mod network;
pub mod published;
mod reader;
mod ready;
pub mod relay;
mod run;
pub mod scripted;
mod share;
mod simulation;
mod spawn;
pub mod stock;
pub mod target;
mod usage;
mod virtual_card;
mod wire_client;

pub use client::client;
pub use compiled::{c_library, c_program};
pub use daemon::Pcscd;
pub use difference::{assert_same, tail};
pub use live::Live;
pub use namespace::{in_namespace, USB};
pub use network::Network;
pub use pcsc_test_ifd::{abi, card, Counts};
pub use reader::{Reader, FRIENDLY_NAME};
pub use run::{copy_program, run, Output};
pub use share::Share;
pub use simulation::Simulation;
pub use usage::{context_switches, processor_time, sleeps_since, Usage};
pub use wire_client::WireClient;

/// Compiles and runs the examples in Rust of the page about testing.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
struct Page;
