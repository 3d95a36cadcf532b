//! Readers from a file descriptor that another program has opened: a broker, or Android.

use super::super::candidate::{Candidate, DeviceIdentity, Place};
use super::super::error::{OpenError, Refusal};
use super::control::{Control, STANDARD_REQUEST};
use super::descriptors::readers;
use super::device::{OpenDevice, Source};
use crate::descriptor::Unusable;
use std::format;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::string::String;
use std::sync::Arc;
use std::time::Duration;
use std::vec::Vec;

/// How long a device may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// American English: the language of a device that does not list its languages. The kernel uses it too.
const DEFAULT_LANGUAGE: u16 = 0x0409;

/// The readers of a device whose node is open for reading and writing, such as the file descriptor of
/// Android's `UsbDeviceConnection`, and its unusable interfaces.
///
/// # Errors
/// [`OpenError::System`] for a file descriptor that is not a USB device.
pub fn readers_from_fd(fd: OwnedFd) -> Result<(Vec<Candidate>, Vec<Unusable>), OpenError> {
    let (bus, address) = place_of(&fd).unwrap_or_default();
    let device = OpenDevice::from_fd(fd).map_err(|refusal| match refusal {
        Refusal::Gone => OpenError::Gone,
        Refusal::Other(error) => OpenError::System(error),
        // Nothing is claimed here, so that nobody can be in the way.
        Refusal::Permission | Refusal::Busy => OpenError::System(io::ErrorKind::PermissionDenied.into()),
    })?;
    let mut strings = Strings::new(device.control(&Arc::default()));
    // The device descriptor (USB 2.0, clause 9.6.1). Missing bytes count as zeros.
    let byte = |at: usize| device.descriptors().get(at).copied().unwrap_or_default();
    let word = |at| u16::from_le_bytes([byte(at), byte(at + 1)]);
    let identity = DeviceIdentity {
        vendor_id: word(8),
        product_id: word(10),
        release: word(12),
        manufacturer: strings.get(byte(14)),
        product: strings.get(byte(15)),
        serial: strings.get(byte(16)),
    };
    // The file has the descriptors of all configurations, and does not say which one is active.
    let value = configuration(&mut strings.control).unwrap_or_else(|| byte(usize::from(byte(0)) + 5));
    let mut found = Vec::new();
    let mut unusable = Vec::new();
    for reader in readers(device.descriptors(), value) {
        match reader {
            Ok(interface) => found.push(Candidate {
                identity: identity.clone(),
                place: Place {
                    bus,
                    address,
                    interface: interface.number,
                },
                port: format!("{bus}-{address}:{value}.{}", interface.number),
                interface_name: strings.get(interface.name_index),
                interface,
                source: Source::Open(device.clone()),
            }),
            Err(error) => unusable.push(error),
        }
    }
    Ok((found, unusable))
}

/// GET_CONFIGURATION (USB 2.0, clause 9.4.2).
fn configuration(control: &mut Control) -> Option<u8> {
    let mut value = [0];
    let length = control
        .receive_of(STANDARD_REQUEST, 8, 0, 0, &mut value, ANSWER_TIMEOUT)
        .ok()?;
    (length == 1 && value[0] != 0).then_some(value[0])
}

/// The strings of a device, in the first of its languages, as in the kernel's attributes.
struct Strings {
    control: Control,
    language: u16,
}

impl Strings {
    fn new(control: Control) -> Strings {
        let mut strings = Strings { control, language: 0 };
        strings.language = strings
            .descriptor(0)
            .as_deref()
            .map_or(DEFAULT_LANGUAGE, first_language);
        strings
    }

    /// The string with this index; `None` for index 0.
    fn get(&mut self, index: u8) -> Option<String> {
        (index != 0)
            .then(|| self.descriptor(index))
            .flatten()
            .as_deref()
            .and_then(text)
    }

    /// GET_DESCRIPTOR for a string (clause 9.4.3).
    fn descriptor(&mut self, index: u8) -> Option<Vec<u8>> {
        let mut answer = [0; 255];
        let value = 0x0300 | u16::from(index);
        let length = self
            .control
            .receive_of(
                STANDARD_REQUEST,
                6,
                value,
                self.language,
                &mut answer,
                ANSWER_TIMEOUT,
            )
            .ok()?;
        Some(answer.get(..length)?.to_vec())
    }
}

/// The first language of string descriptor 0 (clause 9.6.7).
fn first_language(descriptor: &[u8]) -> u16 {
    match *descriptor {
        [length, 3, low, high, ..] if length >= 4 => u16::from_le_bytes([low, high]),
        _ => DEFAULT_LANGUAGE,
    }
}

/// A string descriptor's text (clause 9.6.7).
fn text(descriptor: &[u8]) -> Option<String> {
    let [length, 3, ..] = *descriptor else {
        return None;
    };
    let text = descriptor.get(..length.into()).unwrap_or(descriptor).get(2..)?;
    let units = text
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    Some(
        char::decode_utf16(units)
            .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect(),
    )
}

/// Bus and address, from the name of the node that the file descriptor is open on.
fn place_of(fd: &OwnedFd) -> Option<(u8, u8)> {
    let node = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
    let mut parts = node.iter().rev().map(|part| part.to_str()?.parse::<u8>().ok());
    // Without a name, as in Android's sandbox, the place is 0: it is for logs and attributes only.
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
    fn a_strings_text_ends_where_it_says() {
        assert_eq!(
            text(&[6, 3, b'A', 0, 0xF6, 0, b'x', 0]).as_deref(),
            Some("A\u{f6}")
        );
        assert_eq!(text(&[8, 3, 0x3D, 0xD8, 0, 0xDE]).as_deref(), Some("\u{1F600}"));
        assert_eq!(text(&[4, 3, 0x3D, 0xD8]).as_deref(), Some("\u{FFFD}"));
        assert_eq!(text(&[1, 3]), None);
        assert_eq!(text(&[4, 2, 65, 0]), None);
        assert_eq!(text(&[2, 3]).as_deref(), Some(""));
        assert_eq!(text(&[]), None);
    }

    #[test]
    fn the_first_language_is_taken() {
        assert_eq!(first_language(&[6, 3, 0x07, 0x04, 0x09, 0x04]), 0x0407);
        for bytes in [&[][..], &[2, 3], &[4, 3, 7], &[4, 2, 7, 4], &[3, 3, 7, 4]] {
            assert_eq!(first_language(bytes), DEFAULT_LANGUAGE, "{bytes:?}");
        }
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
