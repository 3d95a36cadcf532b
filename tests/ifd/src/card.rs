//! The card: what its ATR offers and how it answers an APDU. No state, no I/O.

#![forbid(unsafe_code)]

use crate::abi::{Dword, PROTOCOL_T0, PROTOCOL_T1};
use std::time::Duration;

/// The application that SELECT finds.
pub const AID: [u8; 10] = [0xA0, 0x00, 0x00, 0x00, 0x62, 0x03, 0x01, 0x0C, 0x06, 0x01];

const OK: [u8; 2] = [0x90, 0x00];
const WRONG_LENGTH: [u8; 2] = [0x67, 0x00];
const NOT_FOUND: [u8; 2] = [0x6A, 0x82];
const WRONG_P1_P2: [u8; 2] = [0x6B, 0x00];
const WRONG_INS: [u8; 2] = [0x6D, 0x00];

/// A response APDU and the time that the card takes for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Data and status word.
    pub response: Vec<u8>,
    /// The card's own delay.
    pub after: Duration,
}

impl From<Vec<u8>> for Answer {
    fn from(response: Vec<u8>) -> Self {
        Self {
            response,
            after: Duration::ZERO,
        }
    }
}

impl From<[u8; 2]> for Answer {
    fn from(status: [u8; 2]) -> Self {
        status.to_vec().into()
    }
}

/// Answers `command`, the `count`-th APDU since power-up.
///
/// | command | answer |
/// |---|---|
/// | `00 A4 04 00` Lc AID | 90 00 for [`AID`], else 6A 82 |
/// | `00 00 00 00` | "Hello world!" 90 00 |
/// | `80 E0` hh ll | hhll bytes, byte i being i mod 256, 90 00 |
/// | `80 E2 00 00` | 65,534 such bytes, 90 00: 65,536 bytes in all |
/// | `80 E2 01 00` | 65,536 such bytes, 90 00: the longest answer of ISO 7816-4, clause 5.1 |
/// | `80 E2 02 00` | 65,546 such bytes, 90 00: all that pcscd's buffer takes (its `MAX_BUFFER_SIZE_EXTENDED`, 65,548) |
/// | `80 EC` xx xx Lc data | the data (short or extended Lc), 90 00 |
/// | `80 DE` hh ll | 90 00 after hhll ms |
/// | `80 C0 00 00` | `count` as four bytes, big-endian, 90 00 |
///
/// An APDU under four bytes or with a wrong Lc gets 67 00, any other command 6D 00.
pub fn answer(command: &[u8], count: u32) -> Answer {
    let [cla, ins, p1, p2, body @ ..] = command else {
        return WRONG_LENGTH.into();
    };
    let p1_p2 = u16::from_be_bytes([*p1, *p2]);
    match (cla, ins, p1_p2) {
        (0x00, 0xA4, 0x0400) => match data(body) {
            Some(aid) if aid == AID => OK.into(),
            Some(_) => NOT_FOUND.into(),
            None => WRONG_LENGTH.into(),
        },
        (0x00, 0x00, 0x0000) => ok(b"Hello world!".to_vec()),
        (0x80, 0xE0, length) => ok(pattern(length.into())),
        (0x80, 0xE2, 0x0000) => ok(pattern(65_534)),
        (0x80, 0xE2, 0x0100) => ok(pattern(65_536)),
        (0x80, 0xE2, 0x0200) => ok(pattern(65_546)),
        (0x80, 0xE2, _) => WRONG_P1_P2.into(),
        (0x80, 0xEC, _) => data(body).map_or(WRONG_LENGTH.into(), |data| ok(data.to_vec())),
        (0x80, 0xDE, ms) => Answer {
            response: OK.to_vec(),
            after: Duration::from_millis(ms.into()),
        },
        (0x80, 0xC0, 0x0000) => ok(count.to_be_bytes().to_vec()),
        _ => WRONG_INS.into(),
    }
}

fn ok(mut data: Vec<u8>) -> Answer {
    data.extend(OK);
    data.into()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| i as u8).collect()
}

/// The data field behind a header, short or extended, with or without Le (ISO 7816-4 clause 5.1). `None` for
/// a wrong length.
fn data(body: &[u8]) -> Option<&[u8]> {
    let (length, le, rest) = match body {
        [] | [_] | [0, _, _] => return Some(&[]),
        [0, high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]).into(), 2, rest),
        [lc, rest @ ..] => (usize::from(*lc), 1, rest),
    };
    (length > 0 && (rest.len() == length || rest.len() == length + le)).then(|| &rest[..length])
}

