//! The attributes of a reader and its card, for `SCardGetAttrib` (PC/SC part 3, clause 3.1).
//!
//! The values are libccid's: numbers are 32 bits wide, whatever the machine's `DWORD`, and in its
//! byte order; texts are ASCII with a final NUL. The parameters in force ([`Current`]) are an addition.

use alloc::vec::Vec;

use crate::atr::Speed;
use crate::parameters::{Parameters, Specific};
use crate::t1::Edc;

/// An attribute's identifier: the class in the high half, the tag in the low one.
pub type Id = u32;

/// The attributes' identifiers. [`value`] says what each holds.
pub use pcsc_constants::{
    SCARD_ATTR_ATR_STRING as ATR_STRING, SCARD_ATTR_CHANNEL_ID as CHANNEL_ID,
    SCARD_ATTR_CURRENT_BWT as CURRENT_BWT, SCARD_ATTR_CURRENT_CLK as CURRENT_CLK,
    SCARD_ATTR_CURRENT_CWT as CURRENT_CWT, SCARD_ATTR_CURRENT_D as CURRENT_D,
    SCARD_ATTR_CURRENT_EBC_ENCODING as CURRENT_EBC_ENCODING, SCARD_ATTR_CURRENT_F as CURRENT_F,
    SCARD_ATTR_CURRENT_IFSC as CURRENT_IFSC, SCARD_ATTR_CURRENT_IFSD as CURRENT_IFSD,
    SCARD_ATTR_CURRENT_N as CURRENT_N, SCARD_ATTR_CURRENT_PROTOCOL_TYPE as CURRENT_PROTOCOL_TYPE,
    SCARD_ATTR_CURRENT_W as CURRENT_W, SCARD_ATTR_DEVICE_FRIENDLY_NAME as DEVICE_FRIENDLY_NAME,
    SCARD_ATTR_DEVICE_SYSTEM_NAME as DEVICE_SYSTEM_NAME,
    SCARD_ATTR_ICC_INTERFACE_STATUS as ICC_INTERFACE_STATUS, SCARD_ATTR_ICC_PRESENCE as ICC_PRESENCE,
    SCARD_ATTR_MAXINPUT as MAXINPUT, SCARD_ATTR_VENDOR_IFD_SERIAL_NO as VENDOR_IFD_SERIAL_NO,
    SCARD_ATTR_VENDOR_IFD_VERSION as VENDOR_IFD_VERSION, SCARD_ATTR_VENDOR_NAME as VENDOR_NAME,
};

/// The longest manufacturer's name or serial number, in characters.
pub(crate) const MAX_TEXT: usize = 127;

/// The facts that attributes are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AttributeFacts<'a> {
    /// The ATR; empty where no card has power.
    pub atr: &'a [u8],
    /// Whether a card is in the slot.
    pub is_present: bool,
    /// The string of `iManufacturer`.
    pub manufacturer: Option<&'a str>,
    /// The string of `iSerialNumber`.
    pub serial: Option<&'a str>,
    /// `bcdDevice`.
    pub firmware: u16,
    /// The bus that the reader is on.
    pub bus: u8,
    /// Its address there.
    pub address: u8,
    /// `dwMaxCCIDMessageLength`.
    pub max_message_length: u32,
    /// The parameters in force. `None` before a protocol is chosen.
    pub current: Option<Current>,
    /// The reader's name, if the caller assigns it. `None` in an IFD handler: pcscd makes the
    /// names.
    pub name: Option<&'a str>,
}

/// The values in force between reader and card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current {
    /// The card's clock in kHz.
    pub clock_khz: u32,
    /// IFSD of T=1.
    pub ifsd: u8,
    /// The protocol and its parameters.
    pub parameters: Parameters,
}

