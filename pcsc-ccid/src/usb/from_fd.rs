//! Readers from a file descriptor that somebody else has opened: a broker, or Android.

use super::enumerate::{Candidate, Identity, Place, Source};
use super::error::OpenError;
use crate::descriptor::Unusable;
use nusb::MaybeFuture;
use std::format;
use std::num::NonZeroU8;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;
use std::vec::Vec;

/// How long a device may take to tell a string.
const STRING_TIMEOUT: Duration = Duration::from_millis(500);

/// American English, which devices that have strings have.
const LANGUAGE: u16 = 0x0409;

/// The readers of a device whose node is open for reading and writing, such as the file descriptor of Android's
/// `UsbDeviceConnection`, and its unusable interfaces.
///
/// # Errors
/// [`OpenError::System`] for a file descriptor that is no USB device.
pub fn readers_from_fd(fd: OwnedFd) -> Result<(Vec<Candidate>, Vec<Unusable>), OpenError> {
    let (bus, address) = place_of(&fd).unwrap_or_default();
    let device = nusb::Device::from_fd(fd)
        .wait()
        .map_err(|error| OpenError::System(error.into()))?;
    let descriptor = device.device_descriptor();
    let name = |index: Option<NonZeroU8>| {
        let name = device.get_string_descriptor(index?, LANGUAGE, STRING_TIMEOUT);
        name.wait().ok()
    };
    let identity = Identity {
        vendor_id: descriptor.vendor_id(),
        product_id: descriptor.product_id(),
        release: descriptor.device_version(),
        manufacturer: name(descriptor.manufacturer_string_index()),
        product: name(descriptor.product_string_index()),
        serial: name(descriptor.serial_number_string_index()),
    };
    let configuration = device
        .active_configuration()
        .map_err(|error| OpenError::System(error.into()))?;
    let mut found = Vec::new();
    let mut unusable = Vec::new();
    for reader in crate::descriptor::interfaces(configuration.as_bytes()) {
        match reader {
            Ok(interface) => found.push(Candidate {
                identity: identity.clone(),
                place: Place {
                    bus,
                    address,
                    interface: interface.number,
                },
                port: format!("{bus}-{address}:{}", interface.number),
                interface_name: name(NonZeroU8::new(interface.name_index)),
                interface,
                source: Source::Open(device.clone()),
            }),
            Err(error) => unusable.push(error),
        }
    }
    Ok((found, unusable))
}

/// Bus and address, from the name of the node that the file descriptor is open on.
fn place_of(fd: &OwnedFd) -> Option<(u8, u8)> {
    let node = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
    let mut parts = node.iter().rev().map(|part| part.to_str()?.parse::<u8>().ok());
    let (address, bus) = (parts.next()??, parts.next()??);
    Some((bus, address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_file_that_is_no_device_is_an_error() {
        let file = File::open("/dev/null").unwrap();
        assert!(matches!(readers_from_fd(file.into()), Err(OpenError::System(_))));
    }

    #[test]
    fn bus_and_address_come_from_the_nodes_name() {
        let dir = std::env::temp_dir().join(format!("pcsc-ccid-{}-fd", std::process::id()));
        std::fs::create_dir_all(dir.join("002")).unwrap();
        let place = |name: &str| place_of(&File::create(dir.join("002").join(name)).unwrap().into());
        assert_eq!(place("017"), Some((2, 17)));
        assert_eq!(place("other"), None);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
