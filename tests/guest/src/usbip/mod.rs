//! USB devices that are programs: the device's side of USB/IP, for the virtual host controller (`vhci-hcd`) of the running kernel.
//!
//! A [`UsbFunction`] says what the device is and answers its transfers. [`Plugged`] puts it on the bus, serves the requests that
//! every device knows (USB 2.0, clause 9.4), counts and logs what comes, and takes it off the bus again.
//!
//! The kernel speaks the protocol over a socket that it is given a descriptor of, here one end of a pair: no network is involved.
//! See the kernel's documentation, "USB/IP protocol"; the part before the import of a device is not needed.

mod bus;
mod function;
mod plugged;
mod port;
mod protocol;

pub use bus::{Outcome, Transfer};
pub use function::{Stall, UsbFunction};
pub use plugged::Plugged;
pub use port::Speed;
