//! Linux's system calls for USB devices (`linux/usbdevice_fs.h`), made safe and nothing more.
//!
//! A [`Transfer`] is a buffer that is lent to the kernel from [`Device::submit`] until [`Device::reap`] gives it back.
//! There is no thread here and no event loop: wait for the device's file descriptor to become writable, then reap.
//! On other systems this crate is empty.

#![cfg(any(target_os = "linux", target_os = "android"))]

mod calls;
mod transfer;

pub use transfer::{Kind, Transfer};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, Result};
use std::sync::{Mutex, MutexGuard, PoisonError};
use transfer::Lent;

/// An open device, `/dev/bus/usb/BBB/DDD`. Interfaces that it has claimed are released when it is dropped.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
    lent: Mutex<Vec<Lent>>,
    /// The process that opened it. A child shares the open file: what it cancels is its parent's.
    owner: u32,
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Device {
    /// A device whose node is open for reading and writing.
    pub fn new(fd: OwnedFd) -> Device {
        Device {
            fd,
            lent: Mutex::default(),
            owner: std::process::id(),
        }
    }

    /// Claims an interface for this file descriptor. No driver is detached.
    ///
    /// # Errors
    /// `EBUSY` if a driver or another process has it, `ENOENT` if there is none, `ENODEV` if the device is gone.
    pub fn claim(&self, interface: u8) -> Result<()> {
        calls::claim_interface(&self.fd, interface.into())
    }

    /// Gives an interface back; in a child process, which shares its parent's claims, it does nothing.
    ///
    /// # Errors
    /// `EINVAL` if it is not claimed, `ENODEV` if the device is gone.
    pub fn release(&self, interface: u8) -> Result<()> {
        if !self.is_ours() {
            return Ok(());
        }
        calls::release_interface(&self.fd, interface.into())
    }

    /// Chooses an alternate setting of a claimed interface (USB 2.0, clause 9.4.10).
    ///
    /// # Errors
    /// `EINVAL` if there is none such, `ENODEV` if the device is gone.
    pub fn set_alternate(&self, interface: u8, alternate: u8) -> Result<()> {
        calls::set_interface(&self.fd, interface.into(), alternate.into())
    }

    /// Ends the halt of an endpoint (USB 2.0, clause 9.4.1).
    ///
    /// # Errors
    /// `ENODEV` if the device is gone; others if it refuses.
    pub fn clear_halt(&self, endpoint: u8) -> Result<()> {
        calls::clear_halt(&self.fd, endpoint.into())
    }

    /// Hands a transfer to the kernel.
    ///
    /// # Errors
    /// The transfer, and why it was not taken: `ENODEV` if the device is gone.
    pub fn submit(&self, transfer: Transfer) -> std::result::Result<(), (Transfer, Errno)> {
        let transfer = transfer.lend();
        // Held until the transfer is in the list: it can be reaped at once.
        let mut lent = self.lent();
        // SAFETY: the request and its buffer live until they are reaped: nothing but `reap` takes them from the list.
        match unsafe { calls::submit(&self.fd, transfer.request()) } {
            Ok(()) => {
                lent.push(transfer);
                Ok(())
            }
            // SAFETY: the kernel has not taken it.
            Err(error) => Err((unsafe { transfer.take_back() }, error)),
        }
    }

    /// Cancels the transfers with this token, where they have not ended. They are reaped like others.
    pub fn cancel(&self, token: usize) {
        for transfer in self.lent().iter().filter(|transfer| transfer.token() == token) {
            // It has ended already, or the device is gone: it can be reaped either way.
            _ = calls::discard(&self.fd, transfer.request());
        }
    }

    /// Takes a transfer back that has ended; `None` if none has. After the device is gone, all end.
    ///
    /// # Errors
    /// `ENODEV` if the device is gone and every transfer has been taken back.
    pub fn reap(&self) -> Result<Option<Transfer>> {
        let mut lent = self.lent();
        let request = match calls::reap(&self.fd) {
            Ok(request) => request,
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(index) = lent.iter().position(|transfer| transfer.request() == request) else {
            // Submitted by somebody else who has the file open too.
            return Ok(None);
        };
        // SAFETY: the kernel has just given it back.
        Ok(Some(unsafe { lent.swap_remove(index).take_back() }))
    }

    /// Whether a transfer is the kernel's.
    pub fn is_lending(&self) -> bool {
        !self.lent().is_empty()
    }

    fn is_ours(&self) -> bool {
        self.owner == std::process::id()
    }

    fn lent(&self) -> MutexGuard<'_, Vec<Lent>> {
        // The list is right at each moment that the lock is held.
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        let tokens: Vec<usize> = self.lent().iter().map(Lent::token).collect();
        tokens.into_iter().for_each(|token| self.cancel(token));
        let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        // Cancelled transfers come back at once. One that does not is leaked: its memory must not be used again.
        while !self.lent().is_empty() && poll(&mut fds, Some(&second)) != Ok(0) && self.reap().is_ok() {}
    }
}
