//! Timeouts: how long to wait for a card, by its ATR (ISO/IEC 7816-3, clauses 10.2 and 11.4.3), and
//! for a reader that waits for a card.
//!
//! The clauses have no limit: BWI 9, a waiting time extension of 255 and a slow clock make two days. No
//! timeout here is longer than [`LONGEST`], nor shorter than [`SHORTEST`] if a reader is involved.

use core::time::Duration;

use crate::atr::{Atr, Speed};
use crate::parameters::{Parameters, Specific};

/// No timeout is longer. It is enough for cards that generate keys without a time extension. A long timeout
/// does no harm, because removal of the reader and a cancellation end the wait at once.
pub const LONGEST: Duration = Duration::from_secs(300);
/// No timeout for a reader is shorter: readers answer late for reasons of their own.
pub const SHORTEST: Duration = Duration::from_secs(3);
/// Added to a reader's timeout, so that the reader reports a mute card before the host gives up.
const MARGIN: Duration = Duration::from_secs(1);

/// The frequency to count with where none is known, in kHz: the lowest there is, so the longest wait.
const SLOWEST_CLOCK_KHZ: u32 = 1_000;
/// Fd, which BWT is counted in whatever the card's speed (clause 11.4.3).
const FD: u64 = 372;
/// A character and its guard time (clause 7.2), in etu.
const CHARACTER: u64 = 12;
/// A unit of WT and of BWT (clauses 10.2, 11.4.3).
const WAITING_UNIT: u64 = 960;
/// CLA INS P1 P2 P3 and 255 bytes.
const LONGEST_T0_COMMAND: u64 = 5 + 255;
/// A procedure byte, 256 bytes, SW1 and SW2.
const LONGEST_T0_RESPONSE: u64 = 1 + 256 + 2;
/// Prologue, 254 bytes, CRC, rounded up.
const LONGEST_BLOCK: u64 = 260;
/// The smallest information field that is usual; a reader that splits APDUs may use no more.
const USUAL_IFS: u64 = 32;

/// The times of one card at one speed and clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    clock_khz: u32,
    rate: Speed,
    guard_time: u8,
    /// BWI and CWI are in their ranges, in which [`crate::atr::WaitingIntegers::from_byte`] keeps them.
    specific: Specific,
    /// Fi, which WT goes by.
    fi: u32,
}

impl Waiting {
    /// The times for a card with these parameters at a clock frequency in kHz: the lowest that the reader
    /// may use. A reserved F and D are taken as 372 and 1.
    pub fn new(atr: &Atr, parameters: &Parameters, clock_khz: u32) -> Waiting {
        let rate = Speed::from_ta1(parameters.f_index_d_index).unwrap_or(Speed::DEFAULT);
        Waiting {
            clock_khz: if clock_khz == 0 {
                SLOWEST_CLOCK_KHZ
            } else {
                clock_khz
            },
            rate,
            guard_time: parameters.guard_time,
            specific: parameters.specific,
            // WT goes by the Fi that the card offers in TA1, whatever was agreed on (clause 10.2). A reader
            // may have agreed on a larger one by itself, and a wait too long is the lesser fault.
            fi: atr.speed().unwrap_or(Speed::DEFAULT).fi.max(rate.fi),
        }
    }

    /// How long to wait for the reader's answer to one TPDU: the command at its guard time, one wait for
    /// work, and the response as slowly as it may come. In T=0 every byte of the response may take WT.
    pub fn tpdu(&self) -> Duration {
        bounded(match self.specific {
            Specific::T0 { .. } => self
                .sending(LONGEST_T0_COMMAND)
                .saturating_add(times(self.character_time(), LONGEST_T0_RESPONSE)),
            Specific::T1(_) => self
                .sending(LONGEST_BLOCK)
                .saturating_add(self.response_time())
                .saturating_add(times(self.character_time(), LONGEST_BLOCK)),
        })
    }

    /// How long to wait for the reader's answer to an APDU, of a command and a response of these lengths, in
    /// as many TPDUs as the reader sees fit: all characters of the TPDUs, with their overhead, at the pace of
    /// the guard time, and a wait for work after each TPDU. That a card takes the longest time for each
    /// character is not counted here: the reader says so by a time extension.
    pub fn apdu(&self, command: usize, response: usize) -> Duration {
        let (command, response) = (command as u64, response as u64);
        let (tpdus, overhead) = match self.specific {
            // Header, procedure byte and status words; with T=1 prologue and CRC of the block each way.
            Specific::T0 { .. } => (command.div_ceil(255) + response.div_ceil(256), 5 + 1 + 2),
            Specific::T1(_) => (command.div_ceil(USUAL_IFS) + response.div_ceil(USUAL_IFS), 2 * 5),
        };
        let characters = command
            .saturating_add(response)
            .saturating_add(tpdus.saturating_mul(overhead));
        let sending = self.sending(characters);
        bounded(sending.saturating_add(times(self.response_time(), tpdus)))
    }

