//! Which readers there are, without opening one where the system tells.

use super::candidate::Listing;
#[cfg(any(target_os = "macos", target_os = "windows"))]
use super::candidate::{is_plausible, Candidate, Identity, Notice, Place, Reason, Source};
#[cfg(any(target_os = "macos", target_os = "windows"))]
use crate::descriptor::interfaces;
#[cfg(any(target_os = "macos", target_os = "windows"))]
use std::format;
use std::io;
#[cfg(any(target_os = "macos", target_os = "windows"))]
use std::string::String;

/// Lists the readers.
///
/// # Errors
/// Where the system has no USB, or does not tell.
pub fn list() -> io::Result<Listing> {
    let mut listing = Listing::default();
    #[cfg(target_os = "linux")]
    super::sysfs::list(&mut listing)?;
    #[cfg(any(target_os = "macos", target_os = "windows"))]
    list_by_opening(&mut listing)?;
    listing.readers.sort_by_key(|reader| reader.place);
    Ok(listing)
}

/// Opens every device that has an interface of the class to read its descriptors.
#[cfg(any(target_os = "macos", target_os = "windows"))]
fn list_by_opening(listing: &mut Listing) -> io::Result<()> {
    use nusb::MaybeFuture;

    for info in nusb::list_devices().wait()? {
        if !info.interfaces().any(|interface| is_plausible(interface.class())) {
            continue;
        }
        let Ok(device) = info.open().wait() else {
            continue;
        };
        let Ok(configuration) = device.active_configuration() else {
            continue;
        };
        let identity = Identity {
            vendor_id: info.vendor_id(),
            product_id: info.product_id(),
            release: info.device_version(),
            manufacturer: info.manufacturer_string().map(String::from),
            product: info.product_string().map(String::from),
            serial: info.serial_number().map(String::from),
        };
        for found in interfaces(configuration.as_bytes()) {
            let place = |interface| Place {
                bus: 0,
                address: info.device_address(),
                interface,
            };
            match found {
                Ok(interface) => listing.readers.push(Candidate {
                    identity: identity.clone(),
                    place: place(interface.number),
                    port: format!("{}:{}", info.bus_id(), interface.number),
                    interface_name: info
                        .interfaces()
                        .find(|info| info.interface_number() == interface.number)
                        .and_then(|info| info.interface_string().map(String::from)),
                    interface,
                    source: Source::Listed(info.clone()),
                }),
                Err(unusable) => listing.notices.push(Notice {
                    place: place(unusable.interface),
                    identity: identity.clone(),
                    reason: Reason::Descriptor(unusable.error),
                }),
            }
        }
    }
    Ok(())
}
