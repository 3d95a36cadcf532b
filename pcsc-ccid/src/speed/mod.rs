//! The choice of F and D: the fastest that card and reader have in common, and those to fall back to.
//!
//! What the card allows (ISO/IEC 7816-3, clause 9.3): any F from Fd = 372 to the Fi of TA1 with any D from
//! Dd = 1 to the Di of TA1. Of these, nothing that is faster than TA1 itself is proposed: 372/32 lies in
//! the range that 512/32 opens, and is more than the card ever said that it can do.
//!
//! What the reader allows (CCID 1.1, sections 5.1 and 5.3): a rate up to dwMaxDataRate, and one of its
//! list where it has a list. The rate is the one that F and D make of the reader's default clock; where its
//! list has none of these, and it changes its clock by itself, one of another clock.
//!
//! ```text
//! TA1 96 (512/32), reader at 4 MHz up to 200,000 bit/s:  15 (172,043)  95 (125,000)  94  93  92  11
//! ```

use alloc::vec::Vec;

use crate::atr::{Atr, Mode, Speed, DEFAULT_TA1};

/// The indexes of every Fi, but for index 0, which is that of 372 with a slower clock, and of every Di.
const F_INDEXES: [u8; 11] = [1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13];
const D_INDEXES: [u8; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 9];

/// Frequencies that a contact can have, in kHz (clause 5.2.3).
const CLOCK_KHZ: core::ops::RangeInclusive<u32> = 1_000..=20_000;
/// The default clock of nearly every reader.
const COMMON_CLOCK_KHZ: u32 = 4_000;

/// A reader's speeds: fields of its class descriptor and its list of data rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderSpeeds<'a> {
    /// dwDefaultClock, in kHz.
    pub default_clock_khz: u32,
    /// dwMaximumClock, in kHz.
    pub maximum_clock_khz: u32,
    /// dwDataRate, in bit/s.
    pub data_rate_bps: u32,
    /// dwMaxDataRate, in bit/s.
    pub max_data_rate_bps: u32,
    /// bNumDataRatesSupported; 0 stands for all rates up to the maximum.
    pub num_data_rates: u8,
    /// The answer to GET_DATA_RATES, in bit/s; empty if there was none.
    pub data_rates: &'a [u32],
    /// dwFeatures 0x10: the reader changes the clock to suit the parameters.
    pub has_automatic_clock: bool,
}

/// One choice of F and D.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpeedChoice {
    /// F and D, coded as TA1, PPS1 and bmFindexDindex are.
    pub ta1: u8,
    /// The clock that the rate is for, in kHz: what PC_to_RDR_SetDataRateAndClockFrequency names, for a
    /// reader without automatic baud rate (dwFeatures 0x20).
    pub clock_khz: u32,
    /// Bits per second at that clock.
    pub bits_per_second: u32,
}

impl SpeedChoice {
    /// The rate that F and D, coded as TA1, make of a clock in kHz; a reserved coding makes that of 372/1.
    pub fn new(ta1: u8, clock_khz: u32) -> SpeedChoice {
        let speed = Speed::from_ta1(ta1).unwrap_or(Speed::DEFAULT);
        SpeedChoice {
            ta1,
            clock_khz,
            bits_per_second: speed.bits_per_second(clock_khz.saturating_mul(1000)),
        }
    }
}

