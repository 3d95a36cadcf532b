//! A table of values that are named by handles, without locks.
//!
//! A handle is 31 bits: 13 of use count, 2 of kind, 16 of slot number. A stale handle is refused, because
//! the slot's use count has moved on; a handle of another kind is refused, because the kind differs.
//!
//! Each slot has one atomic word, [`Word`]. A call that uses a value counts itself there; the value is
//! freed by the last call that leaves after the handle was removed. No operation waits for another, so that
//! a signal handler may look up a handle in the middle of any other operation of the same thread.

use std::cell::UnsafeCell;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use pcsc_client::ffi::LONG;

const SLOT_BITS: u32 = 16;
const KIND_BITS: u32 = 2;
const USES_BITS: u32 = 13;

/// The state of a slot: how many calls use the value (17 bits), two flags, and the use count (13 bits).
///
/// | flags | meaning |
/// |---|---|
/// | none, no user | empty |
/// | none, one user | one thread alone writes or frees the value |
/// | `FULL`, `LIVE` | the handle is valid |
/// | `FULL` | the handle was removed; the last user frees the value |
type Word = u32;
const USER: Word = 1;
const USERS: Word = (1 << 17) - 1;
const LIVE: Word = 1 << 17;
const FULL: Word = 1 << 18;
const FLAGS: Word = LIVE | FULL;
const USES: u32 = 19;

/// A place for one value. All zero bytes are an empty one.
pub struct Slot<T> {
    word: AtomicU32,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is shared between the threads that use it, and is dropped by any of them. The word
// gives one thread at a time the right to write it.
unsafe impl<T: Send + Sync> Sync for Slot<T> {}

impl<T> Slot<T> {
    pub const fn new() -> Slot<T> {
        Slot {
            word: AtomicU32::new(0),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Changes the word by `change`. Returns the word before; `None` if `change` returns `None`.
    #[allow(
        deprecated,
        reason = "`try_update`, its new name, is younger than the oldest Rust supported"
    )]
    fn update(&self, change: impl FnMut(Word) -> Option<Word>) -> Option<Word> {
        self.word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, change)
            .ok()
    }

    /// Frees the value if its handle was removed and no call uses it.
    fn free(&self) {
        let is_ours = self.update(|word| match word & (FLAGS | USERS) {
            FULL => Some((word & !FULL) | USER),
            _ => None,
        });
        if is_ours.is_some() {
            // SAFETY: `FULL` was set, so there is a value. Without a flag and with one user, only this thread
            // accesses it.
            unsafe { (*self.value.get()).assume_init_drop() };
            self.word.fetch_sub(USER, Ordering::Release);
        }
    }
}

/// A value in use. It is not freed before this is dropped.
pub struct InUse<T: 'static> {
    slot: &'static Slot<T>,
}

/// A value in use by a signal handler, which may have interrupted the allocator. The end of this use frees
/// nothing: a value whose handle was removed is freed when its slot is needed.
pub struct InSignalHandler<T: 'static>(ManuallyDrop<InUse<T>>);

impl<T> Deref for InSignalHandler<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for InSignalHandler<T> {
    fn drop(&mut self) {
        self.0.slot.word.fetch_sub(USER, Ordering::Release);
    }
}

impl<T> Clone for InUse<T> {
    fn clone(&self) -> InUse<T> {
        // The count does not overflow: there are fewer threads and cards than 2^17.
        // `Relaxed`: this value is in use already, so that nothing is published by it.
        self.slot.word.fetch_add(USER, Ordering::Relaxed);
        InUse { slot: self.slot }
    }
}

impl<T> Deref for InUse<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the slot was full when this was made, and it counts as a user until it is dropped.
        unsafe { (*self.slot.value.get()).assume_init_ref() }
    }
}

impl<T> Drop for InUse<T> {
    fn drop(&mut self) {
        // Release: what this thread did with the value comes before its end. Acquire: the thread that frees
        // sees what others did.
        let before = self.slot.word.fetch_sub(USER, Ordering::AcqRel);
        if before & (LIVE | USERS) == USER {
            self.slot.free();
        }
    }
}

/// All values of a kind.
pub struct Table<T: 'static> {
    kind: u32,
    slots: &'static [Slot<T>],
    next: AtomicUsize,
    /// Where to look for an empty slot when those in turn are full: behind the last one that was found so, or
    /// the lowest one that was removed since.
    hint: AtomicUsize,
}

/// The number of slots that are used in turn.
const FEW: usize = 256;
/// The number of these that are tried before the hint.
const TRIES: usize = 16;

impl<T> Table<T> {
    pub const fn new(kind: u32, slots: &'static [Slot<T>]) -> Table<T> {
        Table {
            kind,
            slots,
            next: AtomicUsize::new(0),
            hint: AtomicUsize::new(0),
        }
    }

