//! Opens the reader that a device name denotes.

#![forbid(unsafe_code)]

use crate::abi::{self, ResponseCode};
use crate::channel::Channel;
use crate::control;
use std::path::Path;

/// Opens the reader with this name, `anything:CONTROL:N`, and listens on its control socket.
pub fn open(name: &str) -> Result<Channel, ResponseCode> {
    let (name, number) = name.rsplit_once(':').ok_or(abi::NO_SUCH_DEVICE)?;
    let (_, control) = name.split_once(':').ok_or(abi::NO_SUCH_DEVICE)?;
    let number = number.parse().map_err(|_| abi::NO_SUCH_DEVICE)?;
    control::listen(Path::new(control)).map_err(|_| abi::COMMUNICATION_ERROR)?;
    Channel::open(number)
}

/// A reader without a name would have no control socket.
pub fn open_any() -> Result<Channel, ResponseCode> {
    Err(abi::NO_SUCH_DEVICE)
}
