//! Which device a daemon's reader is, as far as its driver says.

use std::cell::RefCell;
use std::ffi::CStr;
use std::time::{Duration, Instant};

use super::calls::DaemonContext;
use super::knowledge::Survey;
use crate::backend::calls::Calls;
use crate::backend::identity::port_and_interface;
use crate::backend::values::SessionOptions;
use crate::error::Error;
use crate::identity::ReaderIdentity;
use pcsc_constants::{
    SCARD_ATTR_CHANNEL_ID, SCARD_ATTR_VENDOR_IFD_SERIAL_NO, SCARD_LEAVE_CARD, SCARD_SHARE_DIRECT,
};
use pcsc_wire::Endian;

/// The high half of a channel identifier on the USB (PC/SC part 3, clause 3.1.3).
const USB: u32 = 0x20;

/// The control code by which libccid 1.5.2 and later, and this project's driver, give the system's name of
/// the interface, such as `1-4.2:1.0`.
const USB_PATH: u32 = 0x4200_0000 + 3601;

/// How long a daemon may take to connect to a reader.
const LIMIT: Duration = Duration::from_secs(10);
/// The same for a reader that another connection uses. While that has a transaction, pcscd does not connect.
const LIMIT_IN_USE: Duration = Duration::from_secs(1);

impl DaemonContext {
    /// See [`Session::identities`](crate::backend::Session::identities).
    pub fn identities(&self, readers: &[(&CStr, bool)]) -> Vec<ReaderIdentity> {
        let (inquiry, survey) = (Inquiry::new(self), Survey::new());
        let identity =
            |(name, is_used): &(&CStr, bool)| survey.complete(inquiry.identity(name, *is_used), name);
        readers.iter().map(identity).collect()
    }
}

/// A context of its own to ask a daemon with: a connect that is given up is the end of its context.
#[derive(Debug)]
struct Inquiry {
    options: SessionOptions,
    context: RefCell<Option<DaemonContext>>,
}

impl Inquiry {
    /// To ask the same daemon.
    fn new(context: &DaemonContext) -> Inquiry {
        let options = SessionOptions {
            socket: Some(context.path().to_owned()),
            ..SessionOptions::default()
        };
        Inquiry {
            options,
            context: RefCell::default(),
        }
    }

    /// The identity of a reader. Asks over a connection to the reader alone, and gives less where another
    /// connection prevents that.
    fn identity(&self, name: &CStr, is_used: bool) -> ReaderIdentity {
        let identity = ReaderIdentity {
            slot: slot_of(name),
            ..ReaderIdentity::default()
        };
        let kept = self.context.take();
        let Some(context) = kept.or_else(|| DaemonContext::establish(&self.options).ok()) else {
            return identity;
        };
        let limit = if is_used { LIMIT_IN_USE } else { LIMIT };
        let deadline = Instant::now().checked_add(limit);
        match context.connect(name.to_bytes(), SCARD_SHARE_DIRECT, 0, deadline) {
            Ok(connected) => {
                let identity = context.ask(connected.card, identity);
                self.context.replace(Some(context));
                identity
            }
            Err(failure) => {
                if failure.error() != Error::Timeout {
                    self.context.replace(Some(context));
                }
                identity
            }
        }
    }
}

impl DaemonContext {
    /// Adds what a driver says of the reader, and ends the connection to it.
    fn ask(&self, card: i32, mut identity: ReaderIdentity) -> ReaderIdentity {
        let attribute = |id| self.get_attribute(card, id).ok();
        if let Some(value) = attribute(SCARD_ATTR_CHANNEL_ID) {
            (identity.bus, identity.address) = place(&value, self.endian());
        }
        identity.serial = attribute(SCARD_ATTR_VENDOR_IFD_SERIAL_NO).and_then(|value| text(&value));
        let mut path = [0; 256];
        if let Ok(length) = self.control(card, USB_PATH, &[], &mut path, None) {
            if let Some(path) = path.get(..length).and_then(text) {
                (identity.port, identity.interface) = port_and_interface(&path);
            }
        }
        // The end of the context ends a connection that cannot be ended now.
        let _ = self.disconnect(card, SCARD_LEAVE_CARD);
        identity
    }
}

/// The slot: a daemon's names of readers end in two numbers, of which it is the second.
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
