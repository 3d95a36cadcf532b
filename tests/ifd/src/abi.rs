//! The IFD handler ABI, and what this handler alone has.

#![forbid(unsafe_code)]

#[path = "../../../pcsc-ifd/src/abi.rs"]
mod shared;

pub use shared::*;

/// The value is read only.
pub const ERROR_VALUE_READ_ONLY: ResponseCode = 602;

/// `SCARD_ATTR_VENDOR_NAME`.
pub const ATTR_VENDOR_NAME: Dword = pcsc_constants::SCARD_ATTR_VENDOR_NAME as Dword;
/// `SCARD_ATTR_VENDOR_IFD_TYPE`.
pub const ATTR_VENDOR_IFD_TYPE: Dword = pcsc_constants::SCARD_ATTR_VENDOR_IFD_TYPE as Dword;
/// `SCARD_ATTR_VENDOR_IFD_VERSION`.
pub const ATTR_VENDOR_IFD_VERSION: Dword = pcsc_constants::SCARD_ATTR_VENDOR_IFD_VERSION as Dword;
/// `SCARD_ATTR_VENDOR_IFD_SERIAL_NO`.
pub const ATTR_VENDOR_IFD_SERIAL_NO: Dword = pcsc_constants::SCARD_ATTR_VENDOR_IFD_SERIAL_NO as Dword;
/// `SCARD_ATTR_CHANNEL_ID`.
pub const ATTR_CHANNEL_ID: Dword = pcsc_constants::SCARD_ATTR_CHANNEL_ID as Dword;
/// `SCARD_ATTR_CURRENT_PROTOCOL_TYPE`.
pub const ATTR_CURRENT_PROTOCOL_TYPE: Dword = pcsc_constants::SCARD_ATTR_CURRENT_PROTOCOL_TYPE as Dword;
/// `SCARD_ATTR_ICC_PRESENCE`: 0 no card, 2 a card.
pub const ATTR_ICC_PRESENCE: Dword = pcsc_constants::SCARD_ATTR_ICC_PRESENCE as Dword;
/// `SCARD_ATTR_ICC_INTERFACE_STATUS`: 0 contacts off, 255 on.
pub const ATTR_ICC_INTERFACE_STATUS: Dword = pcsc_constants::SCARD_ATTR_ICC_INTERFACE_STATUS as Dword;
/// `SCARD_ATTR_ATR_STRING`.
pub const ATTR_ATR_STRING: Dword = pcsc_constants::SCARD_ATTR_ATR_STRING as Dword;
/// `SCARD_ATTR_MAXINPUT`: the longest command APDU in bytes.
pub const ATTR_MAXINPUT: Dword = pcsc_constants::SCARD_ATTR_MAXINPUT as Dword;

/// The one attribute that can be written: vendor-defined class, up to 264 bytes, empty at first.
pub const ATTR_WRITABLE: Dword = 0x0007_A0F0;

/// `SCARD_CTL_CODE(1)`: echoes its input.
pub const CTL_ECHO: Dword = 0x4200_0001;
/// `CM_IOCTL_GET_FEATURE_REQUEST` (PC/SC part 10, 2.2).
pub const CTL_GET_FEATURE_REQUEST: Dword = 0x4200_0000 + 3400;
/// `FEATURE_CCID_ESC_COMMAND` (PC/SC part 10, 2.3): the feature that this handler announces, with
/// [`CTL_ECHO`] as its code.
pub const FEATURE_CCID_ESC_COMMAND: u8 = 0x13;
