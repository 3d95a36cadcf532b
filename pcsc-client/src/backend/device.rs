//! Contexts on the readers of one device that the caller has opened.

use super::establish::check_scope;
use super::session::{Backend, Session};
use super::standalone::{ReaderKind, StandaloneContext};
use super::usb_device::UsbDevice;
use super::values::SessionOptions;
use crate::error::{Cause, Error, Failure, Outcome};

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
