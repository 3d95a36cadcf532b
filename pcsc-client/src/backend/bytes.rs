//! Bytes of a limited number, without an allocation.

use std::fmt;
use std::ops::Deref;

/// Up to `N` bytes. As a slice it has those that are used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bytes<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

/// An ATR (ISO 7816-3, clause 8.1).
pub type AtrBytes = Bytes<33>;
/// The value of an attribute.
pub type AttributeValue = Bytes<{ pcsc_wire::ATTRIBUTE_SIZE }>;

impl<const N: usize> Bytes<N> {
    /// The first `length` bytes of an array, or all of them if it has fewer.
    pub(crate) fn of_array(bytes: [u8; N], length: usize) -> Bytes<N> {
        let length = length.min(N);
        Bytes { bytes, length }
    }
}

impl<const N: usize> From<&[u8]> for Bytes<N> {
    /// Copies the slice, or its first `N` bytes.
    fn from(slice: &[u8]) -> Bytes<N> {
        let length = slice.len().min(N);
        let mut bytes = [0; N];
        bytes[..length].copy_from_slice(&slice[..length]);
        Bytes { bytes, length }
    }
}

impl<const N: usize> Default for Bytes<N> {
    fn default() -> Bytes<N> {
        Bytes::from(&[][..])
    }
}

impl<const N: usize> Deref for Bytes<N> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl<const N: usize> fmt::Debug for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02X?}", &**self)
    }
}
