//! The active configuration among a device's descriptors.

use crate::descriptor::{interfaces, Interface, Unusable};
use std::vec::Vec;

/// Finds a configuration, by its value, behind a device descriptor (USB 2.0, clause 9.6).
fn configuration(descriptors: &[u8], value: u8) -> Option<&[u8]> {
    let mut rest = descriptors.get(usize::from(*descriptors.first()?)..)?;
    while let [_, 2, low, high, _, this, ..] = *rest {
        let total = usize::from(u16::from_le_bytes([low, high]));
        if this == value {
            return Some(rest.get(..total).unwrap_or(rest));
        }
        rest = rest.get(total..).filter(|_| total > 0)?;
    }
    None
}

/// The readers among a configuration's interfaces, and the unusable ones.
pub(super) fn readers(descriptors: &[u8], value: u8) -> Vec<Result<Interface, Unusable>> {
    configuration(descriptors, value)
        .map(interfaces)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_configuration_is_found_by_its_value() {
        let mut bytes = std::vec![18, 1];
        bytes.resize(18, 0);
        bytes.extend([9, 2, 12, 0, 1, 5, 0, 0, 0, 3, 0x99, 1]);
        bytes.extend([9, 2, 10, 0, 1, 6, 0, 0, 0, 7]);
        assert_eq!(configuration(&bytes, 5).map(<[u8]>::len), Some(12));
        assert_eq!(configuration(&bytes, 6).and_then(<[u8]>::last), Some(&7));
        assert_eq!(configuration(&bytes, 7), None);
        // One that ends early is as long as it is.
        assert_eq!(configuration(&bytes[..35], 6).map(<[u8]>::len), None);
        assert_eq!(configuration(&bytes[..38], 6).map(<[u8]>::len), Some(8));
    }

    proptest! {
        #[test]
        fn no_descriptors_hang_or_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            value: u8,
        ) {
            configuration(&bytes, value);
            for at in (0..bytes.len()).step_by(9) {
                bytes[at] = 9;
                if let Some(kind) = bytes.get_mut(at + 1) {
                    *kind = 2;
                }
            }
            readers(&bytes, value);
        }
    }
}
