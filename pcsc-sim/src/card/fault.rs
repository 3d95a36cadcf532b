//! Random but repeatable disturbances of the line.

use crate::random::Random;

/// What happens to one character of a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// It never arrives.
    Lost,
    /// It arrives twice.
    Duplicated,
    /// It arrives with these bits turned over, and right parity.
    Corrupted(u8),
    /// It and what follows come late by this number of etu.
    Late(u64),
    /// It arrives with wrong parity.
    Parity,
    /// Not this character alone: the whole burst is lost.
    Mute,
}

/// A script of faults drawn from a seed: at most one in each burst, so that an LRC finds it.
#[derive(Debug, Clone)]
pub struct Faults {
    random: Random,
    per_mille: u16,
    left: u32,
    kinds: &'static [FaultKind],
}

impl Faults {
    /// Every kind; the mask and the delay are drawn anew each time.
    pub const ALL: &'static [FaultKind] = &[
        FaultKind::Lost,
        FaultKind::Duplicated,
        FaultKind::Corrupted(1),
        FaultKind::Late(0),
        FaultKind::Parity,
        FaultKind::Mute,
    ];
    /// Those that T=0, which has no error detection code, can notice.
    pub const DETECTABLE_BY_T0: &'static [FaultKind] = &[
        FaultKind::Lost,
        FaultKind::Late(0),
        FaultKind::Parity,
        FaultKind::Mute,
    ];

    /// `per_mille` of the bursts are struck, `limit` at most in all.
    pub fn new(seed: u64, per_mille: u16, limit: u32, kinds: &'static [FaultKind]) -> Self {
        Faults {
            random: Random::new(seed),
            per_mille,
            left: limit,
            kinds,
        }
    }

    /// The fault, if any, of a burst of `len` characters, and the place where it strikes.
    pub(crate) fn strike(&mut self, len: usize) -> Option<(usize, FaultKind)> {
        if len == 0
            || self.left == 0
            || self.kinds.is_empty()
            || self.random.below(1000) >= usize::from(self.per_mille)
        {
            return None;
        }
        self.left -= 1;
        let at = self.random.below(len);
        let kind = match self.kinds[self.random.below(self.kinds.len())] {
            FaultKind::Corrupted(_) => FaultKind::Corrupted(1 + self.random.below(255) as u8),
            FaultKind::Late(_) => FaultKind::Late(1 << self.random.below(18)),
            other => other,
        };
        Some((at, kind))
    }
}
