//! ATRs of cards to insert (ISO 7816-3 clause 8).

/// T=0 only: no TD1, so no check byte either. Historical bytes "T=0!".
pub const T0: &[u8] = &[0x3B, 0x04, b'T', b'=', b'0', b'!'];

/// T=1 only. Historical bytes "T=1!".
pub const T1: &[u8] = &checked([0x3B, 0x84, 0x01, b'T', b'=', b'1', b'!', 0]);

/// T=0 and T=1, at F=512, D=32 (TA1=96), IFSC 254 (TA3). Historical bytes "both".
pub const T0_T1: &[u8] = &checked([
    0x3B, 0x94, 0x96, 0x80, 0x31, 0xFE, 0x45, b'b', b'o', b't', b'h', 0,
]);

/// A contactless storage card, a MIFARE Classic 1K, as PC/SC part 3 clause 3.1.3.2.3 builds its ATR.
pub const CONTACTLESS: &[u8] = &checked([
    0x3B, 0x8F, 0x80, 0x01, 0x80, 0x4F, 0x0C, 0xA0, 0x00, 0x00, 0x03, 0x06, 0x03, 0x00, 0x01, 0x00, 0x00,
    0x00, 0x00, 0,
]);

/// Sets the last byte to TCK, with which the exclusive-or of all bytes but TS is 0 (clause 8.2.5).
const fn checked<const N: usize>(mut atr: [u8; N]) -> [u8; N] {
    let mut i = 1;
    while i < N - 1 {
        atr[N - 1] ^= atr[i];
        i += 1;
    }
    atr
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{PROTOCOL_T0, PROTOCOL_T1};
    use crate::card::protocols;

    #[test]
    fn check_byte_is_the_published_one() {
        assert_eq!(CONTACTLESS.last(), Some(&0x6A));
    }

    #[test]
    fn each_offers_what_its_name_says() {
        assert_eq!(protocols(T0), PROTOCOL_T0);
        assert_eq!(protocols(T1), PROTOCOL_T1);
        assert_eq!(protocols(T0_T1), PROTOCOL_T0 | PROTOCOL_T1);
        assert_eq!(protocols(CONTACTLESS), PROTOCOL_T0 | PROTOCOL_T1);
    }
}
