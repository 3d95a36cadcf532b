//! What a driver reports about its reader over PC/SC: attributes, and the name of its interface.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use super::calls::Calls;
use crate::error::Outcome;
use crate::identity::{port_and_interface, ReaderIdentity};
use pcsc_constants::{
    SCARD_ATTR_CHANNEL_ID, SCARD_ATTR_VENDOR_IFD_SERIAL_NO, SCARD_LEAVE_CARD, SCARD_SHARE_DIRECT,
};
use pcsc_wire::Endian;

/// The high half of a channel identifier on the USB (PC/SC part 3, clause 3.1.3).
const USB: u32 = 0x20;

/// The control code by which libccid 1.5.2 and later, and this project's driver, give the system's name of
/// the interface, such as `1-4.2:1.0`.
const USB_PATH: u32 = 0x4200_0000 + 3601;

/// How long a connect to a reader may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The same for a reader that another connection uses. While that has a transaction, pcscd does not connect.
const LIMIT_IN_USE: Duration = Duration::from_secs(1);

/// The identity of a reader by its name and its driver, over a connection to the reader alone.
///
/// # Errors
/// Those of the connect, which another connection may prevent.
pub fn ask(calls: &dyn Calls, name: &CStr, is_used: bool) -> Outcome<ReaderIdentity> {
    let limit = if is_used { LIMIT_IN_USE } else { LIMIT };
    let deadline = Instant::now().checked_add(limit);
    let card = calls
        // Direct: a card is not powered up or disturbed by it.
        .connect(name.to_bytes(), SCARD_SHARE_DIRECT, 0, deadline)?
        .card;
    let mut identity = of_name(name);
    let attribute = |id| calls.get_attribute(card, id).ok();
    if let Some(value) = attribute(SCARD_ATTR_CHANNEL_ID) {
        (identity.bus, identity.address) = place(&value, calls.endian());
    }
    identity.serial = attribute(SCARD_ATTR_VENDOR_IFD_SERIAL_NO).and_then(|value| text(&value));
    let mut path = [0; 256];
    if let Ok(length) = calls.control(card, USB_PATH, &[], &mut path, None) {
        if let Some(path) = path.get(..length).and_then(text) {
            (identity.port, identity.interface) = port_and_interface(&path);
        }
    }
    // The end of the context ends a connection that cannot be ended now.
    let _ = calls.disconnect(card, SCARD_LEAVE_CARD);
    Ok(identity)
}

/// What [`ask`] returns, or the identity by the name alone if the connect fails.
#[cfg(feature = "system")]
pub fn ask_or_name(calls: &dyn Calls, name: &CStr, is_used: bool) -> ReaderIdentity {
    ask(calls, name, is_used).unwrap_or_else(|_| of_name(name))
}

/// The identity of a reader as far as its name shows it.
pub fn of_name(name: &CStr) -> ReaderIdentity {
    ReaderIdentity {
        slot: slot_of(name),
        ..ReaderIdentity::default()
    }
}

/// The slot: the names that pcscd gives to readers end in two numbers, of which it is the second.
fn slot_of(name: &CStr) -> Option<u8> {
    let (rest, slot) = name.to_str().ok()?.rsplit_once(' ')?;
    let (_, number) = rest.rsplit_once(' ')?;
    let is_number = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let slot = Some(slot).filter(|slot| is_number(number) && is_number(slot))?;
    u8::from_str_radix(slot, 16).ok()
}

/// The bus and the address of a channel identifier. Nothing for a reader that is not on the USB.
fn place(channel: &[u8], endian: Endian) -> (Option<u8>, Option<u8>) {
    let number = (channel.len() == 4).then(|| endian.read_u32(channel));
    match number {
        Some(number) if number >> 16 == USB => {
            let [address, bus, ..] = number.to_le_bytes();
            (Some(bus), Some(address))
        }
        _ => (None, None),
    }
}

/// A text without its NUL. Nothing for an empty one.
fn text(value: &[u8]) -> Option<String> {
    let text = value.split(|&byte| byte == 0).next()?;
    let text = String::from_utf8_lossy(text).trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_readers_end_in_their_slots() {
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
    }

    #[test]
    fn attributes_are_read_as_drivers_write_them() {
        let usb = (Some(3), Some(0x11));
        assert_eq!(place(&[0x11, 3, 0x20, 0], Endian::Little), usb);
        assert_eq!(place(&[0, 0x20, 3, 0x11], Endian::Big), usb);
        assert_eq!(place(&[0, 0x20, 3, 0x11], Endian::Little), (None, None));
        assert_eq!(place(&[0, 0x10, 3, 0x11], Endian::Big), (None, None));
        assert_eq!(place(&[0x20], Endian::NATIVE), (None, None));
        assert_eq!(text(b"12-34\0"), Some("12-34".into()));
        assert_eq!(text(b"\0"), None);
        assert_eq!(text(b""), None);
    }
}
