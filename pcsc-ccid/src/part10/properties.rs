//! What a reader says of itself: FEATURE_IFD_PIN_PROPERTIES (part 10, clause 2.5.5) and
//! FEATURE_GET_TLV_PROPERTIES (clause 2.6.14).

use super::gemalto::FirmwareFeatures;
use super::pin::VALIDATION_KEY;
use crate::descriptor::Features;
use crate::quirks::PinQuirks;
use alloc::vec::Vec;

/// The facts that the answers are made of.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// `idVendor`.
    pub vendor: u16,
    /// `idProduct`.
    pub product: u16,
    /// `dwFeatures`, after quirks.
    pub features: Features,
    /// `wLcdLayout`.
    pub lcd_layout: u16,
    /// What the table says of the PIN pad.
    pub quirks: &'a PinQuirks,
    /// Whether the user allows Escapes.
    pub escapes: bool,
    /// The firmware's name, if the reader reports it.
    pub firmware_id: Option<&'a [u8]>,
    /// What Gemalto's firmware reports of its PIN pad.
    pub firmware: Option<&'a FirmwareFeatures>,
}

/// A tag of the TLV properties (clause 2.6.14, table).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Property {
    /// `wLcdLayout`: lines in the high byte, columns in the low one.
    LcdLayout = 1,
    /// `bEntryValidationCondition`: what can end the entry of a PIN.
    EntryValidationCondition = 2,
    /// `bTimeOut2`: 0 where the two timeouts are one.
    TimeOut2 = 3,
    /// `wLcdMaxCharacters`.
    LcdMaxCharacters = 4,
    /// `wLcdMaxLines`.
    LcdMaxLines = 5,
    /// `bMinPINSize`.
    MinPinSize = 6,
    /// `bMaxPINSize`.
    MaxPinSize = 7,
    /// `sFirmwareID`.
    FirmwareId = 8,
    /// `bPPDUSupport`: bit 0, over FEATURE_CCID_ESC_COMMAND; bit 1, over `SCardTransmit`.
    PpduSupport = 9,
    /// `dwMaxAPDUDataSize`: 0 for short APDUs only.
    MaxApduDataSize = 10,
    /// `wIdVendor`.
    IdVendor = 11,
    /// `wIdProduct`.
    IdProduct = 12,
}

/// The answer to FEATURE_IFD_PIN_PROPERTIES: `wLcdLayout` in the machine's byte order, what can end the
/// entry of a PIN, and `bTimeOut2`.
pub fn pin_properties(facts: &Facts<'_>) -> [u8; 4] {
    // Part 10 has a structure here, which programs read by its fields; the TLV properties are bytes and
    // little endian.
    let [first, second] = facts.lcd_layout.to_ne_bytes();
    let validation = match facts.firmware {
        Some(firmware) => firmware.validation,
        None if facts.quirks.validation_key_only => VALIDATION_KEY,
        None => 0x07,
    };
    [first, second, validation, 0]
}

/// The answer to FEATURE_GET_TLV_PROPERTIES: tag, length and value, numbers little endian.
pub fn tlv_properties(facts: &Facts<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let [columns, lines] = facts.lcd_layout.to_le_bytes();
    put(&mut out, Property::LcdLayout, &[columns, lines]);
    if facts.lcd_layout != 0 {
        put(&mut out, Property::LcdMaxCharacters, &[columns, 0]);
        put(&mut out, Property::LcdMaxLines, &[lines, 0]);
    }
    put(&mut out, Property::TimeOut2, &[0]);
    if let Some(name) = facts.firmware_id {
        put(&mut out, Property::FirmwareId, name);
    }
    if let Some((min, max)) = facts.quirks.sizes {
        put(&mut out, Property::MinPinSize, &[min]);
        put(&mut out, Property::MaxPinSize, &[max]);
        if facts.quirks.validation_key_only {
            put(&mut out, Property::EntryValidationCondition, &[VALIDATION_KEY]);
        }
    }
    if let Some(firmware) = facts.firmware {
        put(&mut out, Property::MinPinSize, &[firmware.min_digits]);
        put(&mut out, Property::MaxPinSize, &[firmware.max_digits]);
        put(
            &mut out,
            Property::EntryValidationCondition,
            &[firmware.validation],
        );
    }
    put(&mut out, Property::PpduSupport, &[facts.escapes.into()]);
    put(&mut out, Property::IdVendor, &facts.vendor.to_le_bytes());
    put(&mut out, Property::IdProduct, &facts.product.to_le_bytes());
    let extended = facts.features.0 & 0x5_0000 != 0;
    let size: u32 = if extended { 0x1_0000 } else { 0 };
    put(&mut out, Property::MaxApduDataSize, &size.to_le_bytes());
    out
}

fn put(out: &mut Vec<u8>, property: Property, value: &[u8]) {
    let value = value.get(..255).unwrap_or(value);
    out.push(property as u8);
    // At most 255 by the line above.
    out.push(value.len() as u8);
    out.extend_from_slice(value);
}
