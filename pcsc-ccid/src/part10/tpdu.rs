//! PIN entry on a reader that leaves T=1 to the driver: the block around the command is built by both, the
//! prologue here and the rest by the reader once it has the PIN.

use crate::t1::{Block, Edc, Invalid, Pcb, Supervisory, MAX_BLOCK, MAX_INF};

/// What a card's block says after a PIN was entered. The answer is a status word, which fits one block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The command's answer.
    Apdu(&'a [u8]),
    /// The card requests more time: the multiplier of its BWT. Answer with [`more_time`] and wait.
    Wtx(u8),
}

impl core::fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Answer::Apdu(inf) => write!(f, "Apdu({} bytes)", inf.len()),
            Answer::Wtx(factor) => write!(f, "Wtx({factor})"),
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
/// What is wrong with the block; [`Invalid::Pcb`] also for one that has no place here, as an R-block: the
/// reader has built the block with the PIN, and cannot repeat it.
pub fn answer(block: &[u8], edc: Edc, seq: u8) -> Result<Answer<'_>, Invalid> {
    let block = Block::decode(block, edc)?;
    match block.pcb {
        Pcb::I {
            seq: own,
            more: false,
        } if own == seq & 1 => Ok(Answer::Apdu(block.inf)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t1_around_a_pin() {
        assert_eq!(prologue(0, 1, 13), Some([0, 0x40, 13]));
        assert_eq!(prologue(0, 0, 254), Some([0, 0, 254]));
        assert_eq!(prologue(0, 0, 255), None);
        let block = |pcb, inf: &[u8], edc| {
            let mut out = [0; MAX_BLOCK];
            let size = Block { nad: 0, pcb, inf }.encode(edc, &mut out);
            out[..size].to_vec()
        };
        let sw = block(Pcb::I { seq: 1, more: false }, &[0x90, 0x00], Edc::Lrc);
        assert_eq!(sw, [0x00, 0x40, 0x02, 0x90, 0x00, 0xD2]);
        assert_eq!(answer(&sw, Edc::Lrc, 1), Ok(Answer::Apdu(&[0x90, 0x00])));
        // The wrong sequence number, the wrong check, and nothing at all.
        assert_eq!(answer(&sw, Edc::Lrc, 0), Err(Invalid::Pcb));
        assert_eq!(answer(&sw, Edc::Crc, 1), Err(Invalid::Length));
        assert_eq!(answer(&[], Edc::Lrc, 1), Err(Invalid::Length));
        let crc = block(Pcb::I { seq: 0, more: true }, &[1], Edc::Crc);
        assert_eq!(answer(&crc, Edc::Crc, 0), Err(Invalid::Pcb));
        let wtx = block(Pcb::Request(Supervisory::Wtx), &[9], Edc::Lrc);
        assert_eq!(wtx, [0x00, 0xC3, 0x01, 0x09, 0xCB]);
        assert_eq!(answer(&wtx, Edc::Lrc, 0), Ok(Answer::Wtx(9)));
        let mut out = [0; MAX_BLOCK];
        let size = more_time(0, 9, Edc::Lrc, &mut out);
        assert_eq!(out[..size], [0x00, 0xE3, 0x01, 0x09, 0xEB]);
        let refused = block(Pcb::R { seq: 0, error: 1 }, &[], Edc::Lrc);
        assert_eq!(answer(&refused, Edc::Lrc, 0), Err(Invalid::Pcb));
    }

    #[test]
    fn the_nad_is_set_and_told() {
        assert_eq!(
            NadRequest::decode(&[0x3E, 0, 1, 0x21]),
            Some(NadRequest::Set(0x21))
        );
        assert_eq!(NadRequest::decode(&[0x3F, 0, 0]), Some(NadRequest::Get));
        assert_eq!(NadRequest::decode(&[0x3F, 0, 0, 0]), None);
        assert_eq!(NadRequest::Set(1).reply(Some(1)), ([0x3E, 0, 1, 0, 0], 4));
        assert_eq!(NadRequest::Get.reply(Some(0x21)), ([0x3F, 0, 2, 0, 0x21], 5));
        assert_eq!(NadRequest::Get.reply(None), ([0x3F, 0, 2, 1, 0], 5));
    }
}
