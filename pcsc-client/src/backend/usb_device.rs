//! A device on the USB that the caller of a context has opened.

/// The device's node, open for reading and writing.
#[cfg(all(feature = "standalone", any(target_os = "linux", target_os = "android")))]
pub type UsbDevice = std::os::fd::OwnedFd;

/// None: a program cannot be given a device here, or the build has no driver.
#[cfg(not(all(feature = "standalone", any(target_os = "linux", target_os = "android"))))]
#[derive(Debug)]
pub enum UsbDevice {}
