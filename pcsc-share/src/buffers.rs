//! Buffers for answers with responses of cards.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use pcsc_wire::{Body, ControlBody, TransmitBody, MAX_PAYLOAD};
use zeroize::Zeroize;

use crate::sync::lock;

/// The longest answer.
const SIZE: usize = TransmitBody::SIZE + MAX_PAYLOAD;
const _: () = assert!(TransmitBody::SIZE >= ControlBody::SIZE);

/// How many buffers are kept that are not in use. Each takes as much memory as the longest answer that it has
/// held.
const KEPT: usize = 64;

/// A pool of buffers for answers. Programs pass receive buffers of 64 KiB for answers of a few bytes, so a
/// buffer belongs to a call in progress, not to a client. Each is zeroed when it comes back.
#[derive(Default)]
pub struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// A buffer of this length.
    pub fn take(&self, length: usize) -> Buffer<'_> {
        let kept = lock(&self.0).pop();
        Buffer {
            bytes: kept.unwrap_or_else(|| vec![0; SIZE]),
            length: length.min(SIZE),
            pool: self,
        }
    }
}

/// A buffer in use. It may hold what the card keeps secret, and is wiped at the end.
pub struct Buffer<'a> {
    bytes: Vec<u8>,
    length: usize,
    pool: &'a Buffers,
}

impl Deref for Buffer<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        // A write to memory that stays in use is not optimized away.
        // Only what was used. The rest is zero since the buffer was made or came back.
        bytes[..self.length].fill(0);
        let mut kept = lock(&self.pool.0);
        if kept.len() < KEPT {
            kept.push(bytes);
        } else {
            drop(kept);
            bytes.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_wiped_and_used_again() {
        let buffers = Buffers::default();
        let mut first = buffers.take(usize::MAX);
        assert_eq!(first.len(), SIZE);
        first.fill(b'P');
        let second = buffers.take(3);
        assert_eq!(*second, [0; 3]);
        drop(first);
        assert_eq!(lock(&buffers.0).len(), 1);
        assert!(buffers.take(SIZE).iter().all(|byte| *byte == 0));
        drop(second);
        let all: Vec<_> = (0..KEPT + 1).map(|_| buffers.take(1)).collect();
        assert!(lock(&buffers.0).is_empty());
        drop(all);
        assert_eq!(lock(&buffers.0).len(), KEPT);
    }
}
