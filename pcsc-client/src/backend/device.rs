//! Contexts on the readers of one device that the caller has opened.

use std::os::fd::OwnedFd;

use super::establish::check_scope;
use super::session::{Backend, Session};
use super::standalone::{ReaderKind, StandaloneContext};
use super::values::SessionOptions;
use crate::error::{Cause, Error, Failure, Outcome};

/// The device's node, open for reading and writing.
pub type UsbDevice = OwnedFd;

impl Session {
    pub(super) fn device(options: &SessionOptions, device: &UsbDevice) -> Outcome<Session> {
        check_scope(options.scope)?;
        let own = device.try_clone();
        let own = own.map_err(|error| Failure::because(Error::NoMemory, Cause::System(error)))?;
        let session = StandaloneContext::on_device(own)?;
        let backend = Backend::Standalone(ReaderKind::Usb, session);
        Ok(Session::of(backend, "its device was given"))
    }
}
