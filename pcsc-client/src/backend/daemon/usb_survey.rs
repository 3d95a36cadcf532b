//! What this machine's USB shows of a daemon's readers.

use std::ffi::CStr;

use pcsc_ccid::{names, usb};

use crate::identity::{port_and_interface, ReaderIdentity};

/// The readers on this machine's USB, also those that this process may not open.
pub struct Survey(usb::Listing);

impl Survey {
    /// Looks without opening a device.
    pub fn new() -> Survey {
        // Without a USB there is nothing to add to what the daemon gives.
        Survey(usb::list().unwrap_or_default())
    }

    /// Adds what a daemon does not give. One behind a forwarded socket has the readers of another
    /// machine: not only bus and address have to be the same, but also the name.
    pub fn complete(&self, identity: ReaderIdentity, name: &CStr) -> ReaderIdentity {
        let readers = self.0.readers.iter();
        let readers = readers.map(|reader| (&reader.place, &reader.identity, &reader.port));
        let notices = self.0.notices.iter();
        let notices = notices.map(|notice| (&notice.place, &notice.identity, &notice.port));
        let mut found = readers.chain(notices).filter(|(place, device, _)| {
            (Some(place.bus), Some(place.address)) == (identity.bus, identity.address)
                && is_named_by(name, device)
        });
        let Some((_, device, port)) = found.next() else {
            return identity;
        };
        let (port, interface) = port_and_interface(port);
        ReaderIdentity {
            vendor_id: Some(device.vendor_id),
            product_id: Some(device.product_id),
            serial: identity.serial.or_else(|| device.serial.clone()),
            port: identity.port.or(port),
            // The driver of old versions does not say which of several interfaces it is.
            interface: identity
                .interface
                .or(interface.filter(|_| found.next().is_none())),
            ..identity
        }
    }
}

/// Whether pcscd may give a device's reader this name, which begins with the model's.
fn is_named_by(name: &CStr, device: &usb::DeviceIdentity) -> bool {
    let model = names::NameIdentity {
        vendor: device.vendor_id,
        product: device.product_id,
        manufacturer: device.manufacturer.as_deref(),
        product_name: device.product.as_deref(),
        ..names::NameIdentity::default()
    };
    name.to_bytes().starts_with(model.base_name().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_not_taken_for_another_machines_reader() {
        let mut device = usb::DeviceIdentity::default();
        (device.vendor_id, device.product_id) = (0x058F, 0x9540);
        let named = |name| is_named_by(name, &device);
        assert!(named(c"Alcor Micro AU9540 00 00"));
        assert!(named(c"Alcor Micro AU9540 [Interface] (serial) 00 00"));
        assert!(!named(c"Yubico YubiKey OTP+FIDO+CCID 00 00"));
    }
}