impl ReaderSpeeds<'_> {
    /// The clock that a card is started with, in kHz. Where dwDefaultClock is no frequency for a card (wrong
    /// unit or byte order, as some have it), it is what dwDataRate is 372/1 of, or else 4 MHz.
    pub fn clock_khz(&self) -> u32 {
        let from_rate = u64::from(self.data_rate_bps) * 372 / 1000;
        [self.default_clock_khz, u32::try_from(from_rate).unwrap_or(0)]
            .into_iter()
            .find(|clock| CLOCK_KHZ.contains(clock))
            .unwrap_or(COMMON_CLOCK_KHZ)
    }

    /// Whether the list of data rates is complete. It is if it has the announced number of entries. Where
    /// that number is 0, all rates are promised, yet most readers then list those they have: such a list
    /// is believed if no entry is beyond the maximum and one is above the default. Others are
    /// leftovers of a buffer, or the default rate alone.
    fn has_whole_list(&self) -> bool {
        let rates = self.data_rates;
        match self.num_data_rates {
            0 => {
                let beyond = self.max_data_rate_bps.saturating_add(tolerance(64));
                rates.iter().all(|&rate| (1..=beyond).contains(&rate))
                    && rates.iter().any(|&rate| rate > self.above_default())
            }
            announced => !rates.is_empty() && rates.len() >= usize::from(announced),
        }
    }

    /// The maximum, which is dwMaxDataRate; but where that is no more than the default rate, and a list as
    /// long as announced has more, it is what the list has.
    fn maximum(&self) -> u32 {
        let is_announced = self.num_data_rates > 0 && self.has_whole_list();
        match self.data_rates.iter().max() {
            Some(&listed) if is_announced && self.max_data_rate_bps <= self.above_default() => listed,
            _ => self.max_data_rate_bps,
        }
    }

    /// The default rate and what it may be rounded by.
    fn above_default(&self) -> u32 {
        Speed::DEFAULT.bits_per_second(self.clock_khz() * 1000) + tolerance(1)
    }

    /// The candidate that F and D make with the default clock, if the reader can do them.
    fn at_default_clock(&self, ta1: u8, speed: Speed) -> Option<SpeedChoice> {
        let choice = SpeedChoice::new(ta1, self.clock_khz());
        let rate = choice.bits_per_second;
        let slack = tolerance(speed.di);
        let is_listed = || {
            self.data_rates
                .iter()
                .any(|&listed| listed.abs_diff(rate) <= slack)
        };
        let can_do = self.allows(rate, slack) && (!self.has_whole_list() || is_listed());
        can_do.then_some(choice)
    }

    /// The candidate that F and D make with another clock, to which the reader changes by itself: the
    /// lowest from the default to its maximum and the card's f(max) that makes a rate of the list.
    fn at_other_clock(&self, ta1: u8, speed: Speed) -> Option<SpeedChoice> {
        if !self.has_automatic_clock || !self.has_whole_list() {
            return None;
        }
        let fastest_khz = self.maximum_clock_khz.min(speed.max_clock_hz / 1000);
        let clock_for = |rate: u32| {
            let clock = u64::from(rate) * u64::from(speed.fi) / u64::from(speed.di) / 1000;
            u32::try_from(clock)
                .ok()
                .filter(|clock| (self.clock_khz()..=fastest_khz).contains(clock))
        };
        let rates = self.data_rates.iter().copied();
        let rate = rates
            .filter(|&rate| clock_for(rate).is_some() && self.allows(rate, 0))
            .min()?;
        Some(SpeedChoice {
            ta1,
            clock_khz: clock_for(rate)?,
            bits_per_second: rate,
        })
    }

    fn allows(&self, rate: u32, slack: u32) -> bool {
        rate <= self.maximum().saturating_add(slack)
    }
}

