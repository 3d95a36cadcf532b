//! Other systems: the readers as the library `nusb` lists them.

use super::super::candidate::{is_plausible, Candidate, Identity, Notice, Place, Reason, Source};
use super::super::roll::Seen;
use crate::descriptor::interfaces;
use nusb::{DeviceInfo, MaybeFuture};
use std::format;
use std::io;
use std::string::String;
use std::vec::Vec;

/// Looks which of the known readers are gone, and which others are there, all of them ready.
///
/// # Errors
/// Where the system has no USB, or does not tell.
pub(in crate::usb) fn look(known: &[Candidate], _: impl Fn(Place) -> bool) -> io::Result<Seen> {
    let devices: Vec<DeviceInfo> = nusb::list_devices().wait()?.collect();
    let is_there = |reader: &Candidate| {
        devices.iter().any(|info| {
            info.device_address() == reader.place.address && port(info, reader.place.interface) == reader.port
        })
    };
    let gone = known.iter().filter(|reader| !is_there(reader));
    let mut seen = Seen {
        gone: gone.map(|reader| reader.place).collect(),
        ..Seen::default()
    };
    for info in &devices {
        add(info, &mut seen);
    }
    let is_known =
        |place: Place| known.iter().any(|reader| reader.place == place) && !seen.gone.contains(&place);
    seen.arrived.retain(|reader| !is_known(reader.place));
    seen.arrived.sort_by_key(|reader| reader.place);
    Ok(seen)
}

/// What cannot be listed now is tried again at the next event.
pub(in crate::usb) fn is_passing(_: &io::Error) -> bool {
    false
}

fn port(info: &DeviceInfo, interface: u8) -> String {
    format!("{}:{}", info.bus_id(), interface)
}

/// Opens a device that has an interface of the class to read its descriptors.
fn add(info: &DeviceInfo, seen: &mut Seen) {
    if !info.interfaces().any(|interface| is_plausible(interface.class())) {
        return;
    }
    let Ok(device) = info.open().wait() else {
        return;
    };
    let Ok(configuration) = device.active_configuration() else {
        return;
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
            Ok(interface) => seen.arrived.push(Candidate {
                identity: identity.clone(),
                place: place(interface.number),
                port: port(info, interface.number),
                interface_name: info
                    .interfaces()
                    .find(|info| info.interface_number() == interface.number)
                    .and_then(|info| info.interface_string().map(String::from)),
                interface,
                source: Source::Listed(info.clone()),
            }),
            Err(unusable) => seen.notices.push(Notice {
                place: place(unusable.interface),
                identity: identity.clone(),
                reason: Reason::Descriptor(unusable.error),
            }),
        }
    }
}
