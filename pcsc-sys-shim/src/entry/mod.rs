//! The entry points of `winscard.h` (PC/SC part 5), with the conventions of PC/SC Lite 1.9.9 and 2.5.
//!
//! Each is sound for any pointers that its C declaration allows, also where several of them are the same;
//! NULL is handled in all of them. Numbers have 32 bits on the wire: wider ones are truncated, as PC/SC
//! Lite does.
#![allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "DWORD has 64 bits or 32"
)]
#![allow(non_snake_case, non_upper_case_globals, clippy::missing_safety_doc)]

use std::ffi::{c_char, c_void};

use pcsc_client::ffi::{DWORD, SCARD_PROTOCOL_RAW, SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1};
use pcsc_client::internals::Pci;

mod card;
mod context;
mod exchange;
mod status_change;

pub use card::*;
pub use context::*;
pub use exchange::*;
pub use status_change::*;

#[cfg(test)]
mod tests;

/// `SCARD_IO_REQUEST`: the protocol control information of a transmit.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct IoRequest {
    /// The protocol.
    pub dwProtocol: DWORD,
    /// The structure's size, in bytes.
    pub cbPciLength: DWORD,
}

impl IoRequest {
    const fn new(protocol: DWORD) -> IoRequest {
        IoRequest {
            dwProtocol: protocol,
            cbPciLength: size_of::<IoRequest>() as DWORD,
        }
    }
}

impl From<IoRequest> for Pci {
    fn from(request: IoRequest) -> Pci {
        Pci {
            protocol: request.dwProtocol as u32,
            length: request.cbPciLength as u32,
        }
    }
}

/// `SCARD_READERSTATE`: a reader that `SCardGetStatusChange` watches.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ReaderState {
    /// The reader's name.
    pub szReader: *const c_char,
    /// A value of the caller's, which is not used here.
    pub pvUserData: *mut c_void,
    /// The state that the caller knows, `SCARD_STATE_*`.
    pub dwCurrentState: DWORD,
    /// The state now, `SCARD_STATE_*`.
    pub dwEventState: DWORD,
    /// The ATR's length, in bytes.
    pub cbAtr: DWORD,
    /// The ATR.
    pub rgbAtr: [u8; 33],
}

/// `SCARD_PCI_T0`.
#[no_mangle]
pub static g_rgSCardT0Pci: IoRequest = IoRequest::new(SCARD_PROTOCOL_T0);
/// `SCARD_PCI_T1`.
#[no_mangle]
pub static g_rgSCardT1Pci: IoRequest = IoRequest::new(SCARD_PROTOCOL_T1);
/// `SCARD_PCI_RAW`.
#[no_mangle]
pub static g_rgSCardRawPci: IoRequest = IoRequest::new(SCARD_PROTOCOL_RAW);
