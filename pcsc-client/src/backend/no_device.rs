//! Systems on which a program cannot be given a device on the USB, and builds without a driver.

use super::session::Session;
use super::usb_device::UsbDevice;
use super::values::SessionOptions;
use crate::error::Outcome;

impl Session {
    pub(super) fn device(_options: &SessionOptions, device: &UsbDevice) -> Outcome<Session> {
        match *device {}
    }
}
