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

/// The attributes' identifiers.
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
const MAX_TEXT: usize = 127;

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

impl Current {
    /// The value of an attribute about the protocol in force; `None` for any other.
    pub fn value(&self, id: Id) -> Option<u32> {
        let parameters = &self.parameters;
        let speed = Speed::from_ta1(parameters.f_index_d_index).unwrap_or(Speed::DEFAULT);
        let value = match (id, &parameters.specific) {
            // Bit 0 for T=0, bit 1 for T=1.
            (CURRENT_PROTOCOL_TYPE, _) => 1 << parameters.protocol(),
            (CURRENT_CLK, _) => self.clock_khz,
            (CURRENT_F, _) => speed.fi,
            (CURRENT_D, _) => speed.di,
            (CURRENT_N, _) => parameters.guard_time.into(),
            (CURRENT_W, Specific::T0 { wi }) => (*wi).into(),
            (CURRENT_IFSC, Specific::T1(t1)) => t1.ifsc.into(),
            (CURRENT_IFSD, Specific::T1(_)) => self.ifsd.into(),
            (CURRENT_BWT, Specific::T1(t1)) => t1.waiting.bwi.into(),
            (CURRENT_CWT, Specific::T1(t1)) => t1.waiting.cwi.into(),
            (CURRENT_EBC_ENCODING, Specific::T1(t1)) => u32::from(t1.edc == Edc::Crc),
            _ => return None,
        };
        Some(value)
    }
}

/// The value of an attribute that is a number.
pub(crate) fn number(value: u32) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

/// The value of an attribute that is a string of the device. Each UTF-16 unit that is not ASCII becomes a
/// question mark, as libusb does it, and what follows a NUL is left out. A string that the device has not is
/// empty, without a NUL.
pub(crate) fn text(text: Option<&str>) -> Vec<u8> {
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

    #[test]
    fn parameters_are_those_of_their_protocol() {
        let t1 = t1();
        let value = |id| t1.value(id);
        assert_eq!(value(CURRENT_PROTOCOL_TYPE), Some(2));
        assert_eq!(value(CURRENT_CLK), Some(4000));
        assert_eq!(
            (value(CURRENT_F), value(CURRENT_D), value(CURRENT_N)),
            (Some(512), Some(16), Some(255))
        );
        assert_eq!((value(CURRENT_IFSC), value(CURRENT_IFSD)), (Some(254), Some(252)));
        assert_eq!((value(CURRENT_BWT), value(CURRENT_CWT)), (Some(4), Some(13)));
        assert_eq!(value(CURRENT_EBC_ENCODING), Some(1));
        assert_eq!([CURRENT_W, ATR_STRING, 0].map(value), [None; 3]);
        let t0 = Current {
            parameters: Parameters::decode(0, &[0x11, 0, 0, 10, 0]).expect("well formed"),
            ..t1
        };
        assert_eq!(t0.value(CURRENT_W), Some(10));
        assert_eq!(t0.value(CURRENT_PROTOCOL_TYPE), Some(1));
        assert_eq!(t0.value(CURRENT_IFSC), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_short_c_string(words: String, long in ".{120,140}") {
            for words in [words, long] {
                let value = text(Some(&words));
                prop_assert!(value.is_ascii() && value.len() <= MAX_TEXT + 1);
                if let Some((last, rest)) = value.split_last() {
                    prop_assert!(*last == 0 && !rest.contains(&0));
                }
            }
        }
    }
}
