//! Which device a reader is.

use std::ffi::CStr;

#[cfg(feature = "daemon")]
use super::daemon::Inquiry;
use super::session::{Backend, Session};
use crate::identity::ReaderIdentity;

impl Session {
    /// The identities of the readers of these names, as far as they are known. Each name comes with whether
    /// another connection uses the reader.
    pub fn identities(&self, readers: &[(&CStr, bool)]) -> Vec<ReaderIdentity> {
        match &self.backend {
            #[cfg(feature = "daemon")]
            Backend::Daemon(context) => {
                let inquiry = Inquiry::new(context);
                let identities = readers
                    .iter()
                    .map(|(name, is_used)| inquiry.identity(name, *is_used));
                #[cfg(feature = "standalone")]
                let identities = {
                    let survey = survey::Survey::new();
                    identities
                        .zip(readers)
                        .map(move |(identity, (name, _))| survey.complete(identity, name))
                };
                identities.collect()
            }
            #[cfg(feature = "standalone")]
            Backend::Standalone(_, context) => readers
                .iter()
                .map(|(name, _)| context.identity(name.to_bytes()))
                .collect(),
            #[cfg(feature = "system")]
            Backend::System(_) => vec![ReaderIdentity::default(); readers.len()],
        }
    }
}

/// The slot: a daemon's names of readers end in two numbers, of which it is the second.
#[cfg(feature = "daemon")]
pub fn slot_of(name: &CStr) -> Option<u8> {
    let (rest, slot) = name.to_str().ok()?.rsplit_once(' ')?;
    let (_, number) = rest.rsplit_once(' ')?;
    let is_number = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let slot = Some(slot).filter(|slot| is_number(number) && is_number(slot))?;
    u8::from_str_radix(slot, 16).ok()
}

/// The port and the interface of a name such as `1-4.2:1.0`.
pub fn port_and_interface(name: &str) -> (Option<String>, Option<u8>) {
    let (port, interface) = name.split_once(':').unwrap_or((name, ""));
    let number = interface
        .rsplit('.')
        .next()
        .and_then(|number| number.parse().ok());
    (Some(port.to_owned()).filter(|port| !port.is_empty()), number)
}

/// What this machine knows of a daemon's readers.
#[cfg(all(feature = "daemon", feature = "standalone"))]
mod survey {
    use std::ffi::CStr;

    use pcsc_ccid::{names, usb};

    use super::port_and_interface;
    use crate::identity::ReaderIdentity;

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
    pub(super) fn is_named_by(name: &CStr, device: &usb::DeviceIdentity) -> bool {
        let model = names::Identity {
            vendor: device.vendor_id,
            product: device.product_id,
            manufacturer: device.manufacturer.as_deref(),
            product_name: device.product.as_deref(),
            ..names::Identity::default()
        };
        name.to_bytes().starts_with(model.base_name().as_bytes())
    }
}

#[cfg(all(test, feature = "daemon", feature = "standalone"))]
mod tests {
    use super::*;

    #[test]
    fn names_give_slot_port_and_interface() {
        assert_eq!(
            slot_of(c"Gemalto Prox Dual USB PC Link Reader (X) 00 0A"),
            Some(10)
        );
        for other in [
            c"",
            c"00",
            c"00 01",
            c"Reader 0 01",
            c"Reader 00 001",
            c"Reader 00 +1",
        ] {
            assert_eq!(slot_of(other), None, "{other:?}");
        }
        assert_eq!(port_and_interface("1-4.2:1.3"), (Some("1-4.2".into()), Some(3)));
        assert_eq!(port_and_interface("1-4.2"), (Some("1-4.2".into()), None));
        assert_eq!(port_and_interface(""), (None, None));
    }

    #[test]
    fn a_device_is_not_taken_for_another_machines_reader() {
        let mut device = pcsc_ccid::usb::DeviceIdentity::default();
        (device.vendor_id, device.product_id) = (0x058F, 0x9540);
        let named = |name| survey::is_named_by(name, &device);
        assert!(named(c"Alcor Micro AU9540 00 00"));
        assert!(named(c"Alcor Micro AU9540 [Interface] (serial) 00 00"));
        assert!(!named(c"Yubico YubiKey OTP+FIDO+CCID 00 00"));
    }
}
