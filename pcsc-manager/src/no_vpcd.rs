//! Systems where no virtual cards are waited for: the wait needs `poll`.

use std::io;
use std::net::SocketAddr;

use crate::error::StartError;
use crate::slot::FoundReader;

/// A reader that cannot be opened.
#[derive(Clone)]
pub struct VpcdReader;

impl VpcdReader {
    /// Leaves the addresses alone.
    pub fn new(_addresses: impl IntoIterator<Item = SocketAddr>) -> VpcdReader {
        VpcdReader
    }

    /// Fails for a description of such a reader.
    pub(crate) fn parse(text: &str) -> Option<Result<VpcdReader, StartError>> {
        let unsupported = || Err(StartError::Listen(io::ErrorKind::Unsupported.into()));
        text.starts_with("vpcd").then(unsupported)
    }

    /// Adds nothing.
    pub(crate) fn add(&mut self, _text: &str) -> bool {
        false
    }

    /// Fails.
    pub fn open(&self) -> io::Result<Vec<SocketAddr>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// No slots.
    pub fn found(&self) -> FoundReader {
        FoundReader {
            name: String::new(),
            device: None,
            slots: Vec::new(),
        }
    }
}