/// An attribute's value; `None` where the attribute is not supported. A text that the device has not is
/// empty, without a NUL.
pub fn value(id: Id, facts: &AttributeFacts<'_>) -> Option<Vec<u8>> {
    let value = match id {
        ATR_STRING => facts.atr.to_vec(),
        ICC_INTERFACE_STATUS => [u8::from(facts.is_present)].to_vec(),
        ICC_PRESENCE => [if facts.is_present { 2 } else { 0 }].to_vec(),
        VENDOR_NAME => text(facts.manufacturer),
        VENDOR_IFD_SERIAL_NO => text(facts.serial),
        // `bcdDevice` in the high half.
        VENDOR_IFD_VERSION => number(u32::from(facts.firmware) << 16),
        // 0020 for USB, bus, address.
        CHANNEL_ID => number(0x20 << 16 | u32::from(facts.bus) << 8 | u32::from(facts.address)),
        // How long a command may be.
        MAXINPUT => {
            let header = u32::try_from(crate::message::HEADER_SIZE).unwrap_or(u32::MAX);
            number(facts.max_message_length.saturating_sub(header))
        }
        DEVICE_FRIENDLY_NAME | DEVICE_SYSTEM_NAME => {
            let mut name = facts.name?.as_bytes().to_vec();
            name.push(0);
            name
        }
        _ => number(current(id, &facts.current?)?),
    };
    Some(value)
}

fn current(id: Id, current: &Current) -> Option<u32> {
    let parameters = &current.parameters;
    let speed = Speed::from_ta1(parameters.f_index_d_index).unwrap_or(Speed::DEFAULT);
    let value = match (id, &parameters.specific) {
        // Bit 0 for T=0, bit 1 for T=1.
        (CURRENT_PROTOCOL_TYPE, _) => 1 << parameters.protocol(),
        (CURRENT_CLK, _) => current.clock_khz,
        (CURRENT_F, _) => speed.fi,
        (CURRENT_D, _) => speed.di,
        (CURRENT_N, _) => parameters.guard_time.into(),
        (CURRENT_W, Specific::T0 { wi }) => (*wi).into(),
        (CURRENT_IFSC, Specific::T1(t1)) => t1.ifsc.into(),
        (CURRENT_IFSD, Specific::T1(_)) => current.ifsd.into(),
        (CURRENT_BWT, Specific::T1(t1)) => t1.waiting.bwi.into(),
        (CURRENT_CWT, Specific::T1(t1)) => t1.waiting.cwi.into(),
        (CURRENT_EBC_ENCODING, Specific::T1(t1)) => u32::from(t1.edc == Edc::Crc),
        _ => return None,
    };
    Some(value)
}

fn number(value: u32) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

