//! Why the guest did not run.

use std::fmt;
use std::io;

/// Why the guest did not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// There is no QEMU for this machine: tests are skipped, with a message.
    Unavailable(String),
    /// The guest failed.
    Failed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(reason) => write!(formatter, "no guest on this machine: {reason}"),
            Self::Failed(reason) => write!(formatter, "the guest: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
