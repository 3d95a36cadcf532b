//! Readers on real USB ports: over the system calls of `pcsc-usbfs` on Linux and Android, over the library
//! `nusb` on Windows and macOS. On other systems [`list`] and [`Hotplug::new`] return
//! [`Unsupported`](std::io::ErrorKind::Unsupported).
//!
//! [`list`] names the readers without opening any; [`Candidate::open`] claims one and gives its
//! [`UsbTransport`] and its [`Notifications`](crate::shared::Notifications) of cards that come and go.
//! [`Hotplug`] waits for readers to come and go.
//!
//! A transmit costs one bulk OUT and one bulk IN transfer, and no allocation after the first. The thread
//! submits both before it sleeps, so that it usually sleeps once.
//!
//! No wait polls: it ends at once by its result, its deadline or a [`Canceller`]. After the removal of the
//! reader it ends as soon as the system reports that, or a moment after a transfer has failed.

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "windows"
)))]
mod absent;
mod bulk;
mod candidate;
mod error;
mod hotplug;
mod known;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
mod listing;
#[cfg(any(target_os = "macos", target_os = "windows"))]
mod nusb;
mod open;
mod pipe;
mod signal;
mod transport;
mod watch;

#[cfg(any(target_os = "macos", target_os = "windows"))]
use self::nusb as platform;
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "windows"
)))]
use absent as platform;
#[cfg(any(target_os = "linux", target_os = "android"))]
use linux as platform;

pub use candidate::{udev_rule, Candidate, DeviceIdentity, Place};
pub use error::{Holder, OpenError};
pub use hotplug::{is_present, list, Hotplug, HotplugStopper};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use linux::readers_from_fd;
pub use listing::{Changes, Listing, Notice, NoticeReason};
pub use open::{reporting, Opened};
pub use transport::{Canceller, UsbTransport};
