//! Protocol and parameters selection (ISO/IEC 7816-3, clause 9): one request right after the answer to
//! reset, in negotiable mode, before anything else is said.
//!
//! A card that does not answer it, or answers it wrongly, has to be reset. A reader at TPDU level that makes
//! no PPS itself carries both as raw bytes.

use crate::atr::{Atr, Mode, Speed, DEFAULT_TA1};

/// PPSS, the first byte of both.
const PPSS: u8 = 0xFF;
const PPS1_PRESENT: u8 = 0x10;

/// The longest request, and the longest response to it, in bytes: PPSS, PPS0, PPS1, PCK.
pub const MAX_SIZE: usize = 4;

/// What the interface device proposes. PPS2 and PPS3 are never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PpsRequest {
    /// The protocol T, 0 to 14.
    pub protocol: u8,
    /// PPS1: F and D, coded as in TA1. `None` proposes 372 and 1.
    pub pps1: Option<u8>,
}

/// What the card made of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PpsOutcome {
    /// All that was proposed holds from the next character on.
    Accepted,
    /// The protocol holds, at 372 and 1: the card left PPS1 out (clause 9.3).
    RateRefused,
}

impl PpsRequest {
    /// The request that brings a card to this protocol and speed (coded as TA1). `None` where there is
    /// nothing to negotiate: the card is in specific mode, or begins with just that by itself.
    pub fn needed(atr: &Atr, protocol: u8, ta1: u8) -> Option<PpsRequest> {
        let is_faster = Speed::from_ta1(ta1).is_some_and(|speed| speed.is_faster_than(Speed::DEFAULT));
        let pps1 = is_faster.then_some(ta1);
        // A card in specific mode takes the first bytes for a command (clause 6.3.1).
        let is_settled = atr.mode() != Mode::Negotiable || protocol > 14;
        if is_settled || (pps1.is_none() && protocol == atr.first_protocol()) {
            return None;
        }
        Some(PpsRequest { protocol, pps1 })
    }

