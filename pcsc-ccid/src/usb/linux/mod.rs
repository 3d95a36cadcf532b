//! Linux and Android: the system calls of `pcsc-usbfs`, /sys, udev and netlink.

mod control;
mod descriptors;
pub(super) mod device;
mod events;
mod from_fd;
mod holders;
mod pipe;
mod reactor;
mod scan;
mod schedule;
mod sysfs;
#[cfg(test)]
pub(super) mod tests;
mod udev;
mod uevent;

pub(super) use control::Control;
pub(super) use device::{BulkIn, BulkOut, Claim, InterruptIn, Source};
pub(super) use events::Events;
pub use from_fd::readers_from_fd;
pub(super) use holders::holders;
pub(super) use scan::scan;
pub(super) use sysfs::{is_present, is_transient};

/// Whether an endpoint can be opened several times.
pub(super) const SHARES_ENDPOINTS: bool = true;
