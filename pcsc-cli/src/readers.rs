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
        if let Some(atr) = self.atr.as_deref().and_then(hex::parse) {
            writeln!(to, "   ATR   {}", hex::spaced(&atr))?;
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
