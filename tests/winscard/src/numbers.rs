//! The numbers of Windows for those of PC/SC Lite, which the simulation has.

use pcsc_constants as lite;

/// `SCARD_E_UNSUPPORTED_FEATURE`.
const UNSUPPORTED_FEATURE: u32 = 0x8010_0022;

/// The return code for one of PC/SC Lite.
pub fn code(code: u32) -> i32 {
    match code {
        lite::SCARD_E_UNSUPPORTED_FEATURE => UNSUPPORTED_FEATURE as i32,
        other => other as i32,
    }
}

/// PC/SC Lite's number for protocols.
pub fn protocols(protocols: u32) -> u32 {
    const RAW: u32 = 0x0001_0000;
    match protocols & RAW {
        0 => protocols,
        _ => protocols - RAW + lite::SCARD_PROTOCOL_RAW,
    }
}

/// The one state that a card is in.
pub fn card_state(bits: u32) -> u32 {
    let states = [
        (lite::SCARD_SPECIFIC, 6),
        (lite::SCARD_NEGOTIABLE, 5),
        (lite::SCARD_POWERED, 4),
        (lite::SCARD_SWALLOWED, 3),
        (lite::SCARD_PRESENT, 2),
        (lite::SCARD_ABSENT, 1),
    ];
    let state = states.iter().find(|(bit, _)| bits & bit != 0);
    state.map_or(0, |(_, state)| *state)
}
