//! Opens the reader that a device name of pcscd's or of a reader.conf.d file denotes.

#![forbid(unsafe_code)]

use crate::abi::{self, ResponseCode};
use crate::channel::Channel;
use crate::log::{log, Level};
use crate::settings;
#[cfg(feature = "sim")]
use crate::sim;
use pcsc_ccid::descriptor::Flavour;
use pcsc_ccid::shared::{Notifications, SharedReader};
use pcsc_ccid::usb::{self, Candidate, NoticeReason, OpenError};

/// A device name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeviceName<'a> {
    /// A USB device.
    Usb {
        vendor: u16,
        product: u16,
        place: Option<UsbPlace>,
    },
    /// A simulated reader.
    Simulated(&'a str),
}

/// A device's place on the bus, and the number of its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct UsbPlace {
    bus: u8,
    address: u8,
    interface: Option<u8>,
}

impl DeviceName<'_> {
    /// `usb:VVVV/PPPP`, alone or followed by
    /// * `:libudev:INTERFACE:/dev/bus/usb/BUS/ADDRESS`, from pcscd with libudev,
    /// * `:libusb-1.0:BUS:ADDRESS:INTERFACE`, from pcscd with libusb,
    /// * anything else, such as a HAL identifier, which is ignored;
    ///
    /// or `sim:MODEL` with options.
    fn parse(name: &str) -> Option<DeviceName<'_>> {
        if let Some(model) = name.strip_prefix("sim:") {
            return Some(DeviceName::Simulated(model));
        }
        let mut parts = name.strip_prefix("usb:")?.splitn(3, ':');
        let (vendor, product) = parts.next()?.split_once('/')?;
        let id = |text| u16::from_str_radix(text, 16).ok();
        let place = match (parts.next(), parts.next()) {
            (Some("libudev"), Some(rest)) => Some(UsbPlace::from_udev(rest)?),
            (Some("libusb-1.0"), Some(rest)) => Some(UsbPlace::from_libusb(rest)?),
            _ => None,
        };
        Some(DeviceName::Usb {
            vendor: id(vendor)?,
            product: id(product)?,
            place,
        })
    }
}

impl UsbPlace {
    fn from_udev(text: &str) -> Option<UsbPlace> {
        let (interface, node) = text.split_once(':')?;
        let mut parts = node.strip_prefix("/dev/bus/usb/")?.split('/');
        let place = UsbPlace {
            bus: parts.next()?.parse().ok()?,
            address: parts.next()?.parse().ok()?,
            interface: Some(interface.parse().ok()?),
        };
        parts.next().is_none().then_some(place)
    }

    fn from_libusb(text: &str) -> Option<UsbPlace> {
        let mut numbers = text.split(':').map(|number| number.parse().ok());
        let place = UsbPlace {
            bus: numbers.next()??,
            address: numbers.next()??,
            interface: numbers.next().flatten(),
        };
        Some(place)
    }

    fn matches(&self, place: &usb::Place) -> bool {
        self.bus == place.bus
            && self.address == place.address
            && self
                .interface
                .is_none_or(|interface| interface == place.interface)
    }
}

/// Opens the reader that a device name denotes.
///
/// # Errors
/// [`abi::NO_SUCH_DEVICE`] if there is none: pcscd then tries the device's next interface.
/// [`abi::COMMUNICATION_ERROR`] if the reader cannot be used; the reason is logged.
pub fn open(name: &str) -> Result<Channel, ResponseCode> {
    match DeviceName::parse(name) {
        Some(DeviceName::Usb {
            vendor,
            product,
            place,
        }) => open_usb(name, |identity, here| {
            (identity.vendor_id, identity.product_id) == (vendor, product)
                && place.is_none_or(|place| place.matches(here))
        }),
        #[cfg(feature = "sim")]
        Some(DeviceName::Simulated(model)) => {
            let (reader, has_waits) = sim::reader(model).map_err(|reason| {
                log(Level::Critical, format_args!("{name}: {reason}"));
                abi::NO_SUCH_DEVICE
            })?;
            Channel::open(name.to_owned(), reader, has_waits)
        }
        _ => {
            log(Level::Critical, format_args!("{name}: not a device name"));
            Err(abi::NO_SUCH_DEVICE)
        }
    }
}

