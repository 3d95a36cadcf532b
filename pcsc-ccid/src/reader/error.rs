//! Why a reader or a card could not do what it was asked.

use crate::message::{Malformed, SlotErrorCode};
use crate::{apdu::ApduError, atr::AtrError, t0::T0Error, t1::T1Error, transport::TransportError};

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReaderError {
    /// The transfer failed; see [`TransportError`].
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The reader says that the command failed.
    #[error(transparent)]
    Slot(SlotErrorCode),
    /// There is no card in the slot, or it was taken out.
    #[error("there is no card in the slot")]
    NoCard,
    /// The card has no power: it must be powered up first.
    #[error("the card has no power")]
    NotPowered,
    /// The driver had to reset the card, to go on at a lower speed. What the last command did is unknown; the
    /// card is ready, with the protocol chosen before.
    #[error("the card was reset to go on at a lower speed")]
    CardReset,
    /// The reader's answer is no message of the specification.
    #[error(transparent)]
    Malformed(Malformed),
    /// The reader's answer does not belong to the command, or is longer than any.
    #[error("the reader's answer does not belong to the command")]
    WrongReply,
    /// The reader or the card asks for more time than any command may take.
    #[error("the reader asks for too much time")]
    TooSlow,
    /// The ATR cannot be read, so that no protocol can be chosen.
    #[error(transparent)]
    Atr(AtrError),
    /// The reader or the card does not offer the protocol.
    #[error("the reader or the card does not offer the protocol")]
    ProtocolUnsupported,
    /// No slot has this number.
    #[error("the reader has no such slot")]
    NoSuchSlot,
    /// The reader has no such function or attribute.
    #[error("the reader has no such function")]
    Unsupported,
    /// A structure of the caller's is wrong.
    #[error("a parameter is wrong")]
    InvalidParameter,
    /// The command is longer than the reader can carry.
    #[error("the reader carries commands of at most {max} bytes")]
    CommandTooLong {
        /// The longest command in bytes.
        max: usize,
    },
    /// The answer does not fit the caller's buffer.
    #[error("the answer does not fit the buffer")]
    BufferTooSmall,
    /// The bytes are no command APDU, and T=0 needs one.
    #[error(transparent)]
    Apdu(ApduError),
    /// T=0 failed.
    #[error(transparent)]
    T0(T0Error),
    /// T=1 failed.
    #[error(transparent)]
    T1(T1Error),
    /// This reader's firmware is known not to work, for this reason.
    #[error("the reader's firmware is not supported: {0}")]
    Firmware(&'static str),
}

impl ReaderError {
    /// Whether the reader is gone.
    pub const fn is_gone(self) -> bool {
        matches!(self, ReaderError::Transport(TransportError::Gone))
    }

    /// Whether a lower speed could help: the characters on the contact, or the card's answer to them, were
    /// wrong.
    pub(crate) const fn may_be_speed(self) -> bool {
        match self {
            ReaderError::Slot(error) => matches!(
                error,
                SlotErrorCode::Mute
                    | SlotErrorCode::Parity
                    | SlotErrorCode::Overrun
                    | SlotErrorCode::Hardware
                    | SlotErrorCode::BadTs
                    | SlotErrorCode::BadTck
                    | SlotErrorCode::ProcedureByte
                    | SlotErrorCode::DeactivatedProtocol
            ),
            ReaderError::T0(error) => matches!(
                error,
                T0Error::Timeout | T0Error::Parity | T0Error::InvalidProcedure(_) | T0Error::ResponseTooShort
            ),
            ReaderError::T1(error) => matches!(error, T1Error::Unresponsive | T1Error::Stalled),
            // The reader waits for the card longer than it should, which a wrong speed makes it do.
            ReaderError::Transport(TransportError::Timeout) => true,
            _ => false,
        }
    }

    /// Whether a command may have reached the card in part.
    pub(super) const fn is_half_way(self) -> bool {
        match self {
            ReaderError::Slot(error) => !matches!(
                error,
                SlotErrorCode::CommandUnsupported
                    | SlotErrorCode::Parameter(_)
                    // The reader sends the command only with the PIN.
                    | SlotErrorCode::PinTimeout
                    | SlotErrorCode::PinCancelled
            ),
            // Refused before anything is sent, or after a whole exchange.
            ReaderError::T0(error) => !matches!(
                error,
                T0Error::InvalidInstruction(_) | T0Error::InvalidLength | T0Error::EnvelopeUnsupported
            ),
            ReaderError::Transport(_)
            | ReaderError::Malformed(_)
            | ReaderError::WrongReply
            | ReaderError::TooSlow => true,
            _ => false,
        }
    }
}

impl From<T0Error> for ReaderError {
    fn from(error: T0Error) -> ReaderError {
        match error {
            T0Error::ResponseTooLong => ReaderError::BufferTooSmall,
            error => ReaderError::T0(error),
        }
    }
}

impl From<T1Error> for ReaderError {
    fn from(error: T1Error) -> ReaderError {
        match error {
            T1Error::ResponseTooLong => ReaderError::BufferTooSmall,
            error => ReaderError::T1(error),
        }
    }
}
