//! Types and numbers of the IFD handler ABI 3.0, as pcsc-lite's `ifdhandler.h` and `reader.h` have them on
//! Linux.

#![forbid(unsafe_code)]

use std::ffi::{c_long, c_ulong};

/// `DWORD`: a C `unsigned long` on Linux.
pub type Dword = c_ulong;
/// `RESPONSECODE`: the result of every entry point.
pub type ResponseCode = c_long;

/// `SCARD_IO_HEADER`: the protocol of an exchange, 0 for T=0 and 1 for T=1.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct IoHeader {
    /// Protocol number (not the `SCARD_PROTOCOL_*` bit).
    pub protocol: Dword,
    /// Unused.
    pub length: Dword,
}

/// Success.
pub const SUCCESS: ResponseCode = 0;
/// The tag is not known.
pub const ERROR_TAG: ResponseCode = 600;
/// The card refused the protocol's parameters.
pub const ERROR_PTS_FAILURE: ResponseCode = 605;
/// The handler does not support the request, or the reader does not support the protocol.
pub const ERROR_NOT_SUPPORTED: ResponseCode = 606;
/// The card does not offer this protocol.
pub const PROTOCOL_NOT_SUPPORTED: ResponseCode = 607;
/// Power-up or reset failed.
pub const ERROR_POWER_ACTION: ResponseCode = 608;
/// Any other failure.
pub const COMMUNICATION_ERROR: ResponseCode = 612;
/// The handler does not support the action.
pub const NOT_SUPPORTED: ResponseCode = 614;
/// A card is in the reader.
pub const ICC_PRESENT: ResponseCode = 615;
/// No card is in the reader.
pub const ICC_NOT_PRESENT: ResponseCode = 616;
/// The reader is gone.
pub const NO_SUCH_DEVICE: ResponseCode = 617;
/// The caller's buffer is too short.
pub const ERROR_INSUFFICIENT_BUFFER: ResponseCode = 618;

/// Cold power-up.
pub const POWER_UP: Dword = 500;
/// Power-down.
pub const POWER_DOWN: Dword = 501;
/// Warm reset.
pub const RESET: Dword = 502;

/// `SCARD_PROTOCOL_T0`.
pub const PROTOCOL_T0: Dword = pcsc_constants::SCARD_PROTOCOL_T0 as Dword;
/// `SCARD_PROTOCOL_T1`.
pub const PROTOCOL_T1: Dword = pcsc_constants::SCARD_PROTOCOL_T1 as Dword;

/// The ATR, by its short tag.
pub const TAG_ATR: Dword = 0x0303;
/// Whether several slots of one reader may be used at once.
pub const TAG_SLOT_THREAD_SAFE: Dword = 0x0FAC;
/// Whether several readers may be used at once. Without it pcscd uses one lock for all readers.
pub const TAG_THREAD_SAFE: Dword = 0x0FAD;
/// Slots of this reader.
pub const TAG_SLOTS_NUMBER: Dword = 0x0FAE;
/// How many readers the handler can drive. Without it all readers get logical unit 0.
pub const TAG_SIMULTANEOUS_ACCESS: Dword = 0x0FAF;
/// Whether pcscd may cancel the thread that waits for a card.
pub const TAG_POLLING_THREAD_KILLABLE: Dword = 0x0FB1;
/// The function that ends the wait for a card.
pub const TAG_STOP_POLLING_THREAD: Dword = 0x0FB2;
/// The function that waits for a card.
pub const TAG_POLLING_THREAD_WITH_TIMEOUT: Dword = 0x0FB3;
/// Set by pcscd 2.0 and later when the reader was unplugged.
pub const TAG_DEVICE_REMOVED: Dword = 0x0FB4;
