//! The lengths of ICCD devices' answers on the control pipe (ICCD 1.0, clause 6).
//!
//! EFI_USB_IO_PROTOCOL does not return how many bytes of a control transfer came, and most answers have no
//! length in them. The buffer is filled with [`FILLING`] before the transfer; where its rest begins, and what
//! an answer of that kind must look like, give the length. Where two lengths are possible there is none.

use pcsc_ccid::descriptor::Flavour;

/// What the buffer is filled with. No status word begins with it, and few end with it.
pub const FILLING: u8 = 0xFF;

/// Requests of both versions.
pub const ICC_POWER_ON: u8 = 0x62;
/// See [`ICC_POWER_ON`].
pub const XFR_BLOCK: u8 = 0x65;
const DATA_BLOCK: u8 = 0x6F;
/// bResponseType of version B (clause 6.2.3).
const WHOLE: u8 = 0x00;
const LAST: u8 = 0x02;
const EMPTY: u8 = 0x10;
const FAILED: u8 = 0x40;
const BUSY: u8 = 0x80;

/// Whether a request asks for as much as there is. The others ask for as many bytes as will come.
pub fn asks_for_any(flavour: Flavour, request: u8) -> bool {
    matches!(
        (flavour, request),
        (Flavour::IccdA, ICC_POWER_ON) | (Flavour::IccdB, DATA_BLOCK)
    )
}

/// The length of the answer to `request` in a buffer that it did not fill. `command` is the last request that
/// the card was sent.
pub fn length(flavour: Flavour, command: u8, request: u8, buffer: &[u8]) -> Option<usize> {
    // The least length: all that follows is filling.
    let least = buffer
        .iter()
        .rposition(|byte| *byte != FILLING)
        .map_or(0, |last| last + 1);
    match (flavour, request, buffer.first()?) {
        (Flavour::IccdA, ICC_POWER_ON, _) => Some(atr(buffer).max(least)),
        (Flavour::IccdB, DATA_BLOCK, &(WHOLE | LAST)) if command == ICC_POWER_ON => {
            Some(1 + atr(&buffer[1..]).max(least.saturating_sub(1)))
        }
        (Flavour::IccdB, DATA_BLOCK, &(WHOLE | LAST)) if command == XFR_BLOCK => {
            response(&buffer[1..], least.saturating_sub(1)).map(|length| 1 + length)
        }
        // The status and the error.
        (Flavour::IccdB, DATA_BLOCK, &FAILED) => Some(least.max(3)),
        (Flavour::IccdB, DATA_BLOCK, &(EMPTY | BUSY)) => Some(least),
        // A part of a longer answer ends with any byte.
        _ => None,
    }
    .filter(|length| *length <= buffer.len())
}

/// The length of a response APDU of `least` bytes or more.
fn response(bytes: &[u8], least: usize) -> Option<usize> {
    let at = |index: Option<usize>| index.and_then(|index| bytes.get(index)).copied();
    // SW1 is no filling: at most SW2 is.
    let is_whole = matches!(at(least.checked_sub(2)), Some(0x61..=0x6F | 0x90..=0x9F));
    // The status words that have any SW2 (ISO 7816-4, clause 5.6, and 9Fxx of SIM cards).
    let lacks_sw2 = matches!(at(least.checked_sub(1)), Some(0x61 | 0x6C | 0x9F));
    match (is_whole, lacks_sw2) {
        (true, false) => Some(least),
        (false, true) => Some(least + 1),
        _ => None,
    }
}

/// The length that an ATR gives itself (ISO 7816-3, clause 8.2): TS, T0, interface bytes, historical bytes
/// and TCK where a protocol other than T=0 is offered.
fn atr(bytes: &[u8]) -> usize {
    let t0 = bytes.get(1).copied().unwrap_or(0);
    let mut length = 2;
    let mut indicator = t0;
    let mut has_check = false;
    loop {
        length += (indicator >> 4).count_ones() as usize;
        if indicator & 0x80 == 0 {
            break;
        }
        let Some(next) = bytes.get(length - 1) else {
            break;
        };
        indicator = *next;
        has_check |= indicator & 0x0F != 0;
    }
    length + usize::from(t0 & 0x0F) + usize::from(has_check)
}
