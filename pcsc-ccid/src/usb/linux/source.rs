//! What is opened to use a reader.

use super::super::candidate::Place;
use super::super::error::Refusal;
use super::device::OpenDevice;

/// What is opened to use a reader.
#[derive(Debug, Clone)]
pub(in crate::usb) enum Source {
    /// The device's node.
    Node,
    /// A device that is open already.
    Open(OpenDevice),
}

impl Source {
    pub(in crate::usb) fn open(&self, place: Place) -> Result<OpenDevice, Refusal> {
        match self {
            Source::Node => OpenDevice::open(&place.node()),
            Source::Open(device) => Ok(device.clone()),
        }
    }
}
