//! EFI_SMART_CARD_READER_PROTOCOL: types and constants (UEFI specification, section "Smart Card Reader
//! Protocol").

use uefi::proto::unsafe_protocol;
use uefi::Status;

/// AccessMode: exclusive access to the reader.
pub const SCARD_AM_READER: u32 = 1;
/// AccessMode: exclusive access to the card.
pub const SCARD_AM_CARD: u32 = 2;

/// CardAction: leave the card as it is.
pub const SCARD_CA_NORESET: u32 = 0;
/// CardAction: cold reset.
pub const SCARD_CA_COLDRESET: u32 = 1;
/// CardAction: warm reset.
pub const SCARD_CA_WARMRESET: u32 = 2;
/// CardAction: power off.
pub const SCARD_CA_UNPOWER: u32 = 3;
/// CardAction: eject.
pub const SCARD_CA_EJECT: u32 = 4;

/// No protocol.
pub const SCARD_PROTOCOL_UNDEFINED: u32 = 0;
/// T=0.
pub const SCARD_PROTOCOL_T0: u32 = 1;
/// T=1.
pub const SCARD_PROTOCOL_T1: u32 = 2;
/// Raw. This driver does not offer it.
pub const SCARD_PROTOCOL_RAW: u32 = 4;

/// State: unknown.
pub const SCARD_UNKNOWN: u32 = 0;
/// State: no card.
pub const SCARD_ABSENT: u32 = 1;
/// State: a card without power.
pub const SCARD_INACTIVE: u32 = 2;
/// State: a card with power.
pub const SCARD_ACTIVE: u32 = 3;

/// The control code that asks for the features of PC/SC part 10: SCARD_CTL_CODE(3400).
pub const CM_IOCTL_GET_FEATURE_REQUEST: u32 = 0x4200_0000 + 3400;

/// EFI_SMART_CARD_READER_PROTOCOL.
#[derive(Debug)]
#[repr(C)]
#[unsafe_protocol("2a4d1adf-21dc-4b81-a42f-8b8ee2380060")]
#[allow(missing_docs, reason = "the names are the specification's")]
pub struct SmartCardReaderProtocol {
    pub connect: unsafe extern "efiapi" fn(
        this: *mut Self,
        access_mode: u32,
        card_action: u32,
        preferred_protocols: u32,
        active_protocol: *mut u32,
    ) -> Status,
    pub disconnect: unsafe extern "efiapi" fn(this: *mut Self, card_action: u32) -> Status,
    pub status: unsafe extern "efiapi" fn(
        this: *mut Self,
        reader_name: *mut u16,
        reader_name_length: *mut usize,
        state: *mut u32,
        card_protocol: *mut u32,
        atr: *mut u8,
        atr_length: *mut usize,
    ) -> Status,
    pub transmit: unsafe extern "efiapi" fn(
        this: *mut Self,
        command: *const u8,
        command_length: usize,
        response: *mut u8,
        response_length: *mut usize,
    ) -> Status,
    pub control: unsafe extern "efiapi" fn(
        this: *mut Self,
        control_code: u32,
        in_buffer: *const u8,
        in_buffer_length: usize,
        out_buffer: *mut u8,
        out_buffer_length: *mut usize,
    ) -> Status,
    pub get_attrib: unsafe extern "efiapi" fn(
        this: *mut Self,
        attrib: u32,
        out_buffer: *mut u8,
        out_buffer_length: *mut usize,
    ) -> Status,
}
