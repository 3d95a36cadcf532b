//! Device names, as pcscd passes them and as its reader.conf.d has them, and the readers that they name.

#![forbid(unsafe_code)]

use crate::abi::{self, ResponseCode};
use crate::events::Events;
use crate::pcscd::{log, Level};
#[cfg(feature = "sim")]
use crate::sim;
use crate::watcher::Watcher;
use pcsc_ccid::descriptor::{Flavour, Interface};
use pcsc_ccid::reader;
use pcsc_ccid::transport::Transport;
use pcsc_ccid::usb::{self, Candidate, OpenError, Presence, Reason};
use std::sync::Arc;

/// A reader's commands, whoever carries them.
pub type AnyTransport = Box<dyn Transport>;

/// A reader whose interface is claimed.
pub struct Device {
    /// Its commands.
    pub transport: AnyTransport,
    /// Its descriptors.
    pub interface: Interface,
    /// What it says of itself.
    pub identity: reader::DeviceInfo,
    /// The name it was opened by.
    pub name: String,
    /// Its events, and whoever brings them.
    pub events: Arc<Events>,
    /// The interrupt pipe's thread; a simulated reader has none.
    pub watcher: Option<Watcher>,
    /// Ends the exchange that goes on, from any thread.
    pub cancel: Option<Box<dyn Fn() + Send + Sync>>,
}

/// What a device name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name<'a> {
    /// A USB device.
    Usb {
        vendor: u16,
        product: u16,
        place: Option<Place>,
    },
    /// A simulated reader.
    Simulated(&'a str),
}

/// Where a device is, and which of its interfaces is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    bus: u8,
    address: u8,
    interface: Option<u8>,
}

impl Name<'_> {
    /// `usb:VVVV/PPPP`, alone or with one of
    /// * `:libudev:INTERFACE:/dev/bus/usb/BUS/ADDRESS`, what pcscd with libudev passes,
    /// * `:libusb-1.0:BUS:ADDRESS:INTERFACE`, what pcscd with libusb passes,
    /// * anything else, such as the identifiers of HAL, which say no more than the product;
    ///
    /// or `sim:MODEL`, with options.
    fn parse(name: &str) -> Option<Name<'_>> {
        if let Some(model) = name.strip_prefix("sim:") {
            return Some(Name::Simulated(model));
        }
        let mut parts = name.strip_prefix("usb:")?.splitn(3, ':');
        let (vendor, product) = parts.next()?.split_once('/')?;
        let id = |text| u16::from_str_radix(text, 16).ok();
        let place = match (parts.next(), parts.next()) {
            (Some("libudev"), Some(rest)) => Some(Place::from_udev(rest)?),
            (Some("libusb-1.0"), Some(rest)) => Some(Place::from_libusb(rest)?),
            _ => None,
        };
        Some(Name::Usb {
            vendor: id(vendor)?,
            product: id(product)?,
            place,
        })
    }
}

impl Place {
    fn from_udev(text: &str) -> Option<Place> {
        let (interface, node) = text.split_once(':')?;
        let mut parts = node.strip_prefix("/dev/bus/usb/")?.split('/');
        let place = Place {
            bus: parts.next()?.parse().ok()?,
            address: parts.next()?.parse().ok()?,
            interface: Some(interface.parse().ok()?),
        };
        parts.next().is_none().then_some(place)
    }

    fn from_libusb(text: &str) -> Option<Place> {
        let mut numbers = text.split(':').map(|number| number.parse().ok());
        let place = Place {
            bus: numbers.next()??,
            address: numbers.next()??,
            interface: numbers.next().flatten(),
        };
        Some(place)
    }

    fn is(&self, place: &usb::Place) -> bool {
        self.bus == place.bus
            && self.address == place.address
            && self
                .interface
                .is_none_or(|interface| interface == place.interface)
    }
}

