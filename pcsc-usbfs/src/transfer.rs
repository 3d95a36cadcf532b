//! A request to the kernel with its buffer.

use rustix::io::Errno;
use std::ffi::{c_int, c_uchar, c_uint, c_void};
use std::ptr::{self, NonNull};

/// The kinds of transfer that a reader has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferKind {
    /// Interrupt.
    Interrupt = 1,
    /// Control: the buffer begins with the eight bytes of the request.
    Control = 2,
    /// Bulk.
    Bulk = 3,
}

/// `struct usbdevfs_urb`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Request {
    kind: c_uchar,
    endpoint: c_uchar,
    status: c_int,
    flags: c_uint,
    buffer: *mut c_void,
    buffer_length: c_int,
    actual_length: c_int,
    start_frame: c_int,
    number_of_packets: c_int,
    error_count: c_int,
    signal: c_uint,
    context: *mut c_void,
}

#[derive(Debug)]
struct Inner {
    request: Request,
    buffer: Vec<u8>,
    token: usize,
}

/// A transfer that the kernel does not own.
#[derive(Debug)]
pub struct Transfer(Box<Inner>);

// SAFETY: the pointers in it are used by the kernel alone, and only while it is lent.
unsafe impl Send for Transfer {}

impl Transfer {
    /// A transfer for the endpoint with this address. `token` identifies it.
    pub fn new(kind: TransferKind, endpoint: u8, token: usize) -> Transfer {
        Transfer(Box::new(Inner {
            request: Request {
                kind: kind as c_uchar,
                endpoint,
                status: 0,
                flags: 0,
                buffer: ptr::null_mut(),
                buffer_length: 0,
                actual_length: 0,
                start_frame: 0,
                number_of_packets: 0,
                error_count: 0,
                signal: 0,
                context: ptr::null_mut(),
            },
            buffer: Vec::new(),
            token,
        }))
    }

    /// The token that it was made with.
    pub fn token(&self) -> usize {
        self.0.token
    }

    /// Sets the buffer: the data to send or, for an IN transfer, room of its length.
    pub fn set_buffer(&mut self, buffer: Vec<u8>) {
        self.0.buffer = buffer;
    }

    /// Takes the buffer out. It has the length that was put in; see [`actual_length`](Self::actual_length).
    pub fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0.buffer)
    }

    /// How many bytes were transferred, the eight of a control request not counted.
    pub fn actual_length(&self) -> usize {
        self.0.request.actual_length.try_into().unwrap_or(0)
    }

    /// How it ended.
    ///
    /// # Errors
    /// The host controller's error; `ENOENT` after a cancellation.
    pub fn status(&self) -> Result<(), Errno> {
        match self.0.request.status {
            0 => Ok(()),
            // The kernel passes the host controller's error on as a negative number.
            status => Err(Errno::from_raw_os_error(status.saturating_abs())),
        }
    }

    /// The same transfer, ended with this error.
    pub(crate) fn failed(mut self, error: Errno) -> Transfer {
        self.0.request.status = -error.raw_os_error();
        self.0.request.actual_length = 0;
        self
    }

    pub(crate) fn lend(mut self) -> Lent {
        let Inner { request, buffer, .. } = &mut *self.0;
        // The request is used again: the kernel writes these two when the transfer ends, and not if it
        // refuses it.
        request.status = 0;
        request.actual_length = 0;
        request.buffer = buffer.as_mut_ptr().cast();
        // A longer one is refused by the kernel.
        request.buffer_length = buffer.len().try_into().unwrap_or(c_int::MAX);
        Lent {
            token: self.0.token,
            inner: NonNull::from(Box::leak(self.0)),
        }
    }
}

/// A transfer that the kernel owns. Dropping this leaks it.
#[derive(Debug)]
pub(crate) struct Lent {
    inner: NonNull<Inner>,
    token: usize,
}

// SAFETY: as for `Transfer`; while it is lent, the pointer is not dereferenced.
unsafe impl Send for Lent {}

impl Lent {
    pub(crate) fn token(&self) -> usize {
        self.token
    }

    pub(crate) fn request(&self) -> *mut Request {
        // SAFETY: the pointer comes from a box, so the field is within an allocation; nothing is read.
        unsafe { &raw mut (*self.inner.as_ptr()).request }
    }

    /// # Safety
    /// The kernel does not have it, or has given it back.
    pub(crate) unsafe fn take_back(self) -> Transfer {
        // SAFETY: the pointer comes from `Box::leak`, and only this makes a box of it again, once: it takes
        // `self`.
        Transfer(unsafe { Box::from_raw(self.inner.as_ptr()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_that_was_lent_comes_back_as_it_was() {
        let mut transfer = Transfer::new(TransferKind::Bulk, 0x82, 7);
        transfer.set_buffer(vec![1, 2, 3]);
        let lent = transfer.lend();
        assert_eq!(lent.token(), 7);
        // SAFETY: no kernel has seen it.
        let mut transfer = unsafe { lent.take_back() };
        assert_eq!(
            (transfer.token(), transfer.actual_length(), transfer.status()),
            (7, 0, Ok(()))
        );
        assert_eq!(transfer.take_buffer(), [1, 2, 3]);
    }

    #[test]
    fn an_error_may_have_either_sign() {
        let mut transfer = Transfer::new(TransferKind::Bulk, 2, 0);
        transfer.0.request.status = -Errno::PIPE.raw_os_error();
        assert_eq!(transfer.status(), Err(Errno::PIPE));
        transfer.0.request.status = Errno::PIPE.raw_os_error();
        assert_eq!(transfer.status(), Err(Errno::PIPE));
        transfer.0.request.actual_length = -1;
        assert_eq!(transfer.actual_length(), 0);
    }
}
