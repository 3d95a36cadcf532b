//! Which device a reader of this process is.

use std::ffi::CStr;

use super::calls::StandaloneContext;
use crate::identity::{port_and_interface, ReaderIdentity};

impl StandaloneContext {
    /// See [`Session::identities`](crate::backend::Session::identities).
    pub(crate) fn identities(&self, readers: &[(&CStr, bool)]) -> Vec<ReaderIdentity> {
        let identity = |(name, _): &(&CStr, bool)| self.identity(name.to_bytes());
        readers.iter().map(identity).collect()
    }

    /// The identity of a reader. Nothing for one that is gone.
    fn identity(&self, name: &[u8]) -> ReaderIdentity {
        let Some(reader) = self.manager().find(name) else {
            return ReaderIdentity::default();
        };
        let slot = Some(reader.slot());
        let Some(device) = reader.device() else {
            return ReaderIdentity {
                slot,
                ..ReaderIdentity::default()
            };
        };
        let (port, interface) = port_and_interface(&device.path);
        // A simulated reader is on no bus.
        let place = |number: u8| port.as_ref().map(|_| number);
        ReaderIdentity {
            vendor_id: Some(device.vendor),
            product_id: Some(device.product),
            serial: device.serial.clone(),
            bus: place(device.bus),
            address: place(device.address),
            interface,
            slot,
            port,
        }
    }
}
