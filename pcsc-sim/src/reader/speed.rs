//! Which rates a reader can do.

use super::model::Model;
use crate::card::Rate;
use pcsc_ccid::descriptor::Features;

/// Whether the reader's clock and UART make this rate. 372/1 is always among them. Else the list decides, if
/// it has as many entries as announced, and some of them are rates; where nothing is announced, every rate up
/// to the maximum is promised (CCID 1.1, clause 5.1). A reader that changes the clock by itself may reach a
/// rate of its list that way. Makers round, by as much as D bits per second.
pub(super) fn can_do(model: &Model, clock_hz: u32, rate: Rate) -> bool {
    let descriptor = &model.descriptor;
    let slack = u32::from(rate.d).max(2);
    let bps = rate.bits_per_second(clock_hz);
    if bps == Rate::DEFAULT.bits_per_second(clock_hz) {
        return true;
    }
    let is_rate = |listed: &&u32| (1_000..=2_000_000).contains(*listed);
    let listed: Vec<u32> = model.data_rates_bps.iter().filter(is_rate).copied().collect();
    let announced = usize::from(descriptor.data_rate_count);
    if announced == 0 || listed.len() < announced {
        return bps <= descriptor.max_data_rate_bps.saturating_add(slack);
    }
    let fastest_hz = if descriptor.features.has(Features::AUTOMATIC_CLOCK) {
        descriptor.max_clock_khz.saturating_mul(1000).max(clock_hz)
    } else {
        clock_hz
    };
    let reach = bps.saturating_sub(slack)..=rate.bits_per_second(fastest_hz).saturating_add(slack);
    listed.iter().any(|rate| reach.contains(rate))
}

/// The F and D that give `bps` bits per second at this clock, within half a percent.
pub(super) fn find(clock_hz: u32, bps: u32) -> Option<Rate> {
    (0x01..=0xD9)
        .filter_map(Rate::from_ta1)
        .map(|rate| (rate.bits_per_second(clock_hz).abs_diff(bps), rate))
        .min_by_key(|(difference, _)| *difference)
        .filter(|(difference, _)| u64::from(*difference) * 200 <= u64::from(bps))
        .map(|(_, rate)| rate)
}

/// The fastest TA1 byte with the card's F and at most its D that the reader can do.
pub(super) fn fastest(model: &Model, clock_hz: u32, ta1: u8) -> u8 {
    let Some(card) = Rate::from_ta1(ta1) else {
        return 0x11;
    };
    (1..=9)
        .map(|index| ta1 & 0xF0 | index)
        .filter_map(|byte| Some((byte, Rate::from_ta1(byte)?)))
        .filter(|(_, rate)| rate.d <= card.d && can_do(model, clock_hz, *rate))
        .filter(|(_, rate)| rate.bits_per_second(clock_hz) > Rate::DEFAULT.bits_per_second(clock_hz))
        .max_by_key(|(_, rate)| rate.d)
        .map_or(0x11, |(byte, _)| byte)
}