/// The candidates for a card in a reader, fastest first.
///
/// In negotiable mode the first is the fastest that both allow and the last is '11', with which every
/// card begins and which needs no PPS. Each next one takes at most three quarters of the rate before it, so
/// that stepping down is worth the reset that it costs; of those down to two thirds of the best, one with
/// the card's own Fi and its Di halved is preferred, as what cards implement most.
///
/// In specific mode there is exactly one candidate.
///
/// A reader's clock above the card's f(max) excludes no candidate: it is the clock at which the card has
/// answered its reset. A speed of specific mode that the reader cannot do is a candidate all the
/// same: the card takes no other.
pub fn candidates(atr: &Atr, reader: &ReaderSpeeds<'_>) -> Vec<SpeedChoice> {
    let default_clock = reader.clock_khz();
    let forced = |ta1| SpeedChoice::new(ta1, default_clock);
    if let Mode::Specific { implicit, .. } = atr.mode() {
        let ta1 = if implicit { DEFAULT_TA1 } else { atr.usable_ta1() };
        let speed = Speed::from_ta1(ta1).unwrap_or(Speed::DEFAULT);
        let candidate = reader
            .at_default_clock(ta1, speed)
            .or_else(|| reader.at_other_clock(ta1, speed));
        return Vec::from([candidate.unwrap_or(forced(ta1))]);
    }
    let own = atr.usable_ta1();
    let slowest = forced(DEFAULT_TA1);
    let is_faster = |candidate: &SpeedChoice| candidate.bits_per_second > slowest.bits_per_second;
    let is_own_f = |candidate: &SpeedChoice| candidate.ta1 >> 4 == own >> 4;
    let rank = |candidate: &SpeedChoice| {
        (
            core::cmp::Reverse(candidate.bits_per_second),
            !is_own_f(candidate),
        )
    };
    // Another clock is for a card that gains nothing at the default one.
    let mut allowed: Vec<SpeedChoice> = Vec::new();
    for is_default in [true, false] {
        for (ta1, speed) in proposals(own) {
            let candidate = match is_default {
                true => reader.at_default_clock(ta1, speed),
                false => reader.at_other_clock(ta1, speed),
            };
            if let Some(candidate) = candidate.filter(is_faster) {
                // Inserted in order: a sort of the standard library is several kilobytes of code.
                let at = allowed.partition_point(|other| rank(other) <= rank(&candidate));
                allowed.insert(at, candidate);
            }
        }
        if !allowed.is_empty() {
            break;
        }
    }

    let mut candidates: Vec<SpeedChoice> = allowed.first().copied().into_iter().collect();
    while let Some(above) = candidates.last() {
        let bound = three_quarters(above.bits_per_second);
        let mut rest = allowed.iter().skip_while(|next| next.bits_per_second > bound);
        let Some(best) = rest.clone().next() else { break };
        let usual = rest.find(|next| {
            next.bits_per_second >= best.bits_per_second - best.bits_per_second.div_ceil(3)
                && is_own_f(next)
                && is_halving(next.ta1, own)
        });
        candidates.push(*usual.unwrap_or(best));
    }
    candidates.push(slowest);
    candidates
}

/// What a card with this TA1 may be asked for: within the clause's range, not above TA1, faster than the
/// default.
fn proposals(own_ta1: u8) -> impl Iterator<Item = (u8, Speed)> {
    let own = Speed::from_ta1(own_ta1).unwrap_or(Speed::DEFAULT);
    let f_indexes = F_INDEXES
        .into_iter()
        // A card with index 0 is asked for 372 by that index, which keeps its slower clock.
        .map(move |index| if index == 1 && own_ta1 >> 4 == 0 { 0 } else { index });
    f_indexes
        .flat_map(|f_index| D_INDEXES.into_iter().map(move |d_index| f_index << 4 | d_index))
        .filter_map(|ta1| Some((ta1, Speed::from_ta1(ta1)?)))
        .filter(move |(_, speed)| speed.fi <= own.fi && speed.di <= own.di)
        .filter(move |(_, speed)| !speed.is_faster_than(own) && speed.is_faster_than(Speed::DEFAULT))
}

/// Whether the D of `ta1` is that of `own`, or that divided by a power of 2.
fn is_halving(ta1: u8, own: u8) -> bool {
    match (ta1 & 0x0F, own & 0x0F) {
        (d, own @ 1..=7) => d <= own,
        (d, own) => d == own || d <= 7,
    }
}

/// How far an announced rate may be from the computed one, in bit/s: readers round the rate of 372/1, or
/// its multiple.
fn tolerance(di: u32) -> u32 {
    di.max(2)
}

fn three_quarters(rate: u32) -> u32 {
    rate - rate.div_ceil(4)
}

#[cfg(test)]
mod tests;
