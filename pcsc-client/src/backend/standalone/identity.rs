//! Which device a reader of this process is.

use std::ffi::CStr;

use pcsc_manager::Manager;

use crate::identity::{port_and_interface, ReaderIdentity};

/// The identity of a reader. Nothing for one that is gone.
pub fn identity(manager: &Manager, name: &CStr) -> ReaderIdentity {
    let Some(reader) = manager.find(name.to_bytes()) else {
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
