//! PIN entry on a reader that leaves T=1 to the driver: the block around the command is built by both, the
//! prologue here and the rest by the reader once it has the PIN.

use crate::t1::{Block, Edc, Invalid, Pcb, Supervisory, MAX_BLOCK, MAX_INF};

/// What a card's block says after a PIN was entered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The command's answer.
    Apdu(&'a [u8]),
    /// The first block of an answer; the rest is asked for as with any command.
    First(&'a [u8]),
    /// The card wants more time: so many times its BWT. Answer with [`more_time`] and wait.
    Wtx(u8),
    /// The card did not understand the block. It was built with the PIN by the reader, and cannot be
    /// repeated.
    Refused,
}

impl core::fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Answer::Apdu(inf) => write!(f, "Apdu({} bytes)", inf.len()),
            Answer::First(inf) => write!(f, "First({} bytes)", inf.len()),
            Answer::Wtx(factor) => write!(f, "Wtx({factor})"),
            Answer::Refused => f.write_str("Refused"),
        }
    }
}

/// `bTeoPrologue`: the prologue of the I-block that carries the command, with the driver's next N(S), 0 or
/// 1. `None` if the command is too long for one block.
pub fn prologue(nad: u8, seq: u8, apdu: usize) -> Option<[u8; 3]> {
    let len = u8::try_from(apdu)
        .ok()
        .filter(|&len| usize::from(len) <= MAX_INF)?;
    Some([nad, Pcb::I { seq, more: false }.encode(), len])
}

/// Reads the block that came back. `seq` is the N(S) that the card's next I-block must have.
///
/// # Errors
/// What is wrong with the block; [`Invalid::Pcb`] also for one that has no place here.
pub fn answer(block: &[u8], edc: Edc, seq: u8) -> Result<Answer<'_>, Invalid> {
    let block = Block::decode(block, edc)?;
    match block.pcb {
        Pcb::I { seq: own, more } if own == seq & 1 => Ok(if more {
            Answer::First(block.inf)
        } else {
            Answer::Apdu(block.inf)
        }),
        Pcb::R { .. } => Ok(Answer::Refused),
        Pcb::Request(Supervisory::Wtx) => block
            .inf
            .first()
            .map(|&factor| Answer::Wtx(factor))
            .ok_or(Invalid::Information),
        _ => Err(Invalid::Pcb),
    }
}

/// The block that grants a card more time, and its length.
pub fn more_time(nad: u8, factor: u8, edc: Edc, out: &mut [u8; MAX_BLOCK]) -> usize {
    let pcb = Pcb::Response(Supervisory::Wtx);
    Block {
        nad,
        pcb,
        inf: &[factor],
    }
    .encode(edc, out)
}

/// What the control code [`super::NAD`] asks for: eSIMs choose their profile with the NAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NadRequest {
    /// Set it.
    Set(u8),
    /// Get it.
    Get,
}

impl NadRequest {
    /// Decodes a request.
    pub fn decode(bytes: &[u8]) -> Option<NadRequest> {
        match *bytes {
            [0x3E, 0x00, 0x01, nad] => Some(NadRequest::Set(nad)),
            [0x3F, 0x00, 0x00] => Some(NadRequest::Get),
            _ => None,
        }
    }

    /// The answer, with the NAD in force; `None` if it could not be set or there is none. The second
    /// value is the answer's length.
    pub fn reply(self, nad: Option<u8>) -> ([u8; 5], usize) {
        let status = u8::from(nad.is_none());
        match self {
            NadRequest::Set(_) => ([0x3E, 0x00, 0x01, status, 0], 4),
            NadRequest::Get => ([0x3F, 0x00, 0x02, status, nad.unwrap_or(0)], 5),
        }
    }
}
