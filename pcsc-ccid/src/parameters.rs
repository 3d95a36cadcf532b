//! The protocol data structure of PC_to_RDR_SetParameters and RDR_to_PC_Parameters (CCID 1.1, sections
//! 6.1.7 and 6.2.3): how a reader communicates with the card in its slot.

use crate::atr::{Atr, ClockStop, WaitingIntegers};
use crate::t1::Edc;

/// The longer of the two structures, in bytes.
pub const MAX_SIZE: usize = T1_SIZE;
const T0_SIZE: usize = 5;
const T1_SIZE: usize = 7;

const CHECKSUM_CRC: u8 = 0x01;
const INVERSE: u8 = 0x02;
/// Bits 7 to 2 of bmTCCKST1, which are given.
const TCCKS_T1: u8 = 0x10;

/// Parameters of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// bmFindexDindex: F and D, coded as TA1.
    pub f_index_d_index: u8,
    /// Bit 1 of bmTCCKST0 and of bmTCCKST1: inverse convention. A reader is to ignore it.
    pub is_inverse: bool,
    /// bGuardTimeT0 or bGuardTimeT1: the extra guard time N of TC1. 255 is as 0 in T=0, and takes one etu off
    /// in T=1.
    pub guard_time: u8,
    /// bClockStop.
    pub clock_stop: ClockStop,
    /// What only this protocol has.
    pub specific: Specific,
}

/// The parameters of one protocol alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specific {
    /// Protocol number 0; the structure has 5 bytes.
    T0 {
        /// bWaitingIntegerT0: WI.
        wi: u8,
    },
    /// Protocol number 1; the structure has 7 bytes.
    T1(T1),
}

/// The parameters of T=1 alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct T1 {
    /// bmTCCKST1, bit 0: the error detection code.
    pub edc: Edc,
    /// bmWaitingIntegersT1.
    pub waiting: WaitingIntegers,
    /// bIFSC: the card's information field size.
    pub ifsc: u8,
    /// bNadValue: 0 unless the reader supports another.
    pub nad: u8,
}

impl Parameters {
    /// What a card's ATR asks for with this protocol and F and D; `None` if the protocol is neither 0 nor 1.
    ///
    /// The clock is never to be stopped: no PC/SC function requests it, and readers reject other values.
    pub fn for_card(atr: &Atr, protocol: u8, f_index_d_index: u8) -> Option<Parameters> {
        let specific = match protocol {
            0 => Specific::T0 { wi: atr.wi() },
            1 => Specific::T1(T1 {
                edc: atr.edc(),
                waiting: atr.waiting_integers(),
                ifsc: atr.ifsc(),
                nad: 0,
            }),
            _ => return None,
        };
        Some(Parameters {
            f_index_d_index,
            is_inverse: atr.is_inverse,
            guard_time: atr.extra_guard(),
            clock_stop: ClockStop::NotAllowed,
            specific,
        })
    }

    /// bProtocolNum.
    pub const fn protocol(&self) -> u8 {
        match self.specific {
            Specific::T0 { .. } => 0,
            Specific::T1(_) => 1,
        }
    }

