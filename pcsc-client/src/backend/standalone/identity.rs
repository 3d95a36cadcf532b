//! Which device a reader of this process is.

use super::calls::StandaloneContext;
use crate::identity::{port_and_interface, ReaderIdentity};

impl StandaloneContext {
    /// The identity of a reader. Nothing for one that is gone.
    pub fn identity(&self, name: &[u8]) -> ReaderIdentity {
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
