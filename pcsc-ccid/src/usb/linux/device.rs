//! An open device, its claimed interfaces and their endpoints.

use super::super::candidate::Place;
use super::super::error::Refusal;
use super::super::signal::Signal;
use super::control::Control;
use super::pipe::UsbfsPipe;
use super::reactor::Reactor;
use pcsc_usbfs::TransferKind;
use rustix::fd::OwnedFd;
use rustix::fs::{open, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::vec::Vec;

/// The most bytes of descriptors that are read.
const MAX_DESCRIPTORS: usize = 1 << 20;

pub(in crate::usb) type BulkOut = UsbfsPipe;
pub(in crate::usb) type BulkIn = UsbfsPipe;
pub(in crate::usb) type InterruptIn = UsbfsPipe;

/// What is opened to use a reader.
#[derive(Debug, Clone)]
pub(in crate::usb) enum Source {
    /// The device's node.
    Node,
    /// A device that is open already.
    Open(OpenDevice),
}

impl Source {
    pub(in crate::usb) fn open(&self, place: Place) -> Result<OpenDevice, Refusal> {
        match self {
            Source::Node => OpenDevice::open(&place.node()),
            Source::Open(device) => Ok(device.clone()),
        }
    }
}

/// An open device.
#[derive(Debug, Clone)]
pub(in crate::usb) struct OpenDevice {
    reactor: Arc<Reactor>,
    /// The device descriptor and the configuration descriptors.
    descriptors: Arc<[u8]>,
    /// This driver has opened the file, so that no other process shares it.
    is_own: bool,
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Refusal {
        match error {
            Errno::PERM | Errno::ACCESS => Refusal::Permission,
            Errno::BUSY => Refusal::Busy,
            Errno::NODEV => Refusal::Gone,
            error => Refusal::Other(error.into()),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        match Errno::from_io_error(&error) {
            Some(error) => error.into(),
            None => Refusal::Other(error),
        }
    }
}

impl OpenDevice {
    pub(in crate::usb) fn open(node: &Path) -> Result<OpenDevice, Refusal> {
        // Before `open`, so that the new file does not get the number of an inherited one that the program
        // has closed.
        pcsc_usbfs::close_inherited();
        match open(node, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => Ok(OpenDevice {
                is_own: true,
                ..OpenDevice::from_fd(fd)?
            }),
            // The node goes with the device.
            Err(Errno::NOENT) => Err(Refusal::Gone),
            Err(error) => Err(error.into()),
        }
    }

    pub(in crate::usb) fn from_fd(fd: OwnedFd) -> Result<OpenDevice, Refusal> {
        let descriptors = read_descriptors(&fd)?;
        // Any file can be handed over. That of a USB device begins with the device descriptor.
        if descriptors.get(1) != Some(&1) {
            return Err(io::Error::from(io::ErrorKind::InvalidData).into());
        }
        let reactor = Reactor::new(fd)?;
        // Files that a forked child has inherited may hold claims on the same device.
        pcsc_usbfs::close_inherited();
        Ok(OpenDevice {
            reactor,
            descriptors: descriptors.into(),
            is_own: false,
        })
    }

    pub(in crate::usb) fn descriptors(&self) -> &[u8] {
        &self.descriptors
    }

    pub(in crate::usb) fn claim(&self, interface: u8) -> Result<Claim, Refusal> {
        let device = self.reactor.device();
        device.claim(interface)?;
        // A file that was handed over may be the other process's as well, whose claims this would forbid.
        if self.is_own {
            // With it a reset by another process is detected. Kernels before 4.5 do not have this call.
            _ = device.claim_no_more();
        }
        Ok(Claim {
            device: self.clone(),
            interface,
        })
    }

    /// The control pipe, for the thread of `signal`.
    pub(in crate::usb) fn control(&self, signal: &Arc<Signal>) -> Control {
        // The packet size is not used: control transfers have the length of the request.
        Control::new(UsbfsPipe::new(&self.reactor, signal, TransferKind::Control, 0, 8))
    }
}

fn read_descriptors(fd: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut descriptors = Vec::new();
    let mut chunk = [0; 4096];
    while descriptors.len() < MAX_DESCRIPTORS {
        let length = rustix::io::pread(fd, &mut chunk, descriptors.len() as u64)?;
        match chunk.get(..length) {
            Some(bytes) if !bytes.is_empty() => descriptors.extend_from_slice(bytes),
            _ => break,
        }
    }
    Ok(descriptors)
}

/// A claimed interface.
#[derive(Debug)]
pub(in crate::usb) struct Claim {
    device: OpenDevice,
    interface: u8,
}

impl Claim {
    pub(in crate::usb) fn number(&self) -> u8 {
        self.interface
    }

    pub(in crate::usb) fn set_alternate(&self, alternate: u8) -> Result<(), Refusal> {
        Ok(self
            .device
            .reactor
            .device()
            .set_alternate(self.interface, alternate)?)
    }

    pub(in crate::usb) fn bulk_out(&self, address: u8, signal: &Arc<Signal>) -> Result<BulkOut, Refusal> {
        Ok(self.pipe(TransferKind::Bulk, address, signal))
    }

    pub(in crate::usb) fn bulk_in(&self, address: u8, signal: &Arc<Signal>) -> Result<BulkIn, Refusal> {
        Ok(self.pipe(TransferKind::Bulk, address, signal))
    }

    pub(in crate::usb) fn interrupt_in(
        &self,
        address: u8,
        signal: &Arc<Signal>,
    ) -> Result<InterruptIn, Refusal> {
        Ok(self.pipe(TransferKind::Interrupt, address, signal))
    }

    pub(in crate::usb) fn control(&self, signal: &Arc<Signal>) -> Control {
        self.device.control(signal)
    }

    fn pipe(&self, kind: TransferKind, address: u8, signal: &Arc<Signal>) -> UsbfsPipe {
        let size = max_packet_size(&self.device.descriptors, self.interface, address);
        UsbfsPipe::new(&self.device.reactor, signal, kind, address, size)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // It fails only if the device is gone.
        _ = self.device.reactor.device().release(self.interface);
    }
}

/// `wMaxPacketSize` of an interface's endpoint (USB 2.0, clause 9.6.6); 64 if the descriptors do not have it.
fn max_packet_size(descriptors: &[u8], interface: u8, address: u8) -> usize {
    let mut rest = descriptors;
    let mut is_inside = false;
    while let [length, kind, ..] = *rest {
        let Some((descriptor, after)) = rest.split_at_checked(length.into()).filter(|_| length >= 2) else {
            break;
        };
        rest = after;
        match (kind, descriptor) {
            (4, [_, _, number, ..]) => is_inside = *number == interface,
            (5, [_, _, this, _, low, high, ..]) if is_inside && *this == address => {
                // The bits above have the number of transactions in a microframe.
                match usize::from(u16::from_le_bytes([*low, *high]) & 0x7FF) {
                    0 => break,
                    size => return size,
                }
            }
            _ => (),
        }
    }
    64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_packet_size_is_that_of_the_interfaces_own_endpoint() {
        let descriptors = [
            &[9, 4, 0, 0, 1, 3, 0, 0, 0][..],
            &[7, 5, 0x82, 3, 8, 0, 1],
            &[9, 4, 1, 0, 2, 11, 0, 0, 0],
            &[7, 5, 0x82, 2, 0, 0x1A, 1],
            &[7, 5, 0x01, 2, 0, 0, 1],
        ]
        .concat();
        assert_eq!(max_packet_size(&descriptors, 0, 0x82), 8);
        assert_eq!(max_packet_size(&descriptors, 1, 0x82), 512);
        assert_eq!(max_packet_size(&descriptors, 1, 0x01), 64);
        assert_eq!(max_packet_size(&descriptors, 2, 0x01), 64);
    }

    proptest! {
        #[test]
        fn no_descriptors_hang_or_panic(bytes in proptest::collection::vec(0u8..10, 0..200), address: u8) {
            prop_assert!(max_packet_size(&bytes, 0, address) > 0);
        }
    }
}
