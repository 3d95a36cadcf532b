//! A time by which what a caller has asked of a reader must end.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pcsc_ccid::transport::{Error, Transport};

use crate::board::lock;

/// The time, shared with the transport of the reader.
#[derive(Debug, Clone, Default)]
pub struct Limit(Arc<Mutex<Option<Instant>>>);

impl Limit {
    /// What is asked from now on has to end by then.
    pub fn set(&self, deadline: Option<Instant>) {
        *lock(&self.0) = deadline;
    }

    /// Waits for at most `timeout`, or until the time is over, which cancels the command, once: its abort has a time of
    /// its own.
    fn within<T>(
        &self,
        timeout: Duration,
        wait: impl FnOnce(Duration) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Some(deadline) = *lock(&self.0) else {
            return wait(timeout);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left >= timeout {
            return wait(timeout);
        }
        let result = if left.is_zero() {
            Err(Error::Timeout)
        } else {
            wait(left)
        };
        if !matches!(result, Err(Error::Timeout)) {
            return result;
        }
        self.set(None);
        Err(Error::Cancelled)
    }
}

/// A reader's transport that keeps to the time.
pub struct Limited<T> {
    inner: T,
    limit: Limit,
}

impl<T: Transport> Limited<T> {
    pub fn new(inner: T, limit: Limit) -> Limited<T> {
        Limited { inner, limit }
    }
}

impl<T: Transport> Transport for Limited<T> {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), Error> {
        self.inner.send(message, timeout)
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, Error> {
        let inner = &mut self.inner;
        self.limit
            .within(timeout, |timeout| inner.receive(buffer, timeout))
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
        let inner = &mut self.inner;
        let paused = self
            .limit
            .within(time, |time| inner.pause(time).and(Err(Error::Timeout)));
        match paused {
            Err(Error::Timeout) => Ok(()),
            paused => paused,
        }
    }

    fn now(&self) -> Duration {
        self.inner.now()
    }
}