    /// Writes abProtocolDataStructure.
    pub fn encode<'a>(&self, buffer: &'a mut [u8; MAX_SIZE]) -> &'a [u8] {
        let inverse = if self.is_inverse { INVERSE } else { 0 };
        let (tccks, waiting, ifsc, nad, size) = match self.specific {
            Specific::T0 { wi } => (inverse, wi, 0, 0, T0_SIZE),
            Specific::T1(t1) => {
                let crc = if t1.edc == Edc::Crc { CHECKSUM_CRC } else { 0 };
                let tccks = TCCKS_T1 | inverse | crc;
                (tccks, t1.waiting.to_byte(), t1.ifsc, t1.nad, T1_SIZE)
            }
        };
        let (f_and_d, clock_stop) = (self.f_index_d_index, self.clock_stop.bits());
        *buffer = [f_and_d, tccks, self.guard_time, waiting, clock_stop, ifsc, nad];
        &buffer[..size]
    }

    /// Reads abProtocolDataStructure, as a reader sends it back. Bytes beyond its end are ignored, and
    /// so are bits that have no meaning. `None` if the protocol number is unknown or the bytes are too few.
    pub fn decode(protocol: u8, bytes: &[u8]) -> Option<Parameters> {
        let (tccks, specific) = match (protocol, bytes) {
            (0, &[_, tccks, _, wi, _, ..]) => (tccks, Specific::T0 { wi }),
            (1, &[_, tccks, _, waiting, _, ifsc, nad, ..]) => {
                let edc = match tccks & CHECKSUM_CRC {
                    0 => Edc::Lrc,
                    _ => Edc::Crc,
                };
                let waiting = WaitingIntegers::from_byte(waiting);
                let t1 = T1 {
                    edc,
                    waiting,
                    ifsc,
                    nad,
                };
                (tccks, Specific::T1(t1))
            }
            _ => return None,
        };
        Some(Parameters {
            f_index_d_index: bytes[0],
            is_inverse: tccks & INVERSE != 0,
            guard_time: bytes[2],
            clock_stop: ClockStop::from_bits(bytes[4]),
            specific,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(bytes: &[u8], protocol: u8, rate: u8) -> alloc::vec::Vec<u8> {
        let atr = Atr::parse(bytes).unwrap();
        let parameters = Parameters::for_card(&atr, protocol, rate).unwrap();
        assert_eq!(parameters.protocol(), protocol);
        assert_eq!(parameters.f_index_d_index, rate);
        parameters.encode(&mut [0; MAX_SIZE]).to_vec()
    }

    #[test]
    fn the_defaults() {
        let shortest = [0x3B, 0x00];
        assert_eq!(encoded(&shortest, 0, 0x11), [0x11, 0x00, 0x00, 0x0A, 0x00]);
        assert_eq!(
            encoded(&shortest, 1, 0x11),
            [0x11, 0x10, 0x00, 0x4D, 0x00, 0x20, 0x00]
        );
    }

    /// OpenPGP card 2.0: N 255, IFSC 254, BWI 7, CWI 5.
    #[test]
    fn an_openpgp_card() {
        let atr = b"\x3B\xDA\x18\xFF\x81\xB1\xFE\x75\x1F\x03\x00\x31\xC5\x73\xC0\x01\x40\x00\x90\x00\x0C";
        assert_eq!(encoded(atr, 1, 0x18), [0x18, 0x10, 0xFF, 0x75, 0x00, 0xFE, 0x00]);
    }

    #[test]
    fn inverse_convention_guard_time_and_crc() {
        // TC1 '05', TC2 '14'; then TC1 '02', T=1 with TC3 '01'.
        let t0 = [0x3F, 0xC0, 0x05, 0x40, 0x14];
        assert_eq!(encoded(&t0, 0, 0x95), [0x95, 0x02, 0x05, 0x14, 0x00]);
        let t1 = [0x3F, 0xC0, 0x02, 0x81, 0x41, 0x01, 0x03];
        assert_eq!(encoded(&t1, 1, 0x11), [0x11, 0x13, 0x02, 0x4D, 0x00, 0x20, 0x00]);
    }

    #[test]
    fn short_and_unknown() {
        for (protocol, bytes) in [(0, &[0; 4][..]), (1, &[0; 6]), (2, &[0; 7])] {
            assert_eq!(Parameters::decode(protocol, bytes), None);
        }
        let atr = Atr::parse(&[0x3B, 0x00]).unwrap();
        assert_eq!(Parameters::for_card(&atr, 14, 0x11), None);
    }

    #[test]
    fn longer_and_meaningless_bits() {
        let t0 = Parameters::decode(0, &[0x11, 0xFD, 0, 10, 0xFC, 1, 2, 3]).unwrap();
        let mut buffer = [0; MAX_SIZE];
        assert_eq!(t0.encode(&mut buffer), [0x11, 0x00, 0, 10, 0]);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written(
            protocol in 0u8..3,
            bytes in proptest::collection::vec(any::<u8>(), 0..9),
        ) {
            if let Some(parameters) = Parameters::decode(protocol, &bytes) {
                let mut buffer = [0; MAX_SIZE];
                let written = parameters.encode(&mut buffer);
                prop_assert_eq!(Parameters::decode(protocol, written), Some(parameters));
                prop_assert_eq!(written[0], bytes[0]);
                prop_assert_eq!(written[2], bytes[2]);
            } else {
                prop_assert!(protocol > 1 || bytes.len() < 5 + 2 * usize::from(protocol));
            }
        }
    }
}
