//! Readers as commands print them.

use std::io::{self, Write};

use pcsc_client::{ReaderIdentity, ReaderInfo, State};
use serde::Serialize;

use crate::hex;
use crate::output::{printable, Style};

/// A reader with what is in it.
#[derive(Debug, Serialize)]
pub struct Reader {
    /// What `--reader` takes.
    pub index: usize,
    /// The name.
    #[serde(rename = "reader")]
    pub name: String,
    /// The card.
    pub card: Card,
    /// Who uses it.
    pub used: Use,
    /// The card's ATR in hexadecimal digits.
    pub atr: Option<String>,
    /// The device.
    pub usb: Usb,
}

/// Whether there is a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Card {
    /// A card that answers.
    Present,
    /// No card.
    Absent,
    /// A card that does not answer.
    Mute,
    /// A card without power.
    Unpowered,
    /// Not known.
    Unknown,
}

/// Who uses a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// Nobody.
    Free,
    /// Connections that share it.
    Shared,
    /// One connection alone.
    Exclusive,
    /// Another process that drives readers itself.
    Unavailable,
}

/// The device on the USB.
#[derive(Debug, Serialize)]
pub struct Usb {
    vendor_id: Option<String>,
    product_id: Option<String>,
    serial: Option<String>,
    port: Option<String>,
    bus: Option<u8>,
    address: Option<u8>,
    interface: Option<u8>,
    slot: Option<u8>,
}

impl Reader {
    /// A reader, and its place in the list.
    pub fn new(index: usize, info: &ReaderInfo) -> Reader {
        Reader {
            index,
            name: printable(&info.name.to_string_lossy()),
            card: card(info.state, &info.atr),
            used: used(info.state),
            atr: Some(hex::compact(&info.atr)).filter(|atr| !atr.is_empty()),
            usb: Usb::from(&info.identity),
        }
    }

    /// Writes the reader in a few lines.
    pub fn text(&self, to: &mut dyn Write, style: Style) -> io::Result<()> {
        writeln!(to, "{}: {}", self.index, style.bold(&self.name))?;
        let used = match self.used {
            Use::Free => "",
            Use::Shared => ", in use by programs that share it",
            Use::Exclusive => ", in use by one program exclusively",
            Use::Unavailable => ", in use by another process",
        };
        let card = match self.card {
            Card::Present => style.good("present"),
            Card::Absent => "none".into(),
            Card::Mute => style.bad("present, but it does not answer"),
            Card::Unpowered => "present, without power".into(),
            Card::Unknown => "unknown".into(),
        };
        writeln!(to, "   card  {card}{used}")?;
        if let Some(atr) = &self.atr {
            writeln!(to, "   ATR   {}", hex::pairs(atr))?;
        }
        let usb = self.usb.to_string();
        match usb.is_empty() {
            true => Ok(()),
            false => writeln!(to, "   USB   {usb}"),
        }
    }
}

fn card(state: State, atr: &[u8]) -> Card {
    if state.contains(State::MUTE) {
        Card::Mute
    } else if state.contains(State::PRESENT) && atr.is_empty() {
        Card::Unpowered
    } else if state.contains(State::PRESENT) {
        Card::Present
    } else if state.contains(State::EMPTY) {
        Card::Absent
    } else {
        Card::Unknown
    }
}

fn used(state: State) -> Use {
    if state.contains(State::UNAVAILABLE) {
        Use::Unavailable
    } else if state.contains(State::EXCLUSIVE) {
        Use::Exclusive
    } else if state.contains(State::INUSE) {
        Use::Shared
    } else {
        Use::Free
    }
}

impl From<&ReaderIdentity> for Usb {
    fn from(identity: &ReaderIdentity) -> Usb {
        let number = |number: u16| format!("{number:04x}");
        Usb {
            vendor_id: identity.vendor_id.map(number),
            product_id: identity.product_id.map(number),
            serial: identity.serial.as_deref().map(printable),
            port: identity.port.clone(),
            bus: identity.bus,
            address: identity.address,
            interface: identity.interface,
            slot: identity.slot,
        }
    }
}

impl std::fmt::Display for Usb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = |number: u8| number.to_string();
        let product = self.vendor_id.as_deref().zip(self.product_id.as_deref());
        let device = self.bus.zip(self.address);
        let parts = [
            ("", product.map(|(vendor, product)| format!("{vendor}:{product}"))),
            ("serial ", self.serial.clone()),
            ("port ", self.port.clone()),
            (
                "device ",
                device.map(|(bus, address)| format!("{bus:03}/{address:03}")),
            ),
            ("interface ", self.interface.map(number)),
            ("slot ", self.slot.map(number)),
        ];
        let known = parts
            .iter()
            .filter_map(|(label, value)| Some(format!("{label}{}", value.as_ref()?)));
        f.write_str(&known.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_say_what_is_in_a_reader_and_who_uses_it() {
        for (state, atr, expected) in [
            (State::EMPTY, &[][..], Card::Absent),
            (State::PRESENT, &[0x3B, 0], Card::Present),
            (State::PRESENT | State::UNPOWERED, &[], Card::Unpowered),
            (State::PRESENT | State::MUTE, &[], Card::Mute),
            (State::UNAVAILABLE, &[], Card::Unknown),
        ] {
            assert_eq!(card(state, atr), expected, "{state:?}");
        }
        for (state, expected) in [
            (State::PRESENT, Use::Free),
            (State::PRESENT | State::INUSE, Use::Shared),
            (State::PRESENT | State::INUSE | State::EXCLUSIVE, Use::Exclusive),
            (State::UNAVAILABLE | State::EXCLUSIVE, Use::Unavailable),
        ] {
            assert_eq!(used(state), expected, "{state:?}");
        }
    }

    #[test]
    fn a_reader_is_shown_with_all_that_is_known_of_it() {
        let mut identity = ReaderIdentity::default();
        assert_eq!(Usb::from(&identity).to_string(), "");
        identity.vendor_id = Some(0x08E6);
        assert_eq!(Usb::from(&identity).to_string(), "");
        identity.product_id = Some(0x3437);
        identity.serial = Some("A\x1B1".into());
        identity.port = Some("1-4.2".into());
        identity.bus = Some(1);
        identity.address = Some(23);
        identity.interface = Some(0);
        identity.slot = Some(2);
        let mut reader = Reader {
            index: 7,
            name: "Name".into(),
            card: Card::Absent,
            used: Use::Free,
            atr: None,
            usb: Usb::from(&identity),
        };
        let mut text = |card, used, atr: Option<&str>| {
            (reader.card, reader.used, reader.atr) = (card, used, atr.map(str::to_owned));
            let mut shown = Vec::new();
            reader
                .text(&mut shown, Style { has_colour: false })
                .expect("memory");
            String::from_utf8(shown).expect("UTF-8")
        };
        let usb = "   USB   08e6:3437, serial A.1, port 1-4.2, device 001/023, interface 0, slot 2\n";
        for (card, used, atr, expected) in [
            (Card::Absent, Use::Free, None, "none\n"),
            (
                Card::Present,
                Use::Shared,
                Some("3B00"),
                "present, in use by programs that share it\n   ATR   3B 00\n",
            ),
            (
                Card::Mute,
                Use::Exclusive,
                None,
                "present, but it does not answer, in use by one program exclusively\n",
            ),
            (Card::Unpowered, Use::Free, None, "present, without power\n"),
            (
                Card::Unknown,
                Use::Unavailable,
                None,
                "unknown, in use by another process\n",
            ),
        ] {
            assert_eq!(
                text(card, used, atr),
                format!("7: Name\n   card  {expected}{usb}")
            );
        }
    }
}
