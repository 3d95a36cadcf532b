//! Why a reader's command failed.

use core::fmt;

/// Why a command failed (`bError`, table 6.2-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotError {
    /// CMD_ABORTED: the host aborted the command.
    Aborted,
    /// ICC_MUTE: the card did not answer in time.
    Mute,
    /// XFR_PARITY_ERROR: a character from the card had a parity error.
    Parity,
    /// XFR_OVERRUN: the card sent more than the reader could take.
    Overrun,
    /// HW_ERROR: an electrical or mechanical fault.
    Hardware,
    /// BAD_ATR_TS: the ATR begins with neither 3B nor 3F.
    BadTs,
    /// BAD_ATR_TCK: the ATR's check byte is wrong.
    BadTck,
    /// ICC_PROTOCOL_NOT_SUPPORTED.
    ProtocolUnsupported,
    /// ICC_CLASS_NOT_SUPPORTED.
    ClassUnsupported,
    /// PROCEDURE_BYTE_CONFLICT: T=0 sent a byte that is no procedure byte.
    ProcedureByte,
    /// DEACTIVATED_PROTOCOL.
    DeactivatedProtocol,
    /// BUSY_WITH_AUTO_SEQUENCE: the reader is activating the card by itself.
    BusyWithAutoSequence,
    /// PIN_TIMEOUT: no PIN was typed in time.
    PinTimeout,
    /// PIN_CANCELLED: the user pressed the cancel key.
    PinCancelled,
    /// CMD_SLOT_BUSY: another command for this slot is being processed.
    SlotBusy,
    /// The command is not known to the reader.
    CommandUnsupported,
    /// The parameter at this offset of the message is wrong or not supported (01 to 7F).
    Parameter(u8),
    /// The manufacturer's own (81 to C0), or reserved.
    Other(u8),
}

/// The codes of table 6.2-2 that have names.
const NAMED: [(u8, SlotError); 16] = [
    (0xFF, SlotError::Aborted),
    (0xFE, SlotError::Mute),
    (0xFD, SlotError::Parity),
    (0xFC, SlotError::Overrun),
    (0xFB, SlotError::Hardware),
    (0xF8, SlotError::BadTs),
    (0xF7, SlotError::BadTck),
    (0xF6, SlotError::ProtocolUnsupported),
    (0xF5, SlotError::ClassUnsupported),
    (0xF4, SlotError::ProcedureByte),
    (0xF3, SlotError::DeactivatedProtocol),
    (0xF2, SlotError::BusyWithAutoSequence),
    (0xF0, SlotError::PinTimeout),
    (0xEF, SlotError::PinCancelled),
    (0xE0, SlotError::SlotBusy),
    (0x00, SlotError::CommandUnsupported),
];

impl SlotError {
    /// The error of a `bError`.
    pub fn decode(code: u8) -> SlotError {
        match NAMED.iter().find(|(named, _)| *named == code) {
            Some((_, error)) => *error,
            None if code < 0x80 => SlotError::Parameter(code),
            None => SlotError::Other(code),
        }
    }

    /// Its `bError`.
    pub fn code(self) -> u8 {
        match self {
            SlotError::Parameter(code) | SlotError::Other(code) => code,
            named => NAMED
                .iter()
                .find(|(_, error)| *error == named)
                .map_or(0, |(code, _)| *code),
        }
    }
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SlotError::Aborted => "the command was aborted",
            SlotError::Mute => "the card does not answer",
            SlotError::Parity => "a character from the card had a parity error",
            SlotError::Overrun => "the card sent more than the reader could take",
            SlotError::Hardware => "the reader reports a hardware error",
            SlotError::BadTs => "the ATR's first byte is wrong",
            SlotError::BadTck => "the ATR's check byte is wrong",
            SlotError::ProtocolUnsupported => "the reader does not support the card's protocol",
            SlotError::ClassUnsupported => "the reader does not support the card's voltage class",
            SlotError::ProcedureByte => "the card sent a wrong procedure byte",
            SlotError::DeactivatedProtocol => "the protocol is deactivated",
            SlotError::BusyWithAutoSequence => "the reader is activating the card",
            SlotError::PinTimeout => "no PIN was typed in time",
            SlotError::PinCancelled => "the PIN was cancelled at the reader",
            SlotError::SlotBusy => "the slot is busy",
            SlotError::CommandUnsupported => "the reader does not know the command",
            SlotError::Parameter(offset) => {
                return write!(f, "the reader refuses the parameter at offset {offset}");
            }
            SlotError::Other(code) => return write!(f, "the reader reports error {code:02X}"),
        })
    }
}

#[cfg(feature = "std")]
impl std::error::Error for SlotError {}
