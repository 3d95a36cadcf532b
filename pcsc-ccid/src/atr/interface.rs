//! What the interface bytes mean (ISO/IEC 7816-3, clauses 8.3, 10.2 and 11.4).

use alloc::vec::Vec;

use super::{Atr, Warning};
use crate::t1::Edc;

/// The Fi and Di indexes of 372 and 1: TA1 where it is absent, and PPS1 likewise.
pub const DEFAULT_TA1: u8 = 0x11;
const DEFAULT_WI: u8 = 10;
const DEFAULT_IFSC: u8 = 32;

/// What TA1 says, or PPS1, or the CCID's bmFindexDindex: one coding for all (clause 8.3, tables 7 and 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed {
    /// The clock rate conversion integer.
    pub fi: u32,
    /// The baud rate adjustment integer.
    pub di: u32,
    /// The highest clock frequency in Hz.
    pub max_clock_hz: u32,
}

impl Speed {
    /// 372, 1 and 5 MHz: what every card starts with.
    pub const DEFAULT: Speed = Speed {
        fi: 372,
        di: 1,
        max_clock_hz: 5_000_000,
    };

    /// Decodes TA1; `None` for a reserved value of either half.
    pub const fn from_ta1(ta1: u8) -> Option<Speed> {
        let (fi, max_clock_hz) = match ta1 >> 4 {
            0 => (372, 4_000_000),
            1 => (372, 5_000_000),
            2 => (558, 6_000_000),
            3 => (744, 8_000_000),
            4 => (1116, 12_000_000),
            5 => (1488, 16_000_000),
            6 => (1860, 20_000_000),
            9 => (512, 5_000_000),
            10 => (768, 7_500_000),
            11 => (1024, 10_000_000),
            12 => (1536, 15_000_000),
            13 => (2048, 20_000_000),
            _ => return None,
        };
        let di = match ta1 & 0x0F {
            exponent @ 1..=7 => 1 << (exponent - 1),
            8 => 12,
            9 => 20,
            _ => return None,
        };
        Some(Speed { fi, di, max_clock_hz })
    }

    /// Bits per second at a clock frequency in Hz.
    pub fn bits_per_second(self, clock_hz: u32) -> u32 {
        let bits = u64::from(clock_hz) * u64::from(self.di) / u64::from(self.fi);
        u32::try_from(bits).unwrap_or(u32::MAX)
    }

    /// Whether this is faster than `other` at the same clock: its etu takes fewer clock cycles.
    pub const fn is_faster_than(self, other: Speed) -> bool {
        self.di as u64 * other.fi as u64 > other.di as u64 * self.fi as u64
    }
}

/// Whether the card lets the interface device choose (clause 6.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// PPS may change protocol and speed before the first command; no TA2.
    Negotiable,
    /// Protocol and speed are fixed by TA2.
    Specific {
        /// The protocol T.
        protocol: u8,
        /// TA2 bit 5 is 1: the rate is not that of TA1 but an implicit one (clause 8.3).
        implicit: bool,
    },
}

/// In which state of CLK the card lets the clock stop (the first TA for T=15, bits 8 and 7; the CCID's
/// bClockStop has the same coding).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClockStop {
    /// Not at all.
    #[default]
    NotAllowed,
    /// Low.
    Low,
    /// High.
    High,
    /// Either.
    Either,
}

impl ClockStop {
    /// From the two bits, 0 to 3; higher bits are ignored.
    pub const fn from_bits(bits: u8) -> ClockStop {
        match bits & 3 {
            0 => ClockStop::NotAllowed,
            1 => ClockStop::Low,
            2 => ClockStop::High,
            _ => ClockStop::Either,
        }
    }

    /// The two bits, 0 to 3.
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

/// Operating conditions that a card supports (clause 5.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Classes {
    /// Class A, 5 V.
    pub a: bool,
    /// Class B, 3 V.
    pub b: bool,
    /// Class C, 1.8 V.
    pub c: bool,
}

/// The first TA for T=15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassIndicator {
    /// The clock stop indicator X.
    pub clock_stop: ClockStop,
    /// The class indicator Y; `None` for a reserved value.
    pub classes: Option<Classes>,
}

/// The waiting time integers of T=1 (clause 11.4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingIntegers {
    /// BWI, 0 to 9.
    pub bwi: u8,
    /// CWI, 0 to 15.
    pub cwi: u8,
}

impl WaitingIntegers {
    /// BWI 4 and CWI 13.
    pub const DEFAULT: WaitingIntegers = WaitingIntegers { bwi: 4, cwi: 13 };

    /// From TB, whose high half is BWI and whose low half is CWI. A reserved BWI is taken as 9, the
    /// longest that there is: a wait too long costs time, one too short costs the card.
    pub const fn from_byte(byte: u8) -> WaitingIntegers {
        WaitingIntegers {
            bwi: match byte >> 4 {
                bwi @ 0..=9 => bwi,
                _ => 9,
            },
            cwi: byte & 0x0F,
        }
    }

    /// TB.
    pub const fn to_byte(self) -> u8 {
        (self.bwi << 4) + (self.cwi & 0x0F)
    }
}

impl Atr {
    /// TA1: the clock rate conversion Fi, the baud rate adjustment Di and the clock's limit in Hz, as
    /// the card offers them (tables 7 and 8); `None` for a reserved value. 372, 1 and 5 MHz where there
    /// is no TA1.
    pub fn speed(&self) -> Option<Speed> {
        Speed::from_ta1(self.ta1().unwrap_or(DEFAULT_TA1))
    }

    /// TA1 as it stands.
    pub fn ta1(&self) -> Option<u8> {
        self.groups.first()?.ta
    }

