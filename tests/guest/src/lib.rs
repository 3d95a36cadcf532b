//! A virtual machine for tests, and USB devices in software.
//!
//! - [`lab`] boots the distribution's kernel in QEMU, without root rights and without hardware, and runs
//!   commands in it
//! - [`usbip`] attaches USB devices that are implemented in Rust to the kernel it runs on
//! - [`facts`] reads what a scenario in the guest has printed, and compares it
//!
//! The program `guest-agent` runs in the guest and uses [`usbip`]. The tests `guest` and `standalone` run on
//! the host and use the others.

#![forbid(unsafe_code)]

pub mod facts;
pub mod lab;
pub mod usbip;
