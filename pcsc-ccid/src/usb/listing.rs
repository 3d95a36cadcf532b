//! Lists of readers, and their changes.

use super::candidate::{udev_rule, Candidate, DeviceIdentity, Place};
use super::error::OpenError;
use crate::descriptor::Unusable;
use std::fmt;
use std::string::String;
use std::vec::Vec;

/// The readers on the USB, and the devices that look like one and cannot be used.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Listing {
    /// In the order of bus, address and interface.
    pub readers: Vec<Candidate>,
    /// Messages to log once.
    pub notices: Vec<Notice>,
}

/// The changes since the last call.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Changes {
    /// Readers that are gone.
    pub gone: Vec<Place>,
    /// Readers that came.
    pub arrived: Vec<Candidate>,
    /// Messages to log that were not reported before.
    pub notices: Vec<Notice>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.arrived.is_empty() && self.notices.is_empty()
    }
}

/// The result of one scan of the bus.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Known readers that are gone.
    pub(super) gone: Vec<Place>,
    /// Readers that are not known, in the order of their places.
    pub(super) arrived: Vec<Candidate>,
    /// Readers that are not ready yet.
    pub(super) pending: Vec<Place>,
    /// Messages to log.
    pub(super) notices: Vec<Notice>,
    /// Some attribute could not be read, but may be a little later.
    pub(super) is_partial: bool,
}

/// A device that looks like a reader and is not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// Its place on the bus.
    pub place: Place,
    /// Its port and interface, as in [`Candidate::port`].
    pub port: String,
    /// Its identity.
    pub identity: DeviceIdentity,
    /// Why it is not among the readers.
    pub reason: NoticeReason,
}

/// Why a device is not among the readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoticeReason {
    /// The user may not open it.
    Permission,
    /// It has no node under /dev.
    NoNode,
    /// Its class descriptor cannot be used.
    Descriptor(crate::descriptor::DescriptorError),
    /// The udev property `PCSCLITE_IGNORE` is set.
    Ignored,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Notice {
            place,
            identity,
            reason,
            ..
        } = self;
        let node = place.node();
        write!(f, "reader {identity}: ")?;
        match *reason {
            NoticeReason::Permission => OpenError::Permission {
                node,
                rule: udev_rule(identity),
            }
            .fmt(f),
            NoticeReason::NoNode => write!(f, "{} does not exist", node.display()),
            NoticeReason::Descriptor(error) => Unusable {
                interface: place.interface,
                error,
            }
            .fmt(f),
            NoticeReason::Ignored => f.write_str("ignored, as PCSCLITE_IGNORE is set"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn notice(reason: NoticeReason) -> String {
        Notice {
            place: Place {
                bus: 1,
                address: 4,
                interface: 2,
            },
            port: "1-4:1.2".into(),
            identity: DeviceIdentity {
                vendor_id: 0x058F,
                product_id: 0x9540,
                manufacturer: Some("Generic".into()),
                product: Some("EMV Smartcard Reader".into()),
                ..DeviceIdentity::default()
            },
            reason,
        }
        .to_string()
    }

    #[test]
    fn a_missing_permission_names_the_node_and_the_rule() {
        let text = notice(NoticeReason::Permission);
        assert!(
            text.starts_with("reader 058f:9540 Generic EMV Smartcard Reader: "),
            "{text}"
        );
        assert!(text.contains("/dev/bus/usb/001/004"), "{text}");
        let rule = "SUBSYSTEM==\"usb\", ATTR{idVendor}==\"058f\", ATTR{idProduct}==\"9540\", MODE=\"0660\", \
                    GROUP=\"plugdev\", TAG+=\"uaccess\"";
        assert!(text.ends_with(rule), "{text}");
    }

    #[test]
    fn a_notice_has_its_reason() {
        assert!(notice(NoticeReason::NoNode).ends_with("/dev/bus/usb/001/004 does not exist"));
        let text = notice(NoticeReason::Descriptor(
            crate::descriptor::DescriptorError::Missing,
        ));
        assert!(
            text.ends_with("interface 2: there is no class descriptor"),
            "{text}"
        );
    }
}