/// Opens the reader with a name.
///
/// # Errors
/// [`abi::NO_SUCH_DEVICE`] where there is none, which pcscd takes for an interface that is no reader;
/// [`abi::COMMUNICATION_ERROR`] for a reader that cannot be used, after a line in the log that says why.
pub fn open(name: &str) -> Result<Device, ResponseCode> {
    match Name::parse(name) {
        Some(Name::Usb {
            vendor,
            product,
            place,
        }) => open_usb(name, |identity, here| {
            (identity.vendor_id, identity.product_id) == (vendor, product)
                && place.is_none_or(|place| place.is(here))
        }),
        #[cfg(feature = "sim")]
        Some(Name::Simulated(model)) => sim::open(name, model).map_err(|reason| {
            log(Level::Critical, format_args!("{name}: {reason}"));
            abi::NO_SUCH_DEVICE
        }),
        _ => {
            log(Level::Critical, format_args!("{name}: names no device"));
            Err(abi::NO_SUCH_DEVICE)
        }
    }
}

/// Opens the first USB reader that nobody uses and that a driver's bundle lists.
///
/// # Errors
/// As [`open`].
pub fn open_any() -> Result<Device, ResponseCode> {
    open_usb("any reader", |identity, _| {
        pcsc_ccid::names::model(identity.vendor_id, identity.product_id).is_some()
    })
}

/// Opens the first usable one of the USB readers that are `meant`.
fn open_usb(name: &str, meant: impl Fn(&usb::Identity, &usb::Place) -> bool) -> Result<Device, ResponseCode> {
    let listing = usb::list().map_err(|error| {
        log(Level::Critical, format_args!("{name}: {error}"));
        abi::COMMUNICATION_ERROR
    })?;
    let mut result = Err(abi::NO_SUCH_DEVICE);
    for candidate in &listing.readers {
        if !meant(&candidate.identity, &candidate.place) {
            continue;
        }
        match claim(name, candidate) {
            Ok(device) => return Ok(device),
            Err(OpenError::Gone) => (),
            Err(error) => {
                log(Level::Critical, format_args!("{}: {error}", candidate.identity));
                result = Err(abi::COMMUNICATION_ERROR);
            }
        }
    }
    for notice in &listing.notices {
        if notice.reason != Reason::Ignored && meant(&notice.identity, &notice.place) {
            log(Level::Critical, format_args!("{notice}"));
            result = Err(abi::COMMUNICATION_ERROR);
        }
    }
    result
}

fn claim(name: &str, candidate: &Candidate) -> Result<Device, OpenError> {
    let opened = candidate.open()?;
    let (transport, interface) = (opened.transport, candidate.interface);
    let slots = usize::from(interface.descriptor.slots());
    // A token's card never leaves it: pcscd need not look.
    let is_token = interface.flavour != Flavour::Ccid;
    let (events, watcher) = match opened.presence {
        Presence::Notified(watch) if !is_token => {
            let events = Arc::new(Events::new(slots, true));
            let watcher = Watcher::start(watch, events.clone()).map_err(OpenError::System)?;
            (events, Some(watcher))
        }
        _ => (Arc::new(Events::new(slots, is_token)), None),
    };
    let canceller = transport.canceller();
    Ok(Device {
        transport: Box::new(transport),
        interface,
        identity: candidate.device(),
        name: name.to_owned(),
        events,
        watcher,
        cancel: Some(Box::new(move || canceller.cancel())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usb(place: Option<(u8, u8, Option<u8>)>) -> Option<Name<'static>> {
        let place = place.map(|(bus, address, interface)| Place {
            bus,
            address,
            interface,
        });
        Some(Name::Usb {
            vendor: 0x08E6,
            product: 0x3437,
            place,
        })
    }

    #[test]
    fn names_are_those_of_pcscd() {
        let parse = Name::parse;
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
            Some(Name::Simulated("au9540:card=t1"))
        );
    }

    #[test]
    fn other_names_are_none() {
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
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }

    #[test]
    fn what_names_no_device_is_no_such_device() {
        assert_eq!(open("/dev/ttyS0").err(), Some(abi::NO_SUCH_DEVICE));
    }
}
