//! Safe wrappers of Linux's system calls for USB devices (`linux/usbdevice_fs.h`), and nothing more.
//!
//! A [`Transfer`] is a buffer that the kernel owns from [`UsbfsDevice::submit`] until [`UsbfsDevice::reap`]
//! returns it. There is no thread and no event loop: wait for the device's file descriptor to become
//! writable, then reap. To a forked child, the devices that its parent has opened are gone: see
//! [`close_inherited`]. On other systems this crate is empty.

#![cfg(any(target_os = "linux", target_os = "android"))]

mod calls;
mod inherited;
mod transfer;

pub use inherited::close_inherited;
pub use transfer::{Transfer, TransferKind};

use pcsc_process::{generation, Descriptor};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, Result};
use std::sync::{Mutex, MutexGuard, PoisonError};
use transfer::Lent;

/// An open device, `/dev/bus/usb/BBB/DDD`. What it has claimed is released when its file is closed for good:
/// by the drop of this, unless a forked child has the file open too.
///
/// To a child, a device that its parents have opened is gone: all calls fail, and transfers that go on end,
/// with `ENODEV`. The file is shared, so that what a child cancelled or took back would be its parent's, and
/// what it submitted would come back into its parent's memory. [`close_inherited`] closes it.
#[derive(Debug)]
pub struct UsbfsDevice {
    fd: Descriptor,
    lent: Mutex<Vec<Lent>>,
    /// The process that opened it.
    owner: u32,
}

impl AsFd for UsbfsDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl UsbfsDevice {
    /// A device whose node is open for reading and writing.
    pub fn new(fd: OwnedFd) -> UsbfsDevice {
        inherited::note(fd.as_fd());
        UsbfsDevice {
            fd: Descriptor::new(fd),
            lent: Mutex::default(),
            owner: generation(),
        }
    }

    /// Claims an interface for this file descriptor. No driver is detached.
    ///
    /// # Errors
    /// `EBUSY` if a driver or another process has it, `ENOENT` if there is none, `ENODEV` if the device is
    /// gone.
    pub fn claim(&self, interface: u8) -> Result<()> {
        calls::claim_interface(self.ours()?, interface.into())
    }

    /// Releases an interface.
    ///
    /// # Errors
    /// `EINVAL` if it is not claimed, `ENODEV` if the device is gone.
    pub fn release(&self, interface: u8) -> Result<()> {
        calls::release_interface(self.ours()?, interface.into())
    }

    /// Forbids this open file to claim further interfaces. A reset by another process removes the claims, and
    /// without this the kernel claims the interface again at the next transfer, as if the device still had
    /// its state. With it that transfer fails with `EACCES`.
    ///
    /// This concerns the open file, with all its descriptors in all processes.
    ///
    /// # Errors
    /// `ENOTTY` where the kernel is older than 4.5.
    pub fn claim_no_more(&self) -> Result<()> {
        calls::drop_privileges(self.ours()?, 0)
    }

    /// Chooses an alternate setting of a claimed interface (USB 2.0, clause 9.4.10).
    ///
    /// # Errors
    /// `EINVAL` if the interface has no such setting, `ENODEV` if the device is gone.
    pub fn set_alternate(&self, interface: u8, alternate: u8) -> Result<()> {
        calls::set_interface(self.ours()?, interface.into(), alternate.into())
    }

    /// Ends the halt of an endpoint (USB 2.0, clause 9.4.1).
    ///
    /// # Errors
    /// `ENODEV` if the device is gone; others if it refuses.
    pub fn clear_halt(&self, endpoint: u8) -> Result<()> {
        calls::clear_halt(self.ours()?, endpoint.into())
    }

    /// Submits a transfer to the kernel.
    ///
    /// # Errors
    /// The transfer, and why the kernel refused it: `ENODEV` if the device is gone.
    pub fn submit(&self, transfer: Transfer) -> std::result::Result<(), (Transfer, Errno)> {
        let fd = match self.ours() {
            Ok(fd) => fd,
            Err(error) => return Err((transfer, error)),
        };
        let transfer = transfer.lend();
        // Held until the transfer is in the list: it can be reaped at once.
        let mut lent = self.lent();
        // SAFETY: the request and its buffer live until they are reaped: nothing but `reap` takes them from
        // the list.
        match unsafe { calls::submit(fd, transfer.request()) } {
            Ok(()) => {
                lent.push(transfer);
                Ok(())
            }
            // SAFETY: the kernel has not taken it.
            Err(error) => Err((unsafe { transfer.take_back() }, error)),
        }
    }

    /// Cancels the transfers with this token that have not ended. They are reaped like others.
    pub fn cancel(&self, token: usize) {
        let Ok(fd) = self.ours() else {
            return;
        };
        // By token and not by request: the caller has lent the request, and does not know its address.
        for transfer in self.lent().iter().filter(|transfer| transfer.token() == token) {
            // It has ended already, or the device is gone: it can be reaped either way.
            _ = calls::discard(fd, transfer.request());
        }
    }

    /// Takes back a transfer that has ended; `None` if none has. When the device is gone, all transfers end,
    /// but not all at once.
    ///
    /// # Errors
    /// `ENODEV` if the device is gone and no transfer has ended that was not taken back; others may still go
    /// on.
    pub fn reap(&self) -> Result<Option<Transfer>> {
        let mut lent = self.lent();
        let Ok(fd) = self.ours() else {
            let transfer = lent.pop().ok_or(Errno::NODEV)?;
            // SAFETY: the kernel writes into the memory of the process that reaps. This process does not
            // reap, and its transfer is a copy.
            return Ok(Some(unsafe { transfer.take_back() }.failed(Errno::NODEV)));
        };
        let request = match calls::reap(fd) {
            Ok(request) => request,
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(index) = lent.iter().position(|transfer| transfer.request() == request) else {
            // It was submitted by another process that has the file open too.
            return Ok(None);
        };
        // SAFETY: the kernel has just given it back.
        Ok(Some(unsafe { lent.swap_remove(index).take_back() }))
    }

    /// Whether the kernel owns a transfer.
    pub fn is_lending(&self) -> bool {
        !self.lent().is_empty()
    }

    fn end_transfers(&self) {
        let tokens: Vec<usize> = self.lent().iter().map(Lent::token).collect();
        tokens.into_iter().for_each(|token| self.cancel(token));
        let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        // Cancelled transfers come back at once. One that does not is leaked: its memory must not be used
        // again.
        while !self.lent().is_empty() && poll(&mut fds, Some(&second)) != Ok(0) && self.reap().is_ok() {}
    }

    /// Whether it was opened by a parent of this process, before a fork.
    pub fn is_inherited(&self) -> bool {
        self.owner != generation()
    }

    /// The file, in the process that opened it.
    fn ours(&self) -> Result<&Descriptor> {
        if self.is_inherited() {
            return Err(Errno::NODEV);
        }
        Ok(&self.fd)
    }

    fn lent(&self) -> MutexGuard<'_, Vec<Lent>> {
        // A panic cannot leave the list half changed.
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UsbfsDevice {
    fn drop(&mut self) {
        if !self.is_inherited() {
            self.end_transfers();
        }
        // Before the file is closed: after that another thread's file may have its number.
        inherited::forget(self.fd.as_fd().as_raw_fd());
    }
}

#[cfg(test)]
mod tests;
