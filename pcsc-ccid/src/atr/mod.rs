//! The answer to reset (ISO/IEC 7816-3, clause 8): the parameters of a card.
//!
//! Real cards get details wrong. An ATR that can still be understood is accepted with a [`Warning`].
//!
//! [`Atr::parse`] decodes the bytes. Methods return their meaning (speed, guard and waiting times, sizes,
//! modes): always a usable value, the default if the byte is absent or reserved.

mod interface;

use alloc::vec::Vec;

pub use interface::{ClassIndicator, Classes, ClockStop, Mode, Speed, WaitingIntegers, DEFAULT_TA1};

/// The longest ATR, in bytes (clause 8.1).
pub const MAX_SIZE: usize = pcsc_constants::MAX_ATR_SIZE;

/// A decoded ATR.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Atr {
    /// Whether the card uses the inverse convention (clause 8.1).
    pub is_inverse: bool,
    /// TA1, TB1, TC1, TA2 … in groups, each with the protocol that its predecessor's TD names.
    pub groups: Vec<Group>,
    /// The historical bytes (ISO/IEC 7816-4, clause 12.1.1).
    pub historical: Vec<u8>,
    /// What is wrong with it.
    pub warnings: Vec<Warning>,
}

/// One group of interface bytes (clause 8.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Group {
    /// The protocol T that the bytes are for; `None` in the first group.
    pub protocol: Option<u8>,
    /// TA.
    pub ta: Option<u8>,
    /// TB.
    pub tb: Option<u8>,
    /// TC.
    pub tc: Option<u8>,
    /// TD, which names the next group's protocol.
    pub td: Option<u8>,
}

/// Something wrong with an ATR that leaves it readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// TCK is required and absent.
    #[error("the check byte TCK is missing")]
    MissingTck,
    /// TCK has another value than this, which the bytes require.
    #[error("the check byte TCK should be {0:02X}")]
    WrongTck(u8),
    /// So many historical bytes are announced and absent.
    #[error("{0} historical bytes are missing")]
    MissingHistorical(usize),
    /// So many bytes follow the end.
    #[error("{0} bytes follow the end")]
    Trailing(usize),
    /// TA1 has a reserved value; Fi and Di are taken as 372 and 1.
    #[error("TA1 has the reserved value {0:02X}")]
    ReservedTa1(u8),
    /// TC2 has a reserved value; WI is taken as 10.
    #[error("TC2 has the reserved value {0:02X}")]
    ReservedWi(u8),
    /// The first TA for T=1 has a reserved value; IFSC is taken as 32 or 254.
    #[error("the IFSC has the reserved value {0:02X}")]
    ReservedIfsc(u8),
    /// The first TB for T=1 has a reserved value; BWI is taken as 9.
    #[error("BWI and CWI have the reserved value {0:02X}")]
    ReservedBwi(u8),
    /// The first TC for T=1 has reserved bits; they are ignored.
    #[error("the first TC for T=1 has the reserved value {0:02X}")]
    ReservedEdc(u8),
    /// The first TA for T=15 has a reserved value; the classes are taken as unknown.
    #[error("the classes have the reserved value {0:02X}")]
    ReservedClasses(u8),
    /// TD1 names T=15, which is no protocol; T=0 is taken unless another follows.
    #[error("TD1 names T=15, which is no protocol")]
    NoFirstProtocol,
    /// The protocol that TA2 names is not offered. It is used all the same.
    #[error("TA2 names T={0}, which is not offered")]
    SpecificNotOffered(u8),
}

/// Why bytes are no ATR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AtrError {
    /// TS is neither 3B nor 3F.
    #[error("an ATR begins with 3B or 3F, not {0:02X}")]
    InvalidTs(u8),
    /// The bytes end among the interface bytes.
    #[error("the ATR ends too early")]
    Truncated,
    /// There are more than 33 bytes.
    #[error("an ATR has at most 33 bytes")]
    TooLong,
}

impl Atr {
    /// Decodes an ATR.
    ///
    /// # Errors
    /// Where the interface bytes cannot be read; lesser faults are [`Atr::warnings`].
    pub fn parse(bytes: &[u8]) -> Result<Atr, AtrError> {
        if bytes.len() > MAX_SIZE {
            return Err(AtrError::TooLong);
        }
        let mut rest = bytes.iter().copied();
        let is_inverse = match rest.next().ok_or(AtrError::Truncated)? {
            0x3B => false,
            0x3F => true,
            ts => return Err(AtrError::InvalidTs(ts)),
        };
        let t0 = rest.next().ok_or(AtrError::Truncated)?;
        let mut groups = Vec::new();
        let mut protocol = None;
        let mut present = t0;
        loop {
            let mut next = |bit: u8| match present & bit {
                0 => Ok(None),
                _ => rest.next().map(Some).ok_or(AtrError::Truncated),
            };
            let group = Group {
                protocol,
                ta: next(0x10)?,
                tb: next(0x20)?,
                tc: next(0x40)?,
                td: next(0x80)?,
            };
            groups.push(group);
            match group.td {
                Some(td) => (protocol, present) = (Some(td & 0x0F), td),
                None => break,
            }
        }

        let mut warnings = Vec::new();
        let announced = usize::from(t0 & 0x0F);
        let historical: Vec<u8> = rest.by_ref().take(announced).collect();
        if historical.len() < announced {
            warnings.push(Warning::MissingHistorical(announced - historical.len()));
        }
        // Required unless T=0 is all there is (clause 8.2.5).
        if groups
            .iter()
            .any(|group| group.protocol.is_some_and(|protocol| protocol != 0))
        {
            let used = bytes.len() - rest.len();
            let right = bytes[1..used].iter().fold(0, |sum, byte| sum ^ byte);
            match rest.next() {
                None => warnings.push(Warning::MissingTck),
                // Only a warning. Cards with a wrong TCK are in use, and what matters of the rest is checked
                // by the exchanges.
                Some(tck) if tck != right => warnings.push(Warning::WrongTck(right)),
                Some(_) => (),
            }
        }
        if rest.len() > 0 {
            warnings.push(Warning::Trailing(rest.len()));
        }
        let mut atr = Atr {
            is_inverse,
            groups,
            historical,
            warnings,
        };
        let reserved = atr.reserved();
        atr.warnings.extend(reserved);
        Ok(atr)
    }