    /// TA1 as it can be used: '11' where it is absent or reserved.
    pub fn usable_ta1(&self) -> u8 {
        self.ta1()
            .filter(|&ta1| Speed::from_ta1(ta1).is_some())
            .unwrap_or(DEFAULT_TA1)
    }

    /// TC1: the extra guard time integer N, 0 where absent (clause 8.3). Between the characters that it is
    /// sent the card wants 12 etu and N times R clock cycles, R being F/D. 255 asks for the least that
    /// the protocol allows: 12 etu in T=0, 11 etu in T=1.
    pub fn extra_guard(&self) -> u8 {
        self.groups.first().and_then(|group| group.tc).unwrap_or(0)
    }

    /// TA2: the protocol of a card in specific mode, which takes no choice (clause 8.3).
    pub fn specific_mode(&self) -> Option<u8> {
        match self.mode() {
            Mode::Negotiable => None,
            Mode::Specific { protocol, .. } => Some(protocol),
        }
    }

    /// TA2: the mode, whole (clause 8.3).
    pub fn mode(&self) -> Mode {
        let second = self.groups.get(1).filter(|group| group.protocol != Some(15));
        match second.and_then(|group| group.ta) {
            None => Mode::Negotiable,
            Some(ta2) => Mode::Specific {
                protocol: ta2 & 0x0F,
                implicit: ta2 & 0x10 != 0,
            },
        }
    }

    /// The protocol that the card speaks if nothing is negotiated: TA2's in specific mode, else the first
    /// one offered (clause 6.3.1).
    pub fn first_protocol(&self) -> u8 {
        let offered = || self.groups.iter().filter_map(|group| group.protocol);
        self.specific_mode()
            .or_else(|| offered().find(|&protocol| protocol != 15))
            .unwrap_or(0)
    }

    /// TC2: the waiting time integer WI of T=0; 10 where absent or reserved (clause 10.2).
    pub fn wi(&self) -> u8 {
        self.tc2().filter(|&wi| wi != 0).unwrap_or(DEFAULT_WI)
    }

    /// The first TA for T=1: the card's information field size, 1 to 254 (clause 11.4.2). 32 where absent
    /// or 0, and 254 for the reserved 255.
    pub fn ifsc(&self) -> u8 {
        match self.first_for(1, |group| group.ta) {
            None | Some(0) => DEFAULT_IFSC,
            Some(ifsc) => ifsc.min(254),
        }
    }

    /// The first TB for T=1: BWI and CWI (clause 11.4.3).
    pub fn waiting_integers(&self) -> WaitingIntegers {
        self.first_for(1, |group| group.tb)
            .map_or(WaitingIntegers::DEFAULT, WaitingIntegers::from_byte)
    }

    /// The first TC for T=1: the error detection code, by its bit 1 (clause 11.4.4).
    pub fn edc(&self) -> Edc {
        match self.first_for(1, |group| group.tc) {
            Some(tc) if tc & 1 != 0 => Edc::Crc,
            _ => Edc::Lrc,
        }
    }

    /// The first TA for T=15: clock stop and classes of operating conditions. `None` where absent, which
    /// says: no clock stop, class A.
    pub fn class_indicator(&self) -> Option<ClassIndicator> {
        let ta = self.first_for(15, |group| group.ta)?;
        let y = ta & 0x3F;
        Some(ClassIndicator {
            clock_stop: ClockStop::from_bits(ta >> 6),
            classes: matches!(y, 1 | 2 | 3 | 4 | 6 | 7).then_some(Classes {
                a: y & 1 != 0,
                b: y & 2 != 0,
                c: y & 4 != 0,
            }),
        })
    }

    fn tc2(&self) -> Option<u8> {
        self.groups.get(1)?.tc
    }

    /// The first byte of a kind that is specific to a protocol: none before the third group is
    /// (clause 8.2.3). T=15 is accepted in the second too, where the clause does not
    /// allow it.
    fn first_for(&self, protocol: u8, byte: impl Fn(&super::Group) -> Option<u8>) -> Option<u8> {
        self.groups
            .iter()
            .skip(if protocol == 15 { 1 } else { 2 })
            .filter(|group| group.protocol == Some(protocol))
            .find_map(byte)
    }

    /// The interface bytes that have reserved values. TB1 and TB2 have none: they encoded a
    /// programming voltage, which is deprecated, and are ignored (clause 8.3).
    pub(super) fn reserved(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |byte: Option<u8>, is_reserved: fn(u8) -> bool, warning: fn(u8) -> Warning| {
            warnings.extend(byte.filter(|&byte| is_reserved(byte)).map(warning));
        };
        warn(
            self.ta1(),
            |ta1| Speed::from_ta1(ta1).is_none(),
            Warning::ReservedTa1,
        );
        warn(self.tc2(), |wi| wi == 0, Warning::ReservedWi);
        warn(
            self.first_for(1, |group| group.ta),
            |ifsc| matches!(ifsc, 0 | 0xFF),
            Warning::ReservedIfsc,
        );
        warn(
            self.first_for(1, |group| group.tb),
            |tb| tb >> 4 > 9,
            Warning::ReservedBwi,
        );
        warn(
            self.first_for(1, |group| group.tc),
            |tc| tc > 1,
            Warning::ReservedEdc,
        );
        warn(
            self.first_for(15, |group| group.ta),
            |ta| !matches!(ta & 0x3F, 1 | 2 | 3 | 4 | 6 | 7),
            Warning::ReservedClasses,
        );
        if self.groups.get(1).is_some_and(|group| group.protocol == Some(15)) {
            warnings.push(Warning::NoFirstProtocol);
        }
        if let Some(protocol) = self.specific_mode() {
            if !self.protocols().contains(&protocol) {
                warnings.push(Warning::SpecificNotOffered(protocol));
            }
        }
        warnings
    }
}

#[cfg(test)]
mod tests;
