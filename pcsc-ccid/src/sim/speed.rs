//! Which rates a reader can do.

use super::model::Model;
use crate::card::Rate;

/// Whether the reader's clock and UART make this rate. 372/1 is always among them; else the maximum and,
/// where there is one, the list decide. Makers round: 2 bits per second are let pass.
pub(super) fn can_do(model: &Model, clock_hz: u32, rate: Rate) -> bool {
    let default = Rate::DEFAULT.bits_per_second(clock_hz);
    let bps = rate.bits_per_second(clock_hz);
    if bps == default {
        return true;
    }
    bps <= model.descriptor.max_data_rate_bps.saturating_add(2)
        && (model.data_rates_bps.is_empty()
            || model
                .data_rates_bps
                .iter()
                .any(|listed| listed.abs_diff(bps) <= 2))
}

/// The F and D that make so many bits per second, up to half a percent.
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
