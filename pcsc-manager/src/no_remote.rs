//! Systems without Unix sockets: no program plays readers there.

use std::convert::Infallible;
use std::io;
use std::path::Path;

use crate::bus::{Bus, BusEvent};
use crate::error::StartError;
use crate::slot::FoundReader;

/// There is none.
pub struct RemoteBus(Infallible);

impl RemoteBus {
    /// Fails.
    pub fn connect(path: &Path) -> Result<RemoteBus, StartError> {
        Err(StartError::Connect {
            path: path.to_owned(),
            source: io::ErrorKind::Unsupported.into(),
        })
    }
}

impl Bus for RemoteBus {
    fn initial(&self) -> Vec<FoundReader> {
        match self.0 {}
    }

    fn wait(&self) -> BusEvent {
        match self.0 {}
    }

    fn stop(&self) {
        match self.0 {}
    }
}