/// The `SCARD_PROTOCOL_*` bits of the protocols that an ATR offers (ISO 7816-3 clause 8.2.3); TA2 leaves one
/// only.
pub fn protocols(atr: &[u8]) -> Dword {
    let bit = |t: u8| match t & 0x0F {
        0 => PROTOCOL_T0,
        1 => PROTOCOL_T1,
        _ => 0,
    };
    let mut bytes = atr.iter().copied().skip(1);
    let Some(t0) = bytes.next() else { return 0 };
    let (mut offered, mut indicator, mut group) = (0, t0, 1);
    loop {
        let ta = (indicator & 0x10 != 0).then(|| bytes.next()).flatten();
        let _tb = (indicator & 0x20 != 0).then(|| bytes.next());
        let _tc = (indicator & 0x40 != 0).then(|| bytes.next());
        let td = (indicator & 0x80 != 0).then(|| bytes.next()).flatten();
        if let (2, Some(ta2)) = (group, ta) {
            return bit(ta2);
        }
        let Some(td) = td else { break };
        offered |= bit(td);
        (indicator, group) = (td, group + 1);
    }
    if group == 1 {
        PROTOCOL_T0
    } else {
        offered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(command: &[u8]) -> Vec<u8> {
        answer(command, 1).response
    }

    #[test]
    fn select_finds_only_its_own_application() {
        let select = |aid: &[u8]| response(&[&[0x00, 0xA4, 0x04, 0x00, aid.len() as u8], aid].concat());
        assert_eq!(select(&AID), OK);
        assert_eq!(select(&AID[..9]), NOT_FOUND);
        assert_eq!(
            response(&[&[0x00, 0xA4, 0x04, 0x00, 10], &AID[..], &[0]].concat()),
            OK
        );
        assert_eq!(response(&[0x00, 0xA4, 0x04, 0x00, 10, 0xA0]), WRONG_LENGTH);
    }

    #[test]
    fn echo_takes_short_and_extended_data() {
        let header = [0x80, 0xEC, 0, 0];
        assert_eq!(response(&header), OK);
        assert_eq!(
            response(&[&header[..], &[3, 1, 2, 3]].concat()),
            [1, 2, 3, 0x90, 0]
        );
        assert_eq!(
            response(&[&header[..], &[3, 1, 2, 3, 0]].concat()),
            [1, 2, 3, 0x90, 0]
        );
        assert_eq!(response(&[&header[..], &[3, 1, 2]].concat()), WRONG_LENGTH);
        let long: Vec<u8> = pattern(65_535);
        let expected = [&long[..], &OK].concat();
        assert_eq!(
            response(&[&header[..], &[0, 0xFF, 0xFF], &long].concat()),
            expected
        );
        assert_eq!(
            response(&[&header[..], &[0, 0xFF, 0xFF], &long, &[0, 0]].concat()),
            expected
        );
        assert_eq!(
            response(&[&header[..], &[0, 0xFF, 0xFF], &long, &[0]].concat()),
            WRONG_LENGTH
        );
    }

    #[test]
    fn answers_have_the_asked_length() {
        assert_eq!(response(&[0x80, 0xE0, 0x01, 0x02]).len(), 0x0102 + 2);
        assert_eq!(response(&[0x80, 0xE0, 0x01, 0x02])[0x101], 0x01);
        let longest = [0, 1, 2].map(|p1| response(&[0x80, 0xE2, p1, 0]).len());
        assert_eq!(longest, [65_536, 65_538, 65_548]);
        assert_eq!(
            answer(&[0x80, 0xDE, 0x01, 0x00], 1).after,
            Duration::from_millis(256)
        );
        assert_eq!(
            answer(&[0x80, 0xC0, 0, 0], 0x0102).response,
            [0, 0, 1, 2, 0x90, 0]
        );
        assert_eq!(response(&[0x80, 0x11, 0, 0]), WRONG_INS);
        assert_eq!(response(&[0x80, 0xE0]), WRONG_LENGTH);
    }

    #[test]
    fn protocols_come_from_the_atr() {
        assert_eq!(protocols(&[0x3B, 0x02, 0x14, 0x50]), PROTOCOL_T0);
        assert_eq!(protocols(&[0x3B, 0x80, 0x01]), PROTOCOL_T1);
        assert_eq!(protocols(&[0x3B, 0x80, 0x80, 0x01]), PROTOCOL_T0 | PROTOCOL_T1);
        // TA2: specific mode, T=1 although T=0 is offered first.
        assert_eq!(protocols(&[0x3B, 0x80, 0x90, 0x11, 0x01]), PROTOCOL_T1);
        assert_eq!(protocols(&[0x3B]), 0);
        assert_eq!(protocols(&[0x3B, 0xF0]), PROTOCOL_T0);
    }
}
