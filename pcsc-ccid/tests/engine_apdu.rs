//! Command APDUs: the cases, short and extended, and what is none.

use pcsc_ccid::apdu::{split_response, ApduError, Case, CommandApdu};

fn parse(apdu: &[u8]) -> Result<(Case, usize, Option<usize>, bool), ApduError> {
    CommandApdu::parse(apdu).map(|c| (c.case(), c.data.len(), c.ne, c.extended))
}

fn apdu(lc: &[u8], nc: usize, le: &[u8]) -> Vec<u8> {
    let data = (0..nc).map(|i| i as u8);
    [0x00, 0xA4, 0x04, 0x0C]
        .iter()
        .chain(lc)
        .copied()
        .chain(data)
        .chain(le.iter().copied())
        .collect()
}

#[test]
fn short_cases() {
    assert_eq!(parse(&apdu(&[], 0, &[])), Ok((Case::One, 0, None, false)));
    assert_eq!(parse(&apdu(&[], 0, &[1])), Ok((Case::Two, 0, Some(1), false)));
    assert_eq!(parse(&apdu(&[], 0, &[0])), Ok((Case::Two, 0, Some(256), false)));
    for nc in 1..=255 {
        assert_eq!(
            parse(&apdu(&[nc], nc.into(), &[])),
            Ok((Case::Three, nc.into(), None, false))
        );
        assert_eq!(
            parse(&apdu(&[nc], nc.into(), &[0])),
            Ok((Case::Four, nc.into(), Some(256), false))
        );
        assert_eq!(
            parse(&apdu(&[nc], nc.into(), &[9])),
            Ok((Case::Four, nc.into(), Some(9), false))
        );
    }
}

#[test]
fn extended_cases() {
    assert_eq!(
        parse(&apdu(&[], 0, &[0, 0, 1])),
        Ok((Case::Two, 0, Some(1), true))
    );
    assert_eq!(
        parse(&apdu(&[], 0, &[0, 0, 0])),
        Ok((Case::Two, 0, Some(65_536), true))
    );
    assert_eq!(
        parse(&apdu(&[], 0, &[0, 0xFF, 0xFF])),
        Ok((Case::Two, 0, Some(65_535), true))
    );
    for nc in [1u16, 2, 255, 256, 65_535] {
        let [high, low] = nc.to_be_bytes();
        let n = usize::from(nc);
        assert_eq!(
            parse(&apdu(&[0, high, low], n, &[])),
            Ok((Case::Three, n, None, true))
        );
        assert_eq!(
            parse(&apdu(&[0, high, low], n, &[1, 0])),
            Ok((Case::Four, n, Some(256), true))
        );
        assert_eq!(
            parse(&apdu(&[0, high, low], n, &[0, 0])),
            Ok((Case::Four, n, Some(65_536), true))
        );
    }
}

#[test]
fn what_fits_short_lengths() {
    assert!(CommandApdu::parse(&apdu(&[0, 0, 255], 255, &[1, 0]))
        .unwrap()
        .fits_short());
    assert!(!CommandApdu::parse(&apdu(&[0, 1, 0], 256, &[]))
        .unwrap()
        .fits_short());
    assert!(!CommandApdu::parse(&apdu(&[], 0, &[0, 1, 1]))
        .unwrap()
        .fits_short());
}

#[test]
fn wrong_lengths() {
    for n in 0..4 {
        assert_eq!(parse(&[0; 4][..n]), Err(ApduError::TooShort));
    }
    assert_eq!(parse(&[0xFF, 0, 0, 0]), Err(ApduError::InvalidClass));
    for (lc, nc, le) in [
        (&[5][..], 4, &[][..]),
        (&[5], 5, &[0, 0]),
        (&[0], 1, &[]),
        (&[0, 0, 0], 1, &[]),
        (&[0, 0, 5], 4, &[]),
        (&[0, 0, 5], 5, &[0]),
        (&[0, 0, 5], 5, &[0, 0, 0]),
    ] {
        assert!(
            matches!(parse(&apdu(lc, nc, le)), Err(ApduError::Length { .. })),
            "{lc:?} {nc} {le:?}"
        );
    }
}

#[test]
fn responses() {
    assert_eq!(split_response(&[1, 2, 0x90, 0x00]), Some((&[1, 2][..], 0x9000)));
    assert_eq!(split_response(&[0x6A, 0x82]), Some((&[][..], 0x6A82)));
    assert_eq!(split_response(&[0x90]), None);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_command_or_an_error(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600),
    ) {
        if let Ok(command) = CommandApdu::parse(&bytes) {
            proptest::prop_assert!(command.data.len() <= bytes.len());
            proptest::prop_assert!(matches!(command.ne, None | Some(1..=65_536)));
        }
    }
}