    /// T=0: WT, the longest time between two characters, WI x 960 x Fi / f (clause 10.2). T=1: BWT, the
    /// longest time from the last character of a block to the first of the answer, 11 etu and
    /// 2^BWI x 960 x 372 / f (clause 11.4.3).
    fn response_time(&self) -> Duration {
        match self.specific {
            Specific::T0 { .. } => self.character_time(),
            Specific::T1(t1) => self
                .etus(11)
                .saturating_add(cycles((WAITING_UNIT << t1.waiting.bwi) * FD, self.clock_khz)),
        }
    }

    /// The longest time between two characters of the card: WT in T=0, CWT = 11 + 2^CWI etu in T=1
    /// (clause 11.4.3).
    fn character_time(&self) -> Duration {
        match self.specific {
            Specific::T0 { wi } => cycles(u64::from(wi) * WAITING_UNIT * u64::from(self.fi), self.clock_khz),
            Specific::T1(t1) => self.etus(11 + (1 << t1.waiting.cwi)),
        }
    }

    fn sending(&self, characters: u64) -> Duration {
        self.etus(self.guard_etus().saturating_mul(characters))
    }

    /// The time between the leading edges of two characters that the card is sent, in etu: 12 and N more,
    /// or with N 255 the least that the protocol allows (clause 8.3, TC1).
    fn guard_etus(&self) -> u64 {
        match (self.guard_time, self.specific) {
            (255, Specific::T0 { .. }) => CHARACTER,
            (255, Specific::T1(_)) => CHARACTER - 1,
            (n, _) => CHARACTER + u64::from(n),
        }
    }

    /// So many etu, each of F/D clock cycles (clause 7.1); rounded up to a nanosecond, as all times are.
    fn etus(&self, count: u64) -> Duration {
        let scaled = u128::from(count) * u128::from(self.rate.fi) * 1_000_000;
        nanoseconds(scaled.div_ceil(u128::from(self.rate.di) * u128::from(self.clock_khz)))
    }
}

/// So many cycles of a clock in kHz, which is not 0.
fn cycles(count: u64, clock_khz: u32) -> Duration {
    nanoseconds((u128::from(count) * 1_000_000).div_ceil(u128::from(clock_khz)))
}

