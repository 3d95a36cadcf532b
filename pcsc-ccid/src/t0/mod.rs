//! Protocol T=0, half-duplex transmission of characters (ISO/IEC 7816-3 clauses 10 and 12.2).
//!
//! Two layers, both without I/O: [`T0Exchange`] maps a command APDU to one or more TPDUs (GET RESPONSE, the
//! right length after '6Cxx', ENVELOPE), and [`Character`] exchanges one TPDU through procedure bytes. A
//! reader at TPDU level needs the first, a reader at character level both.

mod character;
mod mapping;

pub use character::{Character, CharacterAction};
pub use mapping::{StatusWordPolicy, T0Action, T0Exchange, MAX_TPDU};

/// Longest response TPDU: 256 bytes of data and the two status bytes.
pub const MAX_TPDU_RESPONSE: usize = 256 + 2;

/// Which way the data of a TPDU go (clause 10.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataDirection<'a> {
    /// To the card, P3 bytes; none at all with P3 = 0.
    ToCard(&'a [u8]),
    /// From the card, P3 bytes; 256 with P3 = 0.
    FromCard,
}

/// Why a T=0 exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum T0Error {
    /// INS '6X' and '9X' cannot be distinguished from SW1 (clause 10.3.2).
    #[error("INS {0:02X} cannot be sent over T=0")]
    InvalidInstruction(u8),
    /// P3 and the data differ in length.
    #[error("P3 does not match the data")]
    InvalidLength,
    /// A byte that is no procedure byte, or one that asks for more data than P3 announced.
    #[error("invalid procedure byte {0:02X}")]
    InvalidProcedure(u8),
    /// More bytes than were asked for.
    #[error("the card sent more than was asked for")]
    UnexpectedData,
    /// The waiting time went by (clause 10.2).
    #[error("the card does not answer")]
    Timeout,
    /// A character was not received right, repetitions included.
    #[error("parity error")]
    Parity,
    /// Too many NULL procedure bytes.
    #[error("the card asks for too much waiting time")]
    NullLimit,
    /// The response does not fit the caller's buffer.
    #[error("the response does not fit the buffer")]
    ResponseTooLong,
    /// A response TPDU without a status word.
    #[error("the response has no status word")]
    ResponseTooShort,
    /// The command needs ENVELOPE, which this card does not support: T=0 cannot carry it.
    #[error("more than 255 bytes of data need ENVELOPE, which the card does not know")]
    EnvelopeUnsupported,
    /// The exchange has ended, or was not started.
    #[error("the exchange is over")]
    Over,
}

fn is_sw1(byte: u8) -> bool {
    matches!(byte, 0x61..=0x6F | 0x90..=0x9F)
}

fn check_ins(ins: u8) -> Result<(), T0Error> {
    match ins >> 4 {
        6 | 9 => Err(T0Error::InvalidInstruction(ins)),
        _ => Ok(()),
    }
}