/// Opens the first free USB reader whose numbers are in the list of known readers.
///
/// # Errors
/// As [`open`].
pub fn open_any() -> Result<Channel, ResponseCode> {
    open_usb("any reader", |identity, _| {
        pcsc_ccid::names::model(identity.vendor_id, identity.product_id).is_some()
    })
}

/// Opens the first usable USB reader that matches.
fn open_usb(
    name: &str,
    matches: impl Fn(&usb::DeviceIdentity, &usb::Place) -> bool,
) -> Result<Channel, ResponseCode> {
    let listing = usb::list().map_err(|error| {
        log(Level::Critical, format_args!("{name}: {error}"));
        abi::COMMUNICATION_ERROR
    })?;
    let mut result = Err(abi::NO_SUCH_DEVICE);
    for candidate in &listing.readers {
        if !matches(&candidate.identity, &candidate.place) {
            continue;
        }
        match channel(name, candidate.clone()) {
            Ok(channel) => return Ok(channel),
            Err(abi::NO_SUCH_DEVICE) => (),
            Err(error) => result = Err(error),
        }
    }
    for notice in &listing.notices {
        if notice.reason != NoticeReason::Ignored && matches(&notice.identity, &notice.place) {
            log(Level::Critical, format_args!("{notice}"));
            result = Err(abi::COMMUNICATION_ERROR);
        }
    }
    result
}

fn channel(name: &str, candidate: Candidate) -> Result<Channel, ResponseCode> {
    let interface = candidate.interface;
    let identity = candidate.identity.clone();
    // The card of a token cannot be removed: pcscd need not poll for it.
    let is_token = interface.flavour != Flavour::Ccid;
    let options = settings::get().reader_options;
    let mut open = candidate.opener(options, move |error| match error {
        // pcscd's own watch of the bus reports that.
        OpenError::Gone => (),
        error => log(Level::Critical, format_args!("{identity}: {error}")),
    });
    let open = move |deadline| {
        let mut opened = open(deadline)?;
        if is_token {
            opened.notifications = Notifications::Pushed;
        }
        Ok(opened)
    };
    let reader = SharedReader::new(interface.descriptor.slots(), Box::new(open));
    Channel::open(
        name.to_owned(),
        reader,
        is_token || interface.interrupt_in.is_some(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usb(place: Option<(u8, u8, Option<u8>)>) -> Option<DeviceName<'static>> {
        let place = place.map(|(bus, address, interface)| UsbPlace {
            bus,
            address,
            interface,
        });
        Some(DeviceName::Usb {
            vendor: 0x08E6,
            product: 0x3437,
            place,
        })
    }

    #[test]
    fn names_of_pcscd_are_parsed() {
        let parse = DeviceName::parse;
        assert_eq!(
            parse("usb:08e6/3437:libudev:1:/dev/bus/usb/002/013"),
            usb(Some((2, 13, Some(1))))
        );
        assert_eq!(
            parse("usb:08e6/3437:libusb-1.0:2:13:0"),
            usb(Some((2, 13, Some(0))))
        );
        assert_eq!(parse("usb:08e6/3437:libusb-1.0:2:13"), usb(Some((2, 13, None))));
        assert_eq!(
            parse("usb:08e6/3437:libhal:/org/freedesktop/Hal/devices/usb_device_8e6_3437_if0"),
            usb(None)
        );
        assert_eq!(parse("usb:08E6/3437"), usb(None));
        assert_eq!(
            parse("sim:au9540:card=t1"),
            Some(DeviceName::Simulated("au9540:card=t1"))
        );
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            "usb",
            "usb:",
            "usb:08e6",
            "usb:08e6/",
            "usb:108e6/3437",
            "usb:08e6/3437:libudev:1",
            "usb:08e6/3437:libudev:x:/dev/bus/usb/002/013",
            "usb:08e6/3437:libudev:1:/dev/bus/usb/002",
            "usb:08e6/3437:libudev:1:/dev/bus/usb/002/013/4",
            "usb:08e6/3437:libudev:1:/dev/bus/usb/002/300",
            "usb:08e6/3437:libusb-1.0:2",
            "/dev/ttyS0",
        ] {
            assert_eq!(DeviceName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_of_no_device_is_no_such_device() {
        assert_eq!(open("/dev/ttyS0").err(), Some(abi::NO_SUCH_DEVICE));
    }
}
