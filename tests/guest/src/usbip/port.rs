//! The ports of the kernel's virtual host controller.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

const CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";

/// The state of a free port in the status file.
const FREE: &str = "004";

/// How long the kernel may take to see that a device is gone. It is there against hangs alone.
const LIMIT: Duration = Duration::from_secs(180);

/// A device's speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speed {
    /// 12 Mbit/s, with packets of up to 64 bytes.
    Full,
    /// 480 Mbit/s, with bulk packets of 512 bytes.
    High,
}

/// A port with a device.
#[derive(Debug)]
pub(super) struct Port(u32);

impl Port {
    /// Attaches the device behind a socket to the first free port.
    pub(super) fn attach(socket: BorrowedFd<'_>, speed: Speed) -> io::Result<Self> {
        let speed = match speed {
            Speed::Full => 2,
            Speed::High => 3,
        };
        let status = fs::read_to_string(Path::new(CONTROLLER).join("status"))?;
        // Columns: hub, port, state, and others. Hub `ss` is for SuperSpeed devices.
        let free = status.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let (hub, port, state) = (words.next()?, words.next()?, words.next()?);
            (hub == "hs" && state == FREE).then(|| port.parse().ok())?
        });
        for port in free {
            if is_on_the_bus(port)? {
                continue;
            }
            // The device number (bus and address on the server) must not be 0 and has no other effect.
            let line = format!("{port} {} {} {speed}", socket.as_raw_fd(), 0x0001_0000 + port + 1);
            match fs::write(Path::new(CONTROLLER).join("attach"), line) {
                Ok(()) => return Ok(Self(port)),
                // Another process has attached a device to this port.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("every port has a device"))
    }

    /// What the kernel calls the device's place, such as 2-1. `None` until it has found the device.
    pub(super) fn name(&self) -> io::Result<Option<String>> {
        name_of(self.0)
    }

    /// Detaches the device. The kernel closes its end of the socket.
    pub(super) fn detach(&self) -> io::Result<()> {
        fs::write(Path::new(CONTROLLER).join("detach"), self.0.to_string())
    }

    /// The kernel's number for the device, which another device on this port does not get soon. `None` until
    /// the kernel has found the device.
    pub(super) fn number(&self) -> io::Result<Option<String>> {
        let Some(device) = device_on(self.0)? else {
            return Ok(None);
        };
        match fs::read_to_string(device.join("devnum")) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(None),
            number => number.map(Some),
        }
    }

    /// Waits until the kernel no longer lists the detached device, which had this number. There is no event
    /// for this.
    pub(super) fn wait_until_gone(&self, number: Option<String>) -> io::Result<()> {
        let end = Instant::now() + LIMIT;
        while number.is_some() && self.number()? == number {
            if Instant::now() > end {
                return Err(io::Error::other(
                    "the kernel does not see that the device is gone",
                ));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// Whether the kernel still has the device that was detached from this port. A new device on the port would
/// be taken for that one.
fn is_on_the_bus(port: u32) -> io::Result<bool> {
    Ok(name_of(port)?.is_some())
}

/// The name of the device on this port.
fn name_of(port: u32) -> io::Result<Option<String>> {
    let device = device_on(port)?;
    Ok(device.and_then(|device| Some(device.file_name()?.to_str()?.to_owned())))
}

/// The folder of the device on this port.
fn device_on(port: u32) -> io::Result<Option<PathBuf>> {
    // Each root hub is a bus, usbN; the device on its first port is N-1.
    for hub in fs::read_dir(CONTROLLER)? {
        let hub = hub?;
        let name = hub.file_name();
        let bus = name.to_str().and_then(|name| name.strip_prefix("usb"));
        if let Some(bus) = bus.filter(|bus| bus.parse::<u32>().is_ok()) {
            let device = hub.path().join(format!("{bus}-{}", port + 1));
            if device.exists() {
                return Ok(Some(device));
            }
        }
    }
    Ok(None)
}
