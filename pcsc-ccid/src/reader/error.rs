//! Why a reader or a card could not do what it was asked.

use crate::message::{Malformed, SlotError};
use crate::{apdu, atr, t0, t1, transport};

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The transfer failed; see [`transport::Error`].
    #[error(transparent)]
    Transport(#[from] transport::Error),
    /// The reader says that the command failed.
    #[error(transparent)]
    Slot(SlotError),
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
    /// The reader's answer does not belong to the command, or is longer than the reader may make it.
    #[error("the reader's answer does not belong to the command")]
    WrongReply,
    /// The reader or the card asks for more time than any command may take.
    #[error("the reader asks for too much time")]
    TooSlow,
    /// The ATR cannot be read, so that no protocol can be chosen.
    #[error(transparent)]
    Atr(atr::Error),
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
    /// The command is longer than the reader can carry: at most so many bytes.
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
    Apdu(apdu::Error),
    /// T=0 failed.
    #[error(transparent)]
    T0(t0::Error),
    /// T=1 failed.
    #[error(transparent)]
    T1(t1::Error),
    /// This reader's firmware is known not to work, for this reason.
    #[error("the reader's firmware is not supported: {0}")]
    Firmware(&'static str),
}

impl Error {
    /// Whether the reader is gone.
    pub const fn is_gone(self) -> bool {
        matches!(self, Error::Transport(transport::Error::Gone))
    }

    /// Whether a lower speed could help: the characters on the contact, or the card's answer to them, were
    /// wrong.
    pub const fn may_be_speed(self) -> bool {
        match self {
            Error::Slot(error) => matches!(
                error,
                SlotError::Mute
                    | SlotError::Parity
                    | SlotError::Overrun
                    | SlotError::Hardware
                    | SlotError::BadTs
                    | SlotError::BadTck
                    | SlotError::ProcedureByte
                    | SlotError::DeactivatedProtocol
            ),
            Error::T0(error) => matches!(
                error,
                t0::Error::Timeout
                    | t0::Error::Parity
                    | t0::Error::InvalidProcedure(_)
                    | t0::Error::ResponseTooShort
            ),
            Error::T1(error) => matches!(error, t1::Error::Unresponsive | t1::Error::Stalled),
            Error::Transport(transport::Error::Timeout) => true,
            _ => false,
        }
    }

    /// Whether a command may have reached the card in part.
    pub(super) const fn is_half_way(self) -> bool {
        match self {
            Error::Slot(error) => !matches!(error, SlotError::CommandUnsupported | SlotError::Parameter(_)),
            // Refused before anything is sent, or after a whole exchange.
            Error::T0(error) => !matches!(
                error,
                t0::Error::InvalidInstruction(_) | t0::Error::InvalidLength | t0::Error::EnvelopeUnsupported
            ),
            Error::Transport(_) | Error::Malformed(_) | Error::WrongReply | Error::TooSlow => true,
            _ => false,
        }
    }
}

impl From<t0::Error> for Error {
    fn from(error: t0::Error) -> Error {
        match error {
            t0::Error::ResponseTooLong => Error::BufferTooSmall,
            error => Error::T0(error),
        }
    }
}

impl From<t1::Error> for Error {
    fn from(error: t1::Error) -> Error {
        match error {
            t1::Error::ResponseTooLong => Error::BufferTooSmall,
            error => Error::T1(error),
        }
    }
}
