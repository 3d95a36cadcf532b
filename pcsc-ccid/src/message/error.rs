//! Why a reader's command failed.

/// Why a command failed (`bError`, table 6.2-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlotErrorCode {
    /// CMD_ABORTED: the host aborted the command.
    #[error("the command was aborted")]
    Aborted,
    /// ICC_MUTE: the card did not answer in time.
    #[error("the card does not answer")]
    Mute,
    /// XFR_PARITY_ERROR: a character from the card had a parity error.
    #[error("a character from the card had a parity error")]
    Parity,
    /// XFR_OVERRUN: the card sent more than the reader could take.
    #[error("the card sent more than the reader could take")]
    Overrun,
    /// HW_ERROR: an electrical or mechanical fault.
    #[error("the reader reports a hardware error")]
    Hardware,
    /// BAD_ATR_TS: the ATR begins with neither 3B nor 3F.
    #[error("the ATR's first byte is wrong")]
    BadTs,
    /// BAD_ATR_TCK: the ATR's check byte is wrong.
    #[error("the ATR's check byte is wrong")]
    BadTck,
    /// ICC_PROTOCOL_NOT_SUPPORTED.
    #[error("the reader does not support the card's protocol")]
    ProtocolUnsupported,
    /// ICC_CLASS_NOT_SUPPORTED.
    #[error("the reader does not support the card's voltage class")]
    ClassUnsupported,
    /// PROCEDURE_BYTE_CONFLICT: T=0 sent a byte that is no procedure byte.
    #[error("the card sent a wrong procedure byte")]
    ProcedureByte,
    /// DEACTIVATED_PROTOCOL.
    #[error("the protocol is deactivated")]
    DeactivatedProtocol,
    /// BUSY_WITH_AUTO_SEQUENCE: the reader is activating the card by itself.
    #[error("the reader is activating the card")]
    BusyWithAutoSequence,
    /// PIN_TIMEOUT: no PIN was typed in time.
    #[error("no PIN was typed in time")]
    PinTimeout,
    /// PIN_CANCELLED: the user pressed the cancel key.
    #[error("the PIN was cancelled at the reader")]
    PinCancelled,
    /// CMD_SLOT_BUSY: another command for this slot is being processed.
    #[error("the slot is busy")]
    SlotBusy,
    /// The command is not known to the reader.
    #[error("the reader does not know the command")]
    CommandUnsupported,
    /// The parameter at this offset of the message is wrong or not supported (01 to 7F).
    #[error("the reader refuses the parameter at offset {0}")]
    Parameter(u8),
    /// The manufacturer's own (81 to C0), or reserved.
    #[error("the reader reports error {0:02X}")]
    Other(u8),
}

/// The codes of table 6.2-2 that have names.
const NAMED: [(u8, SlotErrorCode); 16] = [
    (0xFF, SlotErrorCode::Aborted),
    (0xFE, SlotErrorCode::Mute),
    (0xFD, SlotErrorCode::Parity),
    (0xFC, SlotErrorCode::Overrun),
    (0xFB, SlotErrorCode::Hardware),
    (0xF8, SlotErrorCode::BadTs),
    (0xF7, SlotErrorCode::BadTck),
    (0xF6, SlotErrorCode::ProtocolUnsupported),
    (0xF5, SlotErrorCode::ClassUnsupported),
    (0xF4, SlotErrorCode::ProcedureByte),
    (0xF3, SlotErrorCode::DeactivatedProtocol),
    (0xF2, SlotErrorCode::BusyWithAutoSequence),
    (0xF0, SlotErrorCode::PinTimeout),
    (0xEF, SlotErrorCode::PinCancelled),
    (0xE0, SlotErrorCode::SlotBusy),
    (0x00, SlotErrorCode::CommandUnsupported),
];

impl SlotErrorCode {
    /// The error of a `bError`.
    pub fn decode(code: u8) -> SlotErrorCode {
        match NAMED.iter().find(|(named, _)| *named == code) {
            Some((_, error)) => *error,
            None if code < 0x80 => SlotErrorCode::Parameter(code),
            None => SlotErrorCode::Other(code),
        }
    }

    /// Its `bError`.
    pub fn code(self) -> u8 {
        match self {
            SlotErrorCode::Parameter(code) | SlotErrorCode::Other(code) => code,
            named => NAMED
                .iter()
                .find(|(_, error)| *error == named)
                .map_or(0, |(code, _)| *code),
        }
    }
}
