//! Readers on real USB ports: over the system calls of `pcsc-usbfs` on Linux, over the library `nusb` elsewhere.
//!
//! [`list`] names the readers without opening any; [`Candidate::open`] claims one and gives its
//! [`UsbTransport`] and its [`Presence`], the pipe that tells of cards that come and go, for a thread of its
//! own. [`Hotplug`] waits for readers to come and go.
//!
//! A transmit costs one bulk OUT and one bulk IN transfer, and no allocation after the first. The thread does not wait
//! for the one before it waits for the other: where the command has gone out by then, it sleeps once.
//!
//! While a reader is there, no wait polls: it ends by its result, its deadline or a [`Canceller`], at once. Pulling the
//! reader out ends it as soon as the system tells of that, or else a moment after the bus has failed.

mod bulk;
mod candidate;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod descriptors;
mod enumerate;
mod error;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod from_fd;
#[cfg(target_os = "linux")]
mod holders;
#[cfg(any(target_os = "linux", target_os = "macos", target_os = "windows"))]
mod hotplug;
#[cfg(target_os = "linux")]
mod looks;
mod open;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod reactor;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "reactor_none.rs"]
mod reactor;
#[cfg(any(target_os = "linux", target_os = "macos", target_os = "windows"))]
mod roll;
mod signal;
#[cfg(target_os = "linux")]
mod survey;
#[cfg(target_os = "linux")]
mod sysfs;
#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "system_usbfs.rs"]
mod system;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "system_nusb.rs"]
mod system;
mod transport;
#[cfg(all(test, target_os = "linux"))]
mod tree;
#[cfg(target_os = "linux")]
mod udev;
#[cfg(target_os = "linux")]
mod uevent;
mod watch;

pub use candidate::{udev_rule, Candidate, Identity, Listing, Notice, Place, Reason};
pub use enumerate::list;
pub use error::{Holder, OpenError};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use from_fd::readers_from_fd;
#[cfg(any(target_os = "linux", target_os = "macos", target_os = "windows"))]
pub use hotplug::{Changes, Hotplug, HotplugStopper};
pub use open::Opened;
pub use transport::{Canceller, UsbTransport};
pub use watch::{Presence, UsbWatch, WatchStopper, POLL_INTERVAL};
