//! A virtual machine for tests, and USB devices that are programs.
//!
//! - [`lab`] boots a kernel of the distribution's own in QEMU, without root's help and without hardware, and runs commands in it
//! - [`usbip`] is a USB device for the kernel it runs on: what a function in Rust answers is what a driver sees on the bus
//! - [`facts`] reads what a scenario in the guest has printed, and compares it
//!
//! The program `guest-agent` runs in the guest and uses the second; the tests `guest` and `standalone` run on the host and use the others.

#![forbid(unsafe_code)]

pub mod facts;
pub mod lab;
pub mod usbip;
