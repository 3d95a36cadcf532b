//! Linux and Android: a device's own file descriptor.

use super::bulk::{copy, judge, Queue};
use super::reactor::{Pipe, Reactor, Role};
use super::signal::Waiter;
use crate::transport::Error;
use nusb::transfer::{Buffer, TransferError};
use pcsc_usbfs::Kind;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec::Vec;

/// The most bytes of descriptors that are read.
const MAX_DESCRIPTORS: usize = 1 << 20;

pub(super) type BulkOut = Pipe;
pub(super) type BulkIn = Pipe;
pub(super) type InterruptIn = Pipe;

/// An open device.
#[derive(Debug, Clone)]
pub(super) struct Device {
    reactor: Arc<Reactor>,
    /// The device descriptor and the configuration descriptors.
    descriptors: Arc<[u8]>,
    /// Nobody else has the open file.
    is_own: bool,
}

/// Why a device cannot be opened or an interface not claimed.
pub(super) enum Refusal {
    Permission,
    Busy,
    Gone,
    Other(io::Error),
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

impl Device {
    #[cfg(target_os = "linux")]
    pub(super) fn open(node: &std::path::Path) -> Result<Device, Refusal> {
        use rustix::fs::{open, Mode, OFlags};

        // Before a file can have the number of one that this process has inherited, and closed itself.
        pcsc_usbfs::close_inherited();
        match open(node, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => Ok(Device {
                is_own: true,
                ..Device::from_fd(fd)?
            }),
            Err(Errno::NOENT) => Err(Refusal::Gone),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn from_fd(fd: OwnedFd) -> Result<Device, Refusal> {
        let descriptors = read_descriptors(&fd)?;
        if descriptors.get(1) != Some(&1) {
            return Err(io::Error::from(io::ErrorKind::InvalidData).into());
        }
        let reactor = Reactor::new(fd)?;
        // What a forked child has inherited may have claims on the same device. This file is not among it.
        pcsc_usbfs::close_inherited();
        Ok(Device {
            reactor,
            descriptors: descriptors.into(),
            is_own: false,
        })
    }

    pub(super) fn descriptors(&self) -> &[u8] {
        &self.descriptors
    }

    pub(super) fn claim(&self, interface: u8) -> Result<Claim, Refusal> {
        let device = self.reactor.device();
        device.claim(interface)?;
        if self.is_own {
            // So that a reset by others is noticed. Old kernels know no way.
            _ = device.claim_no_more();
        }
        Ok(Claim {
            device: self.clone(),
            interface,
        })
    }

    pub(super) fn control(&self) -> Control {
        Control {
            pipe: Pipe::new(&self.reactor, Kind::Control, 0, 8),
        }
    }

    pub(super) fn waiter(&self, role: Role) -> Waiter {
        Waiter::new(Some(self.reactor.clone()), role)
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
pub(super) struct Claim {
    device: Device,
    interface: u8,
}

impl Claim {
    pub(super) fn number(&self) -> u8 {
        self.interface
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn set_alternate(&self, alternate: u8) -> Result<(), Refusal> {
        Ok(self
            .device
            .reactor
            .device()
            .set_alternate(self.interface, alternate)?)
    }

    pub(super) fn bulk_out(&self, address: u8) -> Result<BulkOut, Refusal> {
        Ok(self.pipe(Kind::Bulk, address))
    }

    pub(super) fn bulk_in(&self, address: u8) -> Result<BulkIn, Refusal> {
        Ok(self.pipe(Kind::Bulk, address))
    }

    pub(super) fn interrupt_in(&self, address: u8) -> Result<InterruptIn, Refusal> {
        Ok(self.pipe(Kind::Interrupt, address))
    }

    pub(super) fn control(&self) -> Control {
        self.device.control()
    }

    fn pipe(&self, kind: Kind, address: u8) -> Pipe {
        let size = max_packet_size(&self.device.descriptors, self.interface, address);
        Pipe::new(&self.device.reactor, kind, address, size)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // It fails only where the device is gone.
        _ = self.device.reactor.device().release(self.interface);
    }
}

/// `wMaxPacketSize` of an interface's endpoint (USB 2.0, clause 9.6.6); 64 where the descriptors do not tell.
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

/// The control pipe.
#[derive(Debug)]
pub(super) struct Control {
    pipe: Pipe,
}

/// A request on the control pipe (USB 2.0, clause 9.3), but for its length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    /// `bmRequestType` without the direction.
    pub(super) kind: u8,
    pub(super) request: u8,
    pub(super) value: u16,
    pub(super) index: u16,
}

impl Request {
    /// A class request to an interface.
    pub(super) fn to_interface(interface: u8, request: u8, value: u16) -> Request {
        Request {
            kind: 0x21,
            request,
            value,
            index: interface.into(),
        }
    }
}

impl Control {
    pub(super) fn send(
        &mut self,
        request: Request,
        data: &[u8],
        timeout: Duration,
        waiter: &Waiter,
    ) -> Result<(), Error> {
        let mut message = setup(request, 0, data.len())?;
        message.extend_from_slice(data);
        self.transfer(message, timeout, waiter).map(|_| ())
    }

    pub(super) fn receive(
        &mut self,
        request: Request,
        into: &mut [u8],
        timeout: Duration,
        waiter: &Waiter,
    ) -> Result<usize, Error> {
        let limit = into.len().min(u16::MAX.into());
        let mut message = setup(request, 0x80, limit)?;
        message.resize(8 + limit, 0);
        let answer = self.transfer(message, timeout, waiter)?;
        Ok(copy(&answer, into))
    }

    /// Gives what came in.
    fn transfer(&mut self, message: Vec<u8>, timeout: Duration, waiter: &Waiter) -> Result<Vec<u8>, Error> {
        if self.pipe.is_pending() {
            _ = self.reclaim(waiter)?;
        }
        self.pipe.submit(Buffer::from(message));
        let deadline = Instant::now().checked_add(timeout);
        let completion = match waiter.wait(deadline, |context| self.pipe.poll(context)) {
            Ok(completion) => completion,
            Err(interruption) => {
                let late = self.reclaim(waiter)?;
                return match late {
                    Err(TransferError::Disconnected) => Err(Error::Gone),
                    _ => Err(interruption.into()),
                };
            }
        };
        completion.status.map_err(|error| judge(&self.pipe, error))?;
        let bytes = completion.buffer.into_vec();
        Ok(bytes.into_iter().skip(8).take(completion.actual_len).collect())
    }

    fn reclaim(&mut self, waiter: &Waiter) -> Result<Result<(), TransferError>, Error> {
        self.pipe.cancel();
        let limit = Instant::now() + super::bulk::RECLAIM_LIMIT;
        match waiter.wait_firmly(limit, |context| self.pipe.poll(context)) {
            Some(completion) => Ok(completion.status),
            None => Err(Error::Fault),
        }
    }
}

fn setup(request: Request, direction: u8, length: usize) -> Result<Vec<u8>, Error> {
    let length = u16::try_from(length).map_err(|_| Error::Fault)?;
    let mut message = Vec::with_capacity(8 + usize::from(length));
    message.extend([request.kind | direction, request.request]);
    for word in [request.value, request.index, length] {
        message.extend(word.to_le_bytes());
    }
    Ok(message)
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

    #[test]
    fn a_request_is_as_the_specification_has_it() {
        let request = Request {
            kind: 0x21,
            request: 1,
            value: 0x0201,
            index: 3,
        };
        assert_eq!(
            setup(request, 0x80, 0x104),
            Ok(std::vec![0xA1, 1, 1, 2, 3, 0, 4, 1])
        );
        assert_eq!(setup(request, 0, 0x1_0000), Err(Error::Fault));
    }

    proptest! {
        #[test]
        fn no_descriptors_hang_or_panic(bytes in proptest::collection::vec(0u8..10, 0..200), address: u8) {
            prop_assert!(max_packet_size(&bytes, 0, address) > 0);
        }
    }
}
