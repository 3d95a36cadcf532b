//! Until when to wait: the end of a timeout, or the caller's deadline.

use core::time::Duration;

use super::Error;
use crate::transport;

/// The end of a wait on the transport's clock.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    at: Duration,
    /// The caller's deadline, which comes first.
    is_callers: bool,
}

impl Limit {
    /// The earlier one of the end of a timeout and the caller's deadline.
    pub fn new(end: Duration, deadline: Option<Duration>) -> Limit {
        match deadline.filter(|deadline| *deadline < end) {
            Some(at) => Limit { at, is_callers: true },
            None => Limit {
                at: end,
                is_callers: false,
            },
        }
    }

    /// The time of the end.
    pub fn at(self) -> Duration {
        self.at
    }

    /// What to fail with at the end: `late`, or a cancellation by the caller.
    pub fn error(self, late: Error) -> Error {
        match self.is_callers {
            true => transport::Error::Cancelled.into(),
            false => late,
        }
    }
}