    /// Makes a handle for a value. `Err` returns the value if the table is full.
    ///
    /// Takes a slot of the first few in turn, so that a slot is reused late and most of the table's memory
    /// is never touched. Where those are taken, any other slot: from the hint on, so that the cost does not
    /// grow with the number of handles.
    pub fn insert(&self, value: T) -> Result<LONG, T> {
        let few = FEW.min(self.slots.len());
        // `Relaxed`: a hint where to begin. The slot's own word decides.
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..few.min(TRIES)).map(|step| first.wrapping_add(step) % few);
        let hint = self.hint.load(Ordering::Relaxed).min(self.slots.len());
        for (step, index) in in_turn.chain(hint..self.slots.len()).chain(0..hint).enumerate() {
            let slot = &self.slots[index];
            // A value that a signal handler has left is still in it.
            slot.free();
            let taken = slot.update(|word| (word & (FLAGS | USERS) == 0).then_some(word | USER));
            if let Some(word) = taken {
                // SAFETY: without a flag and with one user, only this thread accesses the empty slot.
                unsafe { (*slot.value.get()).write(value) };
                if step >= TRIES {
                    self.hint.store(index + 1, Ordering::Relaxed);
                }
                // A handle is never 0.
                let uses = (word >> USES) % ((1 << USES_BITS) - 1) + 1;
                slot.word.store(uses << USES | FLAGS, Ordering::Release);
                let handle = ((uses << KIND_BITS | self.kind) << SLOT_BITS) | index as u32;
                return Ok(handle as LONG);
            }
        }
        Err(value)
    }

    /// The slot of a handle, and the flags and the use count that it has while the handle is valid.
    fn slot(&self, handle: LONG) -> Option<(&'static Slot<T>, Word)> {
        let handle = u32::try_from(handle).ok()?;
        let slot = self.slots.get((handle & ((1 << SLOT_BITS) - 1)) as usize)?;
        let kind = handle >> SLOT_BITS & ((1 << KIND_BITS) - 1);
        let uses = handle >> (SLOT_BITS + KIND_BITS);
        (kind == self.kind).then_some((slot, uses << USES | FLAGS))
    }

    /// The value of a handle.
    pub fn get(&self, handle: LONG) -> Option<InUse<T>> {
        let (slot, valid) = self.slot(handle)?;
        // Flags, use count and the count of users change in one step: between a check and a count the value
        // could be freed.
        slot.update(|word| (word & !USERS == valid && word & USERS < USERS).then_some(word + USER))?;
        Some(InUse { slot })
    }

    /// The same for a signal handler.
    pub fn get_in_signal_handler(&self, handle: LONG) -> Option<InSignalHandler<T>> {
        let user = self.get(handle)?;
        Some(InSignalHandler(ManuallyDrop::new(user)))
    }

    /// Makes a handle invalid, and returns its value to the one caller that did so.
    pub fn remove(&self, handle: LONG) -> Option<InUse<T>> {
        let (slot, valid) = self.slot(handle)?;
        slot.update(|word| {
            (word & !USERS == valid && word & USERS < USERS).then_some((word & !LIVE) + USER)
        })?;
        // The slot is empty once its last user leaves.
        let index = handle as usize & ((1 << SLOT_BITS) - 1);
        self.hint.fetch_min(index, Ordering::Relaxed);
        Some(InUse { slot })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::sync::Arc;

    fn table<T>(count: usize) -> Table<T> {
        Table::new(2, Vec::leak((0..count).map(|_| Slot::new()).collect()))
    }

    #[test]
    fn every_slot_is_found_and_found_again() {
        let count = FEW + 100;
        let table = table(count);
        let mut handles: Vec<LONG> = (0..count).map(|value| table.insert(value).unwrap()).collect();
        assert_eq!(table.insert(0), Err(0));
        for removed in [count - 1, FEW + 50, 3, 0] {
            drop(table.remove(handles.swap_remove(removed)));
            handles.push(table.insert(removed).unwrap());
            assert_eq!(table.insert(0), Err(0));
        }
    }

    #[test]
    fn an_empty_slot_is_found_without_looking_at_all() {
        let table = table(FEW + 1000);
        let handles: Vec<LONG> = (0..FEW + 500).map(|value| table.insert(value).unwrap()).collect();
        // Behind the handles in use, and where one was removed.
        assert!(table.hint.load(Ordering::Relaxed) >= FEW + 500 - TRIES);
        let removed = handles[FEW + 20];
        drop(table.remove(removed));
        let index = |handle: LONG| handle as usize & ((1 << SLOT_BITS) - 1);
        assert_eq!(table.hint.load(Ordering::Relaxed), index(removed));
        assert_eq!(index(table.insert(0).unwrap()), index(removed));
    }

    #[test]
    fn stale_and_foreign_handles_are_refused() {
        let table = table(3);
        let first = table.insert(7).unwrap();
        assert!(first > 0);
        assert_eq!(table.get(first).as_deref(), Some(&7));
        let other_kind = first ^ (3 << SLOT_BITS);
        let mut foreign = vec![0, -1, 1, first + 1, other_kind, LONG::MAX, LONG::MIN];
        foreign.extend(first.checked_add(1 << 30));
        foreign.extend(
            1_i64
                .checked_shl(33)
                .and_then(|high| LONG::try_from(high).ok())
                .map(|high| first | high),
        );
        for foreign in foreign {
            assert!(table.get(foreign).is_none(), "{foreign:#x}");
            assert!(table.remove(foreign).is_none(), "{foreign:#x}");
        }
        assert!(table.remove(first).is_some());
        assert!(table.get(first).is_none() && table.remove(first).is_none());
    }

    #[test]
    fn a_handle_has_31_bits_and_is_not_0_however_often_its_slot_was_used() {
        let table = table(1);
        let last = (1 << USES_BITS) - 1;
        table.slots[0].word.store((last - 2) << USES, Ordering::Relaxed);
        for round in 0..5 {
            let handle = table.insert(round).unwrap();
            assert!(handle > 0 && handle as u64 >> 31 == 0, "{handle:#x}");
            assert_eq!(table.remove(handle).as_deref(), Some(&round));
        }
    }

    #[test]
    fn a_slot_is_reused_under_another_handle_until_the_table_is_full() {
        let table = table(3);
        let mut seen = std::collections::HashSet::new();
        for round in 0..1000 {
            let handle = table.insert(round).unwrap();
            assert!(seen.insert(handle));
            assert!(table.remove(handle).is_some());
        }
        let all: Vec<_> = (0..3).map(|value| table.insert(value).unwrap()).collect();
        assert_eq!(table.insert(3), Err(3));
        table.remove(all[1]);
        assert!(table.insert(3).is_ok());
    }

    /// Sets a flag when it is dropped.
    struct Flag(Arc<AtomicBool>);

    impl Drop for Flag {
        fn drop(&mut self) {
            assert!(!self.0.swap(true, Ordering::SeqCst), "dropped twice");
        }
    }

    fn flag() -> (Flag, Arc<AtomicBool>) {
        let dropped = Arc::new(AtomicBool::new(false));
        (Flag(dropped.clone()), dropped)
    }

    #[test]
    fn a_removed_value_lives_until_its_last_user_leaves() {
        let table = table(1);
        let (value, dropped) = flag();
        let handle = table.insert(value).ok().unwrap();
        let user = table.get(handle).unwrap();
        drop(table.get(handle));
        drop(table.remove(handle).unwrap());
        assert!(table.get(handle).is_none());
        assert!(table.insert(flag().0).is_err());
        assert!(!dropped.load(Ordering::SeqCst));
        drop(user);
        assert!(dropped.load(Ordering::SeqCst));
        assert!(table.insert(flag().0).is_ok());
    }

    #[test]
    fn a_signal_handler_frees_nothing_and_the_next_insertion_does() {
        let table = table(1);
        let (value, dropped) = flag();
        let handle = table.insert(value).ok().unwrap();
        let user = table.get_in_signal_handler(handle).unwrap();
        drop(table.remove(handle));
        assert!(!user.0 .0.load(Ordering::SeqCst));
        drop(user);
        assert!(!dropped.load(Ordering::SeqCst));
        assert!(table.insert(flag().0).is_ok());
        assert!(dropped.load(Ordering::SeqCst));
    }

    #[test]
    fn threads_insert_use_and_remove_at_once() {
        const ROUNDS: usize = if cfg!(miri) { 20 } else { 20_000 };
        let table = table(2);
        let shared = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..ROUNDS {
                        if let Ok(handle) = table.insert(Box::new(round)) {
                            shared.store(handle as usize, Ordering::SeqCst);
                        }
                        let handle = shared.load(Ordering::SeqCst) as LONG;
                        if let Some(user) = table.get(handle) {
                            assert!(**user < ROUNDS);
                        }
                        if let Some(user) = table.get_in_signal_handler(handle).filter(|_| round % 3 == 0) {
                            assert!(**user < ROUNDS);
                        }
                        drop(table.remove(handle));
                    }
                });
            }
        });
        // Handles that were overwritten in `shared` before they were removed are still valid; all
        // others are not, and no slot is left in use.
        for slot in table.slots {
            slot.free();
            let word = slot.word.load(Ordering::SeqCst);
            assert_eq!(word & USERS, 0);
            assert!(word & FLAGS == FLAGS || word & FLAGS == 0, "{word:#x}");
        }
    }
}
