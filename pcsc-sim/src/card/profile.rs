//! The interface bytes of a card and the answer to reset that they make (ISO/IEC 7816-3, clause 8).

use pcsc_ccid::atr::{Atr, AtrError};
use pcsc_ccid::t1::Edc;

/// How a character's bits are sent (clause 8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Convention {
    /// Least significant bit first, high is one; TS is '3B'.
    #[default]
    Direct,
    /// Most significant bit first, low is one; TS is '3F'.
    Inverse,
}

impl Convention {
    /// Turns a byte of this convention into what a receiver in direct convention reads, or back.
    pub fn apply(self, byte: u8) -> u8 {
        match self {
            Convention::Direct => byte,
            Convention::Inverse => !byte.reverse_bits(),
        }
    }
}

/// A protocol that the card offers, with its specific interface bytes where present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// T=0.
    T0 {
        /// Waiting time integer (TC2).
        wi: Option<u8>,
    },
    /// T=1.
    T1 {
        /// First TA: IFSC.
        ifsc: Option<u8>,
        /// First TB: BWI and CWI.
        bwi_cwi: Option<u8>,
        /// First TC: the error detection code.
        edc: Edc,
    },
}

impl Offer {
    /// T=0 with default waiting time.
    pub const T0: Offer = Offer::T0 { wi: None };
    /// T=1 with IFSC 254, BWI 4, CWI 5, LRC.
    pub const T1: Offer = Offer::T1 {
        ifsc: Some(254),
        bwi_cwi: Some(0x45),
        edc: Edc::Lrc,
    };

    /// T.
    pub fn number(&self) -> u8 {
        match self {
            Offer::T0 { .. } => 0,
            Offer::T1 { .. } => 1,
        }
    }
}

/// The interface bytes of a card; [`atr`](Profile::atr) puts them together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// Convention.
    pub convention: Convention,
    /// TA1: Fi and Di.
    pub ta1: Option<u8>,
    /// TC1: extra guard time.
    pub tc1: Option<u8>,
    /// TA2: specific mode.
    pub ta2: Option<u8>,
    /// The first TA for T=15: clock stop and operating conditions (clause 8.3).
    pub class_indicator: Option<u8>,
    /// Protocols, in the order of their numbers; at least one.
    pub offers: Vec<Offer>,
    /// Up to 15 historical bytes.
    pub historical: Vec<u8>,
}

impl Profile {
    /// A card in direct convention with these protocols, no TA1 and no historical bytes.
    pub fn new(offers: &[Offer]) -> Self {
        Profile {
            offers: offers.to_vec(),
            ..Profile::default()
        }
    }

    /// The profile of a card with this ATR. Its own [`atr`](Profile::atr) is the same, unless the bytes have
    /// groups that a profile has no place for.
    ///
    /// # Errors
    /// Where the interface bytes cannot be read.
    pub fn from_atr(bytes: &[u8]) -> Result<Profile, AtrError> {
        let atr = Atr::parse(bytes)?;
        let second = atr.groups.get(1);
        let t1 = atr.groups.iter().skip(2).find(|group| group.protocol == Some(1));
        let offer = |protocol| match protocol {
            0 => Some(Offer::T0 {
                wi: second.and_then(|group| group.tc),
            }),
            1 => Some(Offer::T1 {
                ifsc: t1.and_then(|group| group.ta),
                bwi_cwi: t1.and_then(|group| group.tb),
                edc: match t1.and_then(|group| group.tc) {
                    Some(1) => Edc::Crc,
                    _ => Edc::Lrc,
                },
            }),
            _ => None,
        };
        let first = atr.groups.first();
        Ok(Profile {
            convention: if atr.is_inverse {
                Convention::Inverse
            } else {
                Convention::Direct
            },
            ta1: first.and_then(|group| group.ta),
            tc1: first.and_then(|group| group.tc),
            ta2: second.and_then(|group| group.ta),
            class_indicator: None,
            offers: atr.protocols().into_iter().filter_map(offer).collect(),
            historical: atr.historical,
        })
    }

    /// The answer to reset, as an interface device decodes it.
    pub fn atr(&self) -> Vec<u8> {
        let first = self.offers.first().map_or(0, Offer::number);
        let tc2 = self.offers.iter().find_map(|o| match *o {
            Offer::T0 { wi } => wi,
            Offer::T1 { .. } => None,
        });
        let t1 = self.offers.iter().find_map(|o| match *o {
            Offer::T1 { ifsc, bwi_cwi, edc } => Some((ifsc, bwi_cwi, (edc == Edc::Crc).then_some(1))),
            Offer::T0 { .. } => None,
        });
        let t1_bytes = t1.is_some_and(|bytes| bytes != (None, None, None));
        let fourth = self.class_indicator.is_some();
        // What follows T=15 is global and belongs to no protocol: the third group is T=15's where T=1 has
        // none.
        let has_t1_group = self.offers.len() > 1 || t1_bytes;
        let third = has_t1_group || fourth;
        let second = first != 0 || self.ta2.is_some() || tc2.is_some() || third;
        let td = |next: bool, nibble| next.then_some(nibble);

        let mut atr = Vec::from([if self.convention == Convention::Direct {
            0x3B
        } else {
            0x3F
        }]);
        let history = &self.historical[..self.historical.len().min(15)];
        group(
            &mut atr,
            history.len() as u8,
            [self.ta1, None, self.tc1, td(second, first)],
        );
        if second {
            group(
                &mut atr,
                first,
                [self.ta2, None, tc2, td(third, if has_t1_group { 1 } else { 15 })],
            );
        }
        if has_t1_group {
            let (ta, tb, tc) = t1.unwrap_or_default();
            group(&mut atr, 1, [ta, tb, tc, td(fourth, 15)]);
        }
        if fourth {
            group(&mut atr, 15, [self.class_indicator, None, None, None]);
        }
        atr.extend_from_slice(history);
        if fourth || self.offers.iter().any(|o| o.number() != 0) {
            atr.push(atr[1..].iter().fold(0, |tck, b| tck ^ b));
        }
        atr
    }
}

/// Completes the indicator byte of a group (T0 or TDi; the latter is there already, as its low
/// nibble) with the presence bits, and writes the bytes present.
fn group(atr: &mut Vec<u8>, low: u8, bytes: [Option<u8>; 4]) {
    let presence = bytes
        .iter()
        .enumerate()
        .fold(0, |bits, (i, b)| bits | u8::from(b.is_some()) << (4 + i));
    if atr.len() > 1 {
        atr.pop();
    }
    atr.push(presence | low);
    atr.extend(bytes.into_iter().flatten());
}
