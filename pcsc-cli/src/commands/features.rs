//! `pcsc features`: what a reader can do besides APDUs (PC/SC part 10), and its attributes (part 3).

use std::io::{self, Write};

use pcsc_ccid::part10::{Feature, GET_FEATURE_REQUEST};
use pcsc_client::ffi::DWORD;
use pcsc_client::{Attribute, Card, Protocols, ShareMode, MAX_BUFFER_SIZE};
use serde::Serialize;

use crate::args::Global;
use crate::card;
use crate::connect::establish_or_simulate;
use crate::feature_names::feature_name;
use crate::hex;
use crate::output::{printable, Output, Show, Style};
use crate::problem::Problem;
use crate::select;

#[derive(Debug, Serialize)]
struct FeaturesReport {
    reader: String,
    features: Vec<FeatureLine>,
    properties: Vec<Value>,
    attributes: Vec<Value>,
}

/// A feature of part 10, clause 2.2.
#[derive(Debug, Serialize)]
struct FeatureLine {
    tag: u8,
    name: String,
    control_code: u32,
}

/// A property or an attribute.
#[derive(Debug, Serialize)]
struct Value {
    name: String,
    value: String,
    meaning: String,
}

impl Show for FeaturesReport {
    fn text(&self, to: &mut dyn Write, style: Style) -> io::Result<()> {
        writeln!(to, "{}", style.bold(&self.reader))?;
        writeln!(to, "Features:")?;
        for feature in &self.features {
            let (name, tag, code) = (&feature.name, feature.tag, feature.control_code);
            writeln!(to, "  {name} ({tag:02X}), control code {code:#010X}")?;
        }
        for (title, values) in [
            ("Properties:", &self.properties),
            ("Attributes:", &self.attributes),
        ] {
            if !values.is_empty() {
                writeln!(to, "{title}")?;
            }
            for Value { name, meaning, .. } in values {
                writeln!(to, "  {name}: {meaning}")?;
            }
        }
        Ok(())
    }
}

/// Runs the command.
pub fn run(global: &Global, output: &mut Output) -> Result<(), Problem> {
    let context = establish_or_simulate(global)?;
    let reader = select::one(&context, global.reader.as_deref())?;
    // The reader alone is asked: no card is needed, and none is disturbed.
    let mut card = card::connect(
        card::LIMIT,
        &context,
        &reader.name,
        ShareMode::Direct,
        Protocols::UNDEFINED,
    )?;
    let card = card::transaction(card::LIMIT, &mut card)?;
    let features = features(&card);
    let has_properties = features
        .iter()
        .find(|feature| feature.tag == Feature::GetTlvProperties as u8);
    let properties = has_properties.and_then(|feature| control(&card, feature.control_code));
    output.whole(&FeaturesReport {
        reader: printable(&reader.name.to_string_lossy()),
        properties: properties.map_or(Vec::new(), |bytes| decode(&bytes)),
        attributes: ATTRIBUTES
            .iter()
            .filter_map(|(id, name, kind)| attribute(&card, *id, name, *kind))
            .collect(),
        features,
    })
}

/// The answer to a request without data; `None` where the reader's driver has none.
fn control(card: &Card, code: u32) -> Option<Vec<u8>> {
    let mut buffer = [0; MAX_BUFFER_SIZE];
    card.try_control(DWORD::from(code), &[], &mut buffer)
        .ok()
        .map(<[u8]>::to_vec)
}

/// The features: each a tag, the length 4, and a control code, big endian.
fn features(card: &Card) -> Vec<FeatureLine> {
    let reply = control(card, GET_FEATURE_REQUEST).unwrap_or_default();
    let lines = reply.chunks_exact(6).filter_map(|entry| match *entry {
        [tag, 4, a, b, c, d] => Some(FeatureLine {
            tag,
            name: feature_name(tag).unwrap_or("not defined by PC/SC part 10").into(),
            control_code: u32::from_be_bytes([a, b, c, d]),
        }),
        _ => None,
    });
    lines.collect()
}

/// The TLV properties (part 10, clause 2.6.14), numbers little endian.
fn decode(mut bytes: &[u8]) -> Vec<Value> {
    let mut properties = Vec::new();
    while let [tag, length, rest @ ..] = bytes {
        let (value, after) = rest.split_at(usize::from(*length).min(rest.len()));
        let number = value
            .iter()
            .rev()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let (name, meaning) = match tag {
            1 if number == 0 => ("wLcdLayout", "no display".into()),
            1 => (
                "wLcdLayout",
                format!("{} lines of {} characters", number >> 8, number & 0xFF),
            ),
            2 => ("bEntryValidationCondition", format!("{number:#04X}")),
            3 => ("bTimeOut2", number.to_string()),
            4 => ("wLcdMaxCharacters", number.to_string()),
            5 => ("wLcdMaxLines", number.to_string()),
            6 => ("bMinPINSize", format!("{number} digits")),
            7 => ("bMaxPINSize", format!("{number} digits")),
            8 => ("sFirmwareID", printable(&String::from_utf8_lossy(value))),
            9 => ("bPPDUSupport", format!("{number:#04X}")),
            10 => (
                "dwMaxAPDUDataSize",
                match number {
                    0 => "short APDUs only".into(),
                    _ => format!("{number} bytes"),
                },
            ),
            11 => ("wIdVendor", format!("{number:04x}")),
            12 => ("wIdProduct", format!("{number:04x}")),
            _ => ("not defined by PC/SC part 10", hex::spaced(value)),
        };
        properties.push(Value {
            name: name.into(),
            value: hex::compact(value),
            meaning,
        });
        bytes = after;
    }
    properties
}