fn nanoseconds(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

fn times(duration: Duration, count: u64) -> Duration {
    duration.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

fn bounded(duration: Duration) -> Duration {
    duration.saturating_add(MARGIN).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn waiting(bytes: &[u8], protocol: u8, rate: u8, clock_khz: u32) -> Waiting {
        let atr = Atr::parse(bytes).unwrap();
        let parameters = Parameters::for_card(&atr, protocol, rate).unwrap();
        Waiting::new(&atr, &parameters, clock_khz)
    }

    const MICRO: fn(u64) -> Duration = Duration::from_micros;
    const MILLI: fn(u64) -> Duration = Duration::from_millis;

    /// At 3.72 MHz one etu of 372/1 is 100 us, and 372 cycles are too.
    #[test]
    fn the_defaults_of_the_clauses() {
        let t0 = waiting(&[0x3B, 0x00], 0, 0x11, 3_720);
        assert_eq!((t0.etus(1), t0.guard_etus()), (MICRO(100), 12));
        // 10 x 960 x 100 us.
        assert_eq!(
            (t0.response_time(), t0.character_time()),
            (MILLI(960), MILLI(960))
        );
        let t1 = waiting(&[0x3B, 0x00], 1, 0x11, 3_720);
        // 1.1 ms and 16 x 960 x 100 us; 11 + 8192 etu.
        assert_eq!(t1.response_time(), MICRO(1_537_100));
        assert_eq!(t1.character_time(), MICRO(820_300));
    }

    /// 512/32 at 4 MHz: an etu of 16 cycles, 4 us. BWT does not depend on it but for the 11 etu.
    #[test]
    fn a_fast_card() {
        let atr = [0x3B, 0x90, 0x96, 0x80, 0x71, 0xFE, 0x45, 0x00, 0x00];
        let t1 = waiting(&atr, 1, 0x96, 4_000);
        assert_eq!((t1.etus(1), t1.guard_etus()), (MICRO(4), 12));
        // 44 us and 16 x 960 x 93 us.
        assert_eq!(t1.response_time(), MICRO(44 + 1_428_480));
        // 11 + 32 etu.
        assert_eq!(t1.character_time(), MICRO(172));
        // 260 x 48 us, BWT, 260 x 172 us and a second: below the least.
        assert_eq!(t1.tpdu(), SHORTEST);
        let slower = waiting(
            &[0x3B, 0x90, 0x96, 0x80, 0x71, 0xFE, 0x65, 0x00, 0x00],
            1,
            0x96,
            4_000,
        );
        // BWI 6: 44 us and 64 x 960 x 93 us.
        assert_eq!(slower.tpdu(), MICRO(12_480 + 44 + 5_713_920 + 44_720 + 1_000_000));
        // WT goes by the card's Fi, 512, and not by D: 10 x 960 x 512 cycles. So it does at 372/1 too.
        for rate in [0x96, 0x11] {
            assert_eq!(waiting(&atr, 0, rate, 4_000).response_time(), MICRO(1_228_800));
        }
    }

    #[test]
    fn extra_guard_time() {
        let guard = |n, protocol| waiting(&[0x3B, 0x40, n], protocol, 0x11, 3_720).guard_etus();
        assert_eq!((guard(5, 0), guard(254, 1)), (17, 266));
        assert_eq!((guard(255, 0), guard(255, 1)), (12, 11));
    }

    #[test]
    fn one_transfer() {
        // 260 x 1.2 ms to the card, 259 x WT from it, a second.
        let t0 = waiting(&[0x3B, 0x00], 0, 0x11, 3_720);
        assert_eq!(t0.tpdu(), MILLI(312 + 248_640 + 1_000));
        // 261 and 258 bytes in two TPDUs each of 8 bytes more: 551 x 1.2 ms, 4 x WT, a second.
        assert_eq!(t0.apdu(261, 258), MICRO(661_200 + 3_840_000 + 1_000_000));
        assert_eq!(t0.apdu(65_544, 65_538), LONGEST);
        let t1 = waiting(&[0x3B, 0x00], 1, 0x11, 3_720);
        // Two blocks: 27 characters, 2 x BWT, a second.
        assert_eq!(t1.apdu(5, 2), MICRO(32_400 + 3_074_200 + 1_000_000));
    }

    #[test]
    fn nothing_is_without_bound() {
        // TC2 'FF'; BWI 9 and CWI 15 with a Fi of 2048 at 1 MHz.
        let t0 = waiting(&[0x3B, 0x90, 0xD1, 0x40, 0xFF], 0, 0xD1, 1_000);
        let slow = [0x3B, 0x90, 0xD1, 0x81, 0x21, 0x9F, 0x00];
        let t1 = waiting(&slow, 1, 0xD1, 1_000);
        assert_eq!((t0.tpdu(), t1.tpdu()), (LONGEST, LONGEST));
        assert_eq!(t1.apdu(65_544, 65_538), LONGEST);
    }

    #[test]
    fn a_clock_of_nothing_is_a_slow_one() {
        let bytes = [0x3B, 0x00];
        assert_eq!(waiting(&bytes, 0, 0x11, 0), waiting(&bytes, 0, 0x11, 1_000));
        assert_eq!(waiting(&bytes, 0, 0xFF, 3_720), waiting(&bytes, 0, 0x11, 3_720));
    }

    proptest! {
        #[test]
        fn every_wait_is_in_bounds(
            atr in proptest::collection::vec(any::<u8>(), 1..16),
            (protocol, clock_khz) in (0u8..2, any::<u32>()),
            data: [u8; 7],
            (command, response) in (any::<usize>(), any::<usize>()),
        ) {
            let Ok(atr) = Atr::parse(&[&[0x3B], &atr[..]].concat()) else { return Ok(()) };
            for parameters in [
                Parameters::for_card(&atr, protocol, data[0]),
                Parameters::decode(protocol, &data),
            ] {
                let waiting = Waiting::new(&atr, &parameters.unwrap(), clock_khz);
                prop_assert!((SHORTEST..=LONGEST).contains(&waiting.tpdu()));
                prop_assert!((SHORTEST..=LONGEST).contains(&waiting.apdu(command, response)));
            }
        }
    }
}
