//! Until when to wait: the end of a timeout, or the caller's deadline.

use core::time::Duration;

use super::ReaderError;
use crate::transport::TransportError;

/// The end of a wait on the transport's clock.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// The time of the end.
    pub at: Duration,
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

    /// What to fail with at the end: `late`, or a cancellation by the caller.
    pub fn error(self, late: ReaderError) -> ReaderError {
        match self.is_callers {
            true => TransportError::Cancelled.into(),
            false => late,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_comes_with_the_timeout_or_after_it_does_not_count() {
        let (end, cancelled) = (Duration::from_secs(2), TransportError::Cancelled.into());
        for (deadline, at, error) in [
            (None, 2, ReaderError::TooSlow),
            (Some(1), 1, cancelled),
            (Some(2), 2, ReaderError::TooSlow),
            (Some(3), 2, ReaderError::TooSlow),
        ] {
            let limit = Limit::new(end, deadline.map(Duration::from_secs));
            assert_eq!(limit.at, Duration::from_secs(at), "{deadline:?}");
            assert_eq!(limit.error(ReaderError::TooSlow), error, "{deadline:?}");
        }
    }
}
