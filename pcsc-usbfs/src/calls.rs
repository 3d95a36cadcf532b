//! The system calls.

use crate::transfer::Request;
use rustix::fd::AsFd;
use rustix::io::Result;
use rustix::ioctl::{ioctl, opcode, Getter, Ioctl, IoctlOutput, Opcode, Setter};
use std::ffi::{c_int, c_uint, c_void};

// The directions below are those of usbdevice_fs.h, where calls that the kernel reads from are `_IOR`, the
// wrong way round: the direction is a part of a call's number.
const GROUP: u8 = b'U';

/// `struct usbdevfs_setinterface`.
#[repr(C)]
struct SetInterface {
    interface: c_uint,
    alternate: c_uint,
}

/// # Safety
/// The call of this code reads a `T`.
unsafe fn set<const CODE: Opcode, T>(fd: impl AsFd, value: T) -> Result<()> {
    // SAFETY: as the caller promises.
    unsafe { ioctl(fd, Setter::<CODE, T>::new(value)) }
}

pub(crate) fn claim_interface(fd: impl AsFd, interface: c_uint) -> Result<()> {
    // SAFETY: USBDEVFS_CLAIMINTERFACE reads an unsigned int.
    unsafe { set::<{ opcode::read::<c_uint>(GROUP, 15) }, _>(fd, interface) }
}

pub(crate) fn release_interface(fd: impl AsFd, interface: c_uint) -> Result<()> {
    // SAFETY: USBDEVFS_RELEASEINTERFACE reads an unsigned int.
    unsafe { set::<{ opcode::read::<c_uint>(GROUP, 16) }, _>(fd, interface) }
}

pub(crate) fn set_interface(fd: impl AsFd, interface: c_uint, alternate: c_uint) -> Result<()> {
    let setting = SetInterface { interface, alternate };
    // SAFETY: USBDEVFS_SETINTERFACE reads this structure.
    unsafe { set::<{ opcode::read::<SetInterface>(GROUP, 4) }, _>(fd, setting) }
}

pub(crate) fn clear_halt(fd: impl AsFd, endpoint: c_uint) -> Result<()> {
    // SAFETY: USBDEVFS_CLEAR_HALT reads an unsigned int.
    unsafe { set::<{ opcode::read::<c_uint>(GROUP, 21) }, _>(fd, endpoint) }
}

pub(crate) fn drop_privileges(fd: impl AsFd, interfaces: u32) -> Result<()> {
    // SAFETY: USBDEVFS_DROP_PRIVILEGES reads a mask of interfaces.
    unsafe { set::<{ opcode::write::<u32>(GROUP, 30) }, _>(fd, interfaces) }
}

/// A call whose argument is a request's address.
struct OfRequest<const CODE: Opcode>(*mut Request);

// SAFETY: the argument is an address. The functions below state what the kernel does with it.
unsafe impl<const CODE: Opcode> Ioctl for OfRequest<CODE> {
    type Output = ();

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        CODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.0.cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> Result<()> {
        Ok(())
    }
}

/// # Safety
/// The request and its buffer must stay where they are until [`reap`] gives the request back, or the call
/// fails.
pub(crate) unsafe fn submit(fd: impl AsFd, request: *mut Request) -> Result<()> {
    // SAFETY: USBDEVFS_SUBMITURB takes a request, which the caller keeps alive.
    unsafe { ioctl(fd, OfRequest::<{ opcode::read::<Request>(GROUP, 10) }>(request)) }
}

pub(crate) fn discard(fd: impl AsFd, request: *mut Request) -> Result<()> {
    // SAFETY: USBDEVFS_DISCARDURB compares the address with those of pending requests, and does not access
    // the memory.
    unsafe { ioctl(fd, OfRequest::<{ opcode::none(GROUP, 11) }>(request)) }
}

/// The request that has ended; `EAGAIN` if none has.
pub(crate) fn reap(fd: impl AsFd) -> Result<*mut Request> {
    // SAFETY: USBDEVFS_REAPURBNDELAY writes one address, and the request and buffer that were submitted.
    unsafe {
        ioctl(
            fd,
            Getter::<{ opcode::write::<*mut c_void>(GROUP, 13) }, *mut Request>::new(),
        )
    }
}

const _: () = assert!(size_of::<c_int>() == 4 && size_of::<Request>() >= 44);
