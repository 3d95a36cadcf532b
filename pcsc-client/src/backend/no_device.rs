//! Systems on which a program cannot be given a device on the USB, and builds without a driver.

use super::session::Session;
use super::values::SessionOptions;
use crate::error::Outcome;

/// There is none.
#[derive(Debug)]
pub enum UsbDevice {}

impl Session {
    pub(super) fn device(_options: &SessionOptions, device: &UsbDevice) -> Outcome<Session> {
        match *device {}
    }
}