/// How an attribute's value is written.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Number(&'static str),
    Presence,
    Version,
    Channel,
    Bytes,
}

/// The attributes that drivers support, by their names in reader.h without SCARD_ATTR_.
const ATTRIBUTES: [(Attribute, &str, Kind); 12] = [
    (Attribute::VendorName, "VENDOR_NAME", Kind::Text),
    (Attribute::VendorIfdType, "VENDOR_IFD_TYPE", Kind::Text),
    (Attribute::VendorIfdVersion, "VENDOR_IFD_VERSION", Kind::Version),
    (Attribute::VendorIfdSerialNo, "VENDOR_IFD_SERIAL_NO", Kind::Text),
    (Attribute::ChannelId, "CHANNEL_ID", Kind::Channel),
    (Attribute::DefaultClk, "DEFAULT_CLK", Kind::Number("kHz")),
    (Attribute::MaxClk, "MAX_CLK", Kind::Number("kHz")),
    (Attribute::MaxDataRate, "MAX_DATA_RATE", Kind::Number("bit/s")),
    (Attribute::MaxIfsd, "MAX_IFSD", Kind::Number("bytes")),
    (Attribute::Maxinput, "MAXINPUT", Kind::Number("bytes")),
    (Attribute::IccPresence, "ICC_PRESENCE", Kind::Presence),
    (Attribute::AtrString, "ATR_STRING", Kind::Bytes),
];

fn attribute(card: &Card, id: Attribute, name: &str, kind: Kind) -> Option<Value> {
    let value = card
        .try_get_attribute(id)
        .ok()
        .filter(|value| !value.is_empty())?;
    let number = card.attribute_number(&value).unwrap_or(0);
    let meaning = match kind {
        Kind::Text => printable(String::from_utf8_lossy(&value).trim_end_matches('\0')),
        Kind::Number(unit) => format!("{number} {unit}"),
        // PC/SC part 3, clause 3.1.3.
        Kind::Presence => match number {
            0 => "no card is in it".into(),
            1 => "a card is in it, not in its place".into(),
            2 => "a card is in it".into(),
            4 => "the card is confiscated".into(),
            other => other.to_string(),
        },
        Kind::Version => format!("{:x}.{:02x}", number >> 24, number >> 16 & 0xFF),
        Kind::Channel if number >> 16 == 0x20 => {
            format!("USB {:03}/{:03}", number >> 8 & 0xFF, number & 0xFF)
        }
        Kind::Channel => format!("{number:#010X}"),
        Kind::Bytes => hex::spaced(&value),
    };
    Some(Value {
        name: name.into(),
        value: hex::compact(&value),
        meaning,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_of_any_bytes() {
        let texts = |bytes: &[u8]| -> Vec<String> {
            let properties = decode(bytes).into_iter();
            properties
                .map(|property| format!("{}: {}", property.name, property.meaning))
                .collect()
        };
        assert_eq!(
            texts(&[1, 2, 16, 2, 8, 3, b'a', 0, b'b']),
            ["wLcdLayout: 2 lines of 16 characters", "sFirmwareID: a.b"]
        );
        assert_eq!(texts(&[10, 4, 0, 0, 1, 0]), ["dwMaxAPDUDataSize: 65536 bytes"]);
        assert_eq!(texts(&[11, 200, 0xE6]), ["wIdVendor: 00e6"]);
        assert_eq!(texts(&[11]), [""; 0]);
    }

    #[test]
    fn each_property_has_its_meaning() {
        for (tag, name, meaning) in [
            (1, "wLcdLayout", "no display"),
            (2, "bEntryValidationCondition", "0x00"),
            (3, "bTimeOut2", "0"),
            (4, "wLcdMaxCharacters", "0"),
            (5, "wLcdMaxLines", "0"),
            (6, "bMinPINSize", "0 digits"),
            (7, "bMaxPINSize", "0 digits"),
            (8, "sFirmwareID", "."),
            (9, "bPPDUSupport", "0x00"),
            (10, "dwMaxAPDUDataSize", "short APDUs only"),
            (11, "wIdVendor", "0000"),
            (12, "wIdProduct", "0000"),
            (13, "not defined by PC/SC part 10", "00"),
        ] {
            let properties = decode(&[tag, 1, 0]);
            let property = &properties[0];
            assert_eq!((&*property.name, &*property.meaning), (name, meaning), "{tag}");
            assert_eq!(property.value, "00");
        }
    }
}