    /// The protocols T that the card offers, the first one first (clause 8.2.3); T=15 is none.
    pub fn protocols(&self) -> Vec<u8> {
        let mut protocols = Vec::new();
        for protocol in self.groups.iter().filter_map(|group| group.protocol) {
            if protocol != 15 && !protocols.contains(&protocol) {
                protocols.push(protocol);
            }
        }
        // A card without TD1 speaks T=0 (clause 8.2.3).
        if protocols.is_empty() {
            protocols.push(0);
        }
        protocols
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_jcop_card() {
        let atr = Atr::parse(b"\x3B\xF8\x13\x00\x00\x81\x31\xFE\x45JCOPv241\xB7").unwrap();
        assert_eq!(
            atr.speed(),
            Some(Speed {
                fi: 372,
                di: 4,
                max_clock_hz: 5_000_000
            })
        );
        assert_eq!(atr.protocols(), [1]);
        assert_eq!(atr.specific_mode(), None);
        assert_eq!(atr.historical, b"JCOPv241");
        assert_eq!(atr.warnings, []);
        assert_eq!(
            atr.groups[2],
            Group {
                protocol: Some(1),
                ta: Some(0xFE),
                tb: Some(0x45),
                ..Group::default()
            }
        );
    }

    #[test]
    fn protocols_modes_and_conventions() {
        assert_eq!(Atr::parse(&[0x3B, 0x00]).unwrap().protocols(), [0]);
        let both = Atr::parse(&[0x3B, 0x80, 0x80, 0x01, 0x01]).unwrap();
        assert_eq!((both.protocols(), both.warnings), (vec![0, 1], vec![]));
        let specific = Atr::parse(&[0x3F, 0x80, 0x11, 0x81, 0x10]).unwrap();
        assert!(specific.is_inverse);
        assert_eq!(specific.specific_mode(), Some(1));
        let global = Atr::parse(&[0x3B, 0x80, 0x1F, 0x03, 0x9C]).unwrap();
        assert_eq!((global.specific_mode(), global.first_protocol()), (None, 0));
        assert!(global
            .class_indicator()
            .is_some_and(|indicator| indicator.classes.is_some()));
        assert_eq!(
            (global.protocols(), global.warnings),
            (vec![0], vec![Warning::NoFirstProtocol])
        );
    }

    #[test]
    fn faults_are_told() {
        assert_eq!(Atr::parse(&[]), Err(AtrError::Truncated));
        assert_eq!(Atr::parse(&[0x3C, 0]), Err(AtrError::InvalidTs(0x3C)));
        assert_eq!(Atr::parse(&[0x3B, 0x10]), Err(AtrError::Truncated));
        assert_eq!(Atr::parse(&[0x3B; 34]), Err(AtrError::TooLong));
        // 33 bytes are not: 15 historical ones, and 15 too many.
        let longest = [&[0x3B, 0x0F][..], &[0x41; 31]].concat();
        assert_eq!(Atr::parse(&longest).unwrap().warnings, [Warning::Trailing(16)]);
        let exact = [&[0x3B, 0x0F][..], &[0x41; 15]].concat();
        assert_eq!(Atr::parse(&exact).unwrap().warnings, []);
        let warnings = |bytes: &[u8]| Atr::parse(bytes).unwrap().warnings;
        assert_eq!(warnings(&[0x3B, 0x80, 0x01]), [Warning::MissingTck]);
        assert_eq!(warnings(&[0x3B, 0x80, 0x01, 0x80]), [Warning::WrongTck(0x81)]);
        assert_eq!(warnings(&[0x3B, 0x02, 0x41]), [Warning::MissingHistorical(1)]);
        assert_eq!(warnings(&[0x3B, 0x00, 0x41]), [Warning::Trailing(1)]);
        assert_eq!(Atr::parse(&[0x3B, 0x10, 0xF0]).unwrap().speed(), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_an_atr_or_an_error(bytes in proptest::collection::vec(0u8.., 0..40)) {
            if let Ok(atr) = Atr::parse(&bytes) {
                atr.speed();
                proptest::prop_assert!(!atr.protocols().is_empty());
                proptest::prop_assert!(atr.historical.len() <= 15);
            }
        }
    }
}
