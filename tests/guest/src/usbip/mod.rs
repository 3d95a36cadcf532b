//! USB devices in software: the device side of USB/IP, for the virtual host controller (`vhci-hcd`) of the
//! running kernel.
//!
//! A [`UsbFunction`] has the descriptors of a device and answers its transfers. [`Plugged`] attaches it to
//! the bus, serves standard requests (USB 2.0, clause 9.4), counts and logs transfers, and detaches it.
//!
//! The kernel is given a socket and speaks the protocol over it (see the kernel's documentation, "USB/IP
//! protocol"). For [`Plugged`] that is one end of a socket pair. [`Imported`] connects to a USB/IP server
//! over TCP.

mod bus;
mod function;
mod imported;
mod plugged;
mod port;
mod protocol;

pub use bus::{Outcome, Transfer};
pub use function::{Stall, UsbFunction};
pub use imported::Imported;
pub use plugged::Plugged;
pub use port::Speed;
