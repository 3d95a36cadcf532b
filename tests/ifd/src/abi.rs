//! The IFD handler ABI, and what this handler alone has.

#![forbid(unsafe_code)]

#[path = "../../../pcsc-ifd/src/abi.rs"]
mod shared;

pub use shared::*;

/// The one attribute that can be written: vendor-defined class, up to 264 bytes, empty at first.
pub const ATTR_WRITABLE: Dword = 0x0007_A0F0;

/// `SCARD_CTL_CODE(1)`: echoes its input.
pub const CTL_ECHO: Dword = 0x4200_0001;
/// `CM_IOCTL_GET_FEATURE_REQUEST` (PC/SC part 10, 2.2).
pub const CTL_GET_FEATURE_REQUEST: Dword = 0x4200_0000 + 3400;
/// `FEATURE_CCID_ESC_COMMAND` (PC/SC part 10, 2.3): the feature that this handler announces, with
/// [`CTL_ECHO`] as its code.
pub const FEATURE_CCID_ESC_COMMAND: u8 = 0x13;
