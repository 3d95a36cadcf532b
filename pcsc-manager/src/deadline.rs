//! A transport whose waits end at a caller's deadline.

use std::time::{Duration, Instant};

use pcsc_ccid::transport::{Error, Transport};

/// A reader's transport that cancels a command at the caller's deadline.
pub struct DeadlineTransport<T> {
    inner: T,
    deadline: Option<Instant>,
}

impl<T: Transport> DeadlineTransport<T> {
    /// A transport with a deadline for what comes first.
    pub fn new(inner: T, deadline: Option<Instant>) -> DeadlineTransport<T> {
        DeadlineTransport { inner, deadline }
    }

    /// Sets the deadline of the commands that follow.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Waits for at most `timeout`, or until the deadline, which cancels the command. It cancels once: the
    /// abort that follows has a time of its own.
    fn until_deadline<R>(
        &mut self,
        timeout: Duration,
        wait: impl FnOnce(&mut T, Duration) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let Some(deadline) = self.deadline else {
            return wait(&mut self.inner, timeout);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left >= timeout {
            return wait(&mut self.inner, timeout);
        }
        let result = if left.is_zero() {
            Err(Error::Timeout)
        } else {
            wait(&mut self.inner, left)
        };
        if !matches!(result, Err(Error::Timeout)) {
            return result;
        }
        self.deadline = None;
        Err(Error::Cancelled)
    }
}

impl<T: Transport> Transport for DeadlineTransport<T> {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), Error> {
        self.inner.send(message, timeout)
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, Error> {
        self.until_deadline(timeout, |inner, timeout| inner.receive(buffer, timeout))
    }

    fn control_out(&mut self, request: u8, value: u16, data: &[u8], timeout: Duration) -> Result<(), Error> {
        self.inner.control_out(request, value, data, timeout)
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, Error> {
        self.inner.control_in(request, value, buffer, timeout)
    }

    fn clear_halt(&mut self) -> Result<(), Error> {
        self.inner.clear_halt()
    }

    fn pause(&mut self, time: Duration) -> Result<(), Error> {
        // A pause that ends is no timeout.
        let paused = self.until_deadline(time, |inner, time| inner.pause(time).and(Err(Error::Timeout)));
        match paused {
            Err(Error::Timeout) => Ok(()),
            paused => paused,
        }
    }

    fn now(&self) -> Duration {
        self.inner.now()
    }
}