    /// Writes the request; only the low four bits of the protocol are.
    pub fn encode<'a>(&self, buffer: &'a mut [u8; MAX_SIZE]) -> &'a [u8] {
        let protocol = self.protocol & 0x0F;
        match self.pps1 {
            Some(pps1) => {
                let pps0 = PPS1_PRESENT + protocol;
                *buffer = [PPSS, pps0, pps1, PPSS ^ pps0 ^ pps1];
                buffer
            }
            None => {
                *buffer = [PPSS, protocol, PPSS ^ protocol, 0];
                &buffer[..MAX_SIZE - 1]
            }
        }
    }

    /// Judges the card's response (clause 9.3). What was not proposed explicitly is at its default, so a
    /// PPS1 of '11' that was not asked for changes nothing and is accepted.
    ///
    /// `None` for a response that is malformed, or another than the two that the clause allows: the card is
    /// to be reset or rejected (clause 9.1).
    pub fn check(&self, response: &[u8]) -> Option<PpsOutcome> {
        let (pps0, pps1) = match *response {
            [PPSS, pps0, _] => (pps0, None),
            [PPSS, pps0, pps1, _] => (pps0, Some(pps1)),
            _ => return None,
        };
        // Without bit 8, which is reserved. PPS2 and PPS3 were not proposed.
        let expected = self.protocol & 0x0F | pps1.map_or(0, |_| PPS1_PRESENT);
        let check = response.iter().fold(0, |sum, byte| sum ^ byte);
        if pps0 & 0x7F != expected || check != 0 {
            return None;
        }
        match (self.pps1, pps1) {
            (asked, answer) if asked == answer => Some(PpsOutcome::Accepted),
            (Some(_), None) => Some(PpsOutcome::RateRefused),
            (None, Some(DEFAULT_TA1)) => Some(PpsOutcome::Accepted),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAST_T1: PpsRequest = PpsRequest {
        protocol: 1,
        pps1: Some(0x96),
    };

    #[test]
    fn the_bytes_of_a_request() {
        let mut buffer = [0; MAX_SIZE];
        // FF ^ 11 ^ 96 = 78, FF ^ 01 = FE.
        assert_eq!(FAST_T1.encode(&mut buffer), [0xFF, 0x11, 0x96, 0x78]);
        let plain = PpsRequest {
            protocol: 1,
            pps1: None,
        };
        assert_eq!(plain.encode(&mut buffer), [0xFF, 0x01, 0xFE]);
    }

    #[test]
    fn the_two_right_answers() {
        let accepted = Some(PpsOutcome::Accepted);
        assert_eq!(FAST_T1.check(&[0xFF, 0x11, 0x96, 0x78]), accepted);
        assert_eq!(FAST_T1.check(&[0xFF, 0x01, 0xFE]), Some(PpsOutcome::RateRefused));
        let plain = PpsRequest {
            protocol: 0,
            pps1: None,
        };
        assert_eq!(plain.check(&[0xFF, 0x00, 0xFF]), accepted);
        assert_eq!(plain.check(&[0xFF, 0x10, 0x11, 0xFE]), accepted);
    }

    #[test]
    fn every_wrong_answer() {
        for wrong in [
            &[][..],
            &[0xFF, 0x11],
            &[0xFF, 0x11, 0x96],
            &[0xFF, 0x11, 0xEE],
            &[0xFF, 0x11, 0x96, 0x78, 0x00],
            &[0x00, 0x11, 0x96, 0x87],
            // The check byte.
            &[0xFF, 0x11, 0x96, 0x79],
            // Another protocol, another rate.
            &[0xFF, 0x10, 0x96, 0x79],
            &[0xFF, 0x11, 0x95, 0x7B],
            // PPS2, PPS3, and all three.
            &[0xFF, 0x21, 0x55, 0x8B],
            &[0xFF, 0x41, 0x55, 0xEB],
            &[0xFF, 0x31, 0x96, 0x00, 0x58],
            &[0xFF, 0x71, 0x96, 0x55, 0x66, 0x2B],
        ] {
            assert_eq!(FAST_T1.check(wrong), None, "{wrong:02X?}");
        }
        let plain = PpsRequest {
            protocol: 1,
            pps1: None,
        };
        assert_eq!(plain.check(&[0xFF, 0x11, 0x96, 0x78]), None);
    }

    #[test]
    fn what_needs_no_request() {
        let negotiable = Atr::parse(&[0x3B, 0x90, 0x96, 0x80, 0x01, 0x87]).unwrap();
        let needed = |protocol, ta1| PpsRequest::needed(&negotiable, protocol, ta1);
        assert_eq!(needed(0, 0x11), None);
        assert_eq!(needed(0, 0x01), None);
        assert_eq!(
            needed(1, 0x11),
            Some(PpsRequest {
                protocol: 1,
                pps1: None
            })
        );
        assert_eq!(needed(1, 0x96), Some(FAST_T1));
        // Nothing is slower than what the card does by itself, and a reserved value is no rate.
        assert_eq!((needed(0, 0x21), needed(0, 0xF1)), (None, None));
        // T=15 is no protocol, and more does not fit PPS0.
        assert!(needed(14, 0x96).is_some());
        assert_eq!([15, 16, 255].map(|protocol| needed(protocol, 0x96)), [None; 3]);
        let specific = Atr::parse(&[0x3B, 0x90, 0x96, 0x10, 0x00]).unwrap();
        assert_eq!(PpsRequest::needed(&specific, 0, 0x96), None);
    }

    proptest! {
        #[test]
        fn any_response_is_judged(bytes in proptest::collection::vec(any::<u8>(), 0..8), pps1: Option<u8>) {
            let request = PpsRequest { protocol: 1, pps1 };
            if request.check(&bytes).is_some() {
                prop_assert_eq!(bytes.iter().fold(0, |sum, byte| sum ^ byte), 0);
                prop_assert!(bytes.len() <= MAX_SIZE);
            }
        }

        #[test]
        fn a_card_accepts_a_request_by_repeating_it(protocol in 0u8..15, pps1: Option<u8>) {
            let request = PpsRequest { protocol, pps1 };
            let mut buffer = [0; MAX_SIZE];
            let bytes = request.encode(&mut buffer);
            prop_assert_eq!(request.check(bytes), Some(PpsOutcome::Accepted));
        }
    }
}
