//! The answer to a size query, kept for the call with a buffer that follows it.
//!
//! Callers of `SCardListReaders` and `SCardGetAttrib` often ask for the size first. The first answer serves
//! both calls: the pair costs one round trip, and a reader that is plugged in between does not make the
//! second call fail. To the caller this is as if the second call had come earlier. The answer is dropped
//! after one call, after a short time, and when another call of the context ends, whose result could
//! contradict it.
//!
//! `SCardStatus` does not work like that: it also reports whether the card was reset or removed, which must
//! be true when it is reported. Neither do the attributes that describe the card.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::bytes::AttributeValue;

/// How long an answer is kept.
// Two calls of a program in a row are microseconds apart. The list must not be older than a user notices.
const KEPT_FOR: Duration = Duration::from_millis(100);

/// An answer with the time when it came.
#[derive(Debug, Default)]
pub struct SizeQuery {
    /// Whether there is an answer. Other calls read this instead of the lock.
    is_kept: AtomicBool,
    kept: Mutex<Option<(Instant, KeptAnswer)>>,
}

/// What is kept. An attribute's value is not boxed: that would need an allocation, which can fail.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptAnswer {
    /// The readers' names, each with a NUL, and one more NUL.
    Readers(Vec<u8>),
    /// The value of an attribute, by connection and number.
    Attribute((i32, u32), AttributeValue),
}

impl SizeQuery {
    pub fn keep(&self, answer: KeptAnswer) {
        // Not `lock`: another thread may have held it at the time of a fork, and no thread of the child
        // unlocks it.
        if let Ok(mut kept) = self.kept.try_lock() {
            *kept = Some((Instant::now(), answer));
            self.is_kept.store(true, Ordering::Release);
        }
    }

    /// Removes the answer that was kept. Returns it if it is not too old.
    pub fn take(&self) -> Option<KeptAnswer> {
        if !self.is_kept.load(Ordering::Acquire) {
            return None;
        }
        let mut kept = self.kept.try_lock().ok()?;
        self.is_kept.store(false, Ordering::Release);
        let (since, answer) = kept.take()?;
        (since.elapsed() < KEPT_FOR).then_some(answer)
    }
}

/// Whether an attribute belongs to the reader, so that its size and its value may come from one answer. Those
/// of class 9, ICC state, describe the card (PC/SC part 3, clause 3.1.4).
pub fn is_of_reader(attribute: u32) -> bool {
    const ICC_STATE: u32 = 9;
    attribute >> 16 != ICC_STATE
}