/// Each UTF-16 unit that is not ASCII becomes a question mark, as libusb does it. What follows a NUL is
/// lost to C.
fn text(text: Option<&str>) -> Vec<u8> {
    let Some(text) = text
        .and_then(|text| text.split('\0').next())
        .filter(|text| !text.is_empty())
    else {
        return Vec::new();
    };
    let mut value = Vec::new();
    for unit in text.encode_utf16().take(MAX_TEXT) {
        let unit = u8::try_from(unit).ok();
        value.push(unit.filter(u8::is_ascii).unwrap_or(b'?'));
    }
    value.push(0);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use proptest::prelude::*;

    /// 512/16, N = 255, IFSC 254, BWI 4, CWI 13, CRC.
    fn t1() -> Current {
        let bytes = [0x95, 0x11, 0xFF, 0x4D, 0, 254, 0];
        Current {
            clock_khz: 4000,
            ifsd: 252,
            parameters: Parameters::decode(1, &bytes).expect("well formed"),
        }
    }

    fn facts() -> AttributeFacts<'static> {
        AttributeFacts {
            atr: &[0x3B, 0x00],
            is_present: true,
            manufacturer: Some("Généric"),
            serial: None,
            firmware: 0x0120,
            bus: 3,
            address: 7,
            max_message_length: 271,
            current: None,
            name: None,
        }
    }

    fn number_of(id: Id, facts: &AttributeFacts<'_>) -> Option<u32> {
        let value = value(id, facts)?;
        Some(u32::from_ne_bytes(value.try_into().expect("four bytes")))
    }

    #[test]
    fn the_reader_and_its_card_are_told() {
        let facts = facts();
        assert_eq!(value(ATR_STRING, &facts).as_deref(), Some(&[0x3B, 0x00][..]));
        assert_eq!(value(ICC_PRESENCE, &facts).as_deref(), Some(&[2][..]));
        assert_eq!(value(ICC_INTERFACE_STATUS, &facts).as_deref(), Some(&[1][..]));
        assert_eq!(value(VENDOR_NAME, &facts).as_deref(), Some(&b"G?n?ric\0"[..]));
        assert_eq!(value(VENDOR_IFD_SERIAL_NO, &facts).as_deref(), Some(&[][..]));
        assert_eq!(number_of(VENDOR_IFD_VERSION, &facts), Some(0x0120_0000));
        assert_eq!(number_of(CHANNEL_ID, &facts), Some(0x0020_0307));
        assert_eq!(number_of(MAXINPUT, &facts), Some(261));
        let absent = AttributeFacts {
            is_present: false,
            atr: &[],
            max_message_length: 3,
            ..facts
        };
        assert_eq!(value(ATR_STRING, &absent).as_deref(), Some(&[][..]));
        assert_eq!(value(ICC_PRESENCE, &absent).as_deref(), Some(&[0][..]));
        assert_eq!(number_of(MAXINPUT, &absent), Some(0));
    }

    #[test]
    fn what_libccid_does_not_know_is_unsupported() {
        for id in [
            CURRENT_CLK,
            CURRENT_PROTOCOL_TYPE,
            DEVICE_FRIENDLY_NAME,
            0x0001_0101,
            0,
        ] {
            assert_eq!(value(id, &facts()), None, "{id:08X}");
        }
    }

    #[test]
    fn a_resource_manager_tells_the_name() {
        let facts = AttributeFacts {
            name: Some("R 00 00"),
            ..facts()
        };
        assert_eq!(
            value(DEVICE_FRIENDLY_NAME, &facts).as_deref(),
            Some(&b"R 00 00\0"[..])
        );
        assert_eq!(
            value(DEVICE_SYSTEM_NAME, &facts).as_deref(),
            Some(&b"R 00 00\0"[..])
        );
    }

    #[test]
    fn parameters_are_told_where_they_are_given() {
        let facts = AttributeFacts {
            current: Some(t1()),
            ..facts()
        };
        let told = |id| number_of(id, &facts);
        assert_eq!(told(CURRENT_PROTOCOL_TYPE), Some(2));
        assert_eq!(told(CURRENT_CLK), Some(4000));
        assert_eq!(
            (told(CURRENT_F), told(CURRENT_D), told(CURRENT_N)),
            (Some(512), Some(16), Some(255))
        );
        assert_eq!((told(CURRENT_IFSC), told(CURRENT_IFSD)), (Some(254), Some(252)));
        assert_eq!((told(CURRENT_BWT), told(CURRENT_CWT)), (Some(4), Some(13)));
        assert_eq!(told(CURRENT_EBC_ENCODING), Some(1));
        assert_eq!(told(CURRENT_W), None);
        let t0 = Current {
            parameters: Parameters::decode(0, &[0x11, 0, 0, 10, 0]).expect("well formed"),
            ..t1()
        };
        let facts = AttributeFacts {
            current: Some(t0),
            ..facts
        };
        assert_eq!(number_of(CURRENT_W, &facts), Some(10));
        assert_eq!(number_of(CURRENT_PROTOCOL_TYPE, &facts), Some(1));
        assert_eq!(number_of(CURRENT_IFSC, &facts), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_short_c_string(words: String, long in ".{120,140}") {
            for words in [words, long] {
                let facts = AttributeFacts { serial: Some(&words), ..facts() };
                let told = value(VENDOR_IFD_SERIAL_NO, &facts).expect("supported");
                prop_assert!(told.is_ascii() && told.len() <= MAX_TEXT + 1);
                if let Some((last, rest)) = told.split_last() {
                    prop_assert!(*last == 0 && !rest.contains(&0));
                }
            }
        }
    }
}
