//! Why a reader or a card could not do what it was asked.

use core::fmt;

use crate::message::{Malformed, SlotError};
use crate::{apdu, atr, t0, t1, transport};

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The transfer failed; see [`transport::Error`].
    Transport(transport::Error),
    /// The reader says that the command failed.
    Slot(SlotError),
    /// There is no card in the slot, or it was taken out.
    NoCard,
    /// The card has no power: it must be powered up first.
    NotPowered,
    /// The driver had to reset the card, to go on at a lower speed. What the last command did is unknown; the card
    /// is ready, with the protocol chosen before.
    CardReset,
    /// The reader's answer is no message of the specification.
    Malformed(Malformed),
    /// The reader's answer does not belong to the command, or is longer than the reader may make it.
    WrongReply,
    /// The reader or the card asks for more time than any command may take.
    TooSlow,
    /// The ATR cannot be read, so that no protocol can be chosen.
    Atr(atr::Error),
    /// The reader or the card does not offer the protocol.
    ProtocolUnsupported,
    /// No slot has this number.
    NoSuchSlot,
    /// The reader has no such function or attribute.
    Unsupported,
    /// A structure of the caller's is wrong.
    InvalidParameter,
    /// The command is longer than the reader can carry: at most so many bytes.
    CommandTooLong {
        /// The longest command in bytes.
        max: usize,
    },
    /// The answer does not fit the caller's buffer.
    BufferTooSmall,
    /// The bytes are no command APDU, and T=0 needs one.
    Apdu(apdu::Error),
    /// T=0 failed.
    T0(t0::Error),
    /// T=1 failed.
    T1(t1::Error),
    /// This reader's firmware is known not to work, for this reason.
    Firmware(&'static str),
}

impl Error {
    /// Whether the reader is gone.
    pub const fn is_gone(self) -> bool {
        matches!(self, Error::Transport(transport::Error::Gone))
    }

    /// Whether a lower speed could help: the characters on the contact, or the card's answer to them, were wrong.
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

impl From<transport::Error> for Error {
    fn from(error: transport::Error) -> Error {
        Error::Transport(error)
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
            t1::Error::Cancelled => Error::Transport(transport::Error::Cancelled),
            error => Error::T1(error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Transport(error) => return error.fmt(f),
            Error::Slot(error) => return error.fmt(f),
            Error::Malformed(error) => return error.fmt(f),
            Error::Atr(error) => return error.fmt(f),
            Error::Apdu(error) => return error.fmt(f),
            Error::T0(error) => return error.fmt(f),
            Error::T1(error) => return error.fmt(f),
            Error::CommandTooLong { max } => {
                return write!(f, "the reader carries commands of at most {max} bytes");
            }
            Error::Firmware(reason) => return write!(f, "the reader's firmware is not supported: {reason}"),
            Error::NoCard => "there is no card in the slot",
            Error::NotPowered => "the card has no power",
            Error::CardReset => "the card was reset to go on at a lower speed",
            Error::WrongReply => "the reader's answer does not belong to the command",
            Error::TooSlow => "the reader asks for too much time",
            Error::ProtocolUnsupported => "the reader or the card does not offer the protocol",
            Error::NoSuchSlot => "the reader has no such slot",
            Error::Unsupported => "the reader has no such function",
            Error::InvalidParameter => "a parameter is wrong",
            Error::BufferTooSmall => "the answer does not fit the buffer",
        })
    }
}

#[cfg(feature = "std")]
impl std::error::Error for Error {}
