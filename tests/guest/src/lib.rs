//! A virtual machine for tests, and USB devices that are programs.
//!
//! - [`lab`] boots a kernel of the distribution's own in QEMU, without root's help and without hardware, and runs commands in it
//! - [`usbip`] is a USB device for the kernel it runs on: what a function in Rust answers is what a driver sees on the bus
//!
//! The program `guest-agent` runs in the guest and uses the second; the test `guest` runs on the host and uses the first.

#![forbid(unsafe_code)]

pub mod lab;
pub mod usbip;
