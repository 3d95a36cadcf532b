//! The handles that C programs hold: numbers that name a context or a card, and nothing once it is gone.
//!
//! A handle is 31 bits: 13 of use count, 2 of kind, 16 of slot number. A stale handle misses, because its
//! slot's use count has moved on; a handle of the other kind misses, because the kind differs. Lookups
//! lock their own slot only, for as long as it takes to count a reference.

use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pcsc_client::backend::{process_generation, Session};
use pcsc_client::ffi::LONG;
use pcsc_client::Error;

const CONTEXTS: usize = 4096;
const CARDS: usize = 16384;
const SLOT_BITS: u32 = 16;
const KIND_BITS: u32 = 2;
const USES: u32 = 1 << 13;

/// A context and the handles of its cards.
#[derive(Debug)]
pub struct Context {
    pub session: Session,
    /// `None` once the context is forgotten.
    cards: Mutex<Option<Vec<LONG>>>,
}

/// A connection to a card.
#[derive(Debug)]
pub struct Card {
    pub context: Arc<Context>,
    /// The daemon's number for the connection.
    pub number: i32,
    /// The reader's name as the caller gave it.
    pub reader: Vec<u8>,
}

struct Slot<T> {
    state: Mutex<(u32, Option<Arc<T>>)>,
}

impl<T> Slot<T> {
    const fn new() -> Slot<T> {
        Slot {
            state: Mutex::new((0, None)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, (u32, Option<Arc<T>>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Table<T: 'static> {
    kind: u32,
    slots: &'static [Slot<T>],
    next: AtomicUsize,
}

impl<T> Table<T> {
    const fn new(kind: u32, slots: &'static [Slot<T>]) -> Table<T> {
        Table {
            kind,
            slots,
            next: AtomicUsize::new(0),
        }
    }

    /// Takes a free slot: of the first few, going round, so that a slot is used again late and most of the
    /// table's memory is never touched; of all where those are taken.
    fn insert(&self, value: Arc<T>) -> Option<LONG> {
        const FEW: usize = 256;
        let few = FEW.min(self.slots.len());
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let going_round = (0..few).map(|step| first.wrapping_add(step) % few);
        for index in going_round.chain(few..self.slots.len()) {
            let mut state = self.slots[index].lock();
            if state.1.is_none() {
                state.0 = state.0 % (USES - 1) + 1;
                state.1 = Some(value);
                let handle = ((state.0 << KIND_BITS | self.kind) << SLOT_BITS) | index as u32;
                return Some(handle as LONG);
            }
        }
        None
    }

    fn slot(&self, handle: LONG) -> Option<(&Slot<T>, u32)> {
        let handle = u32::try_from(handle).ok()?;
        let slot = self.slots.get((handle & ((1 << SLOT_BITS) - 1)) as usize)?;
        let kind = handle >> SLOT_BITS & ((1 << KIND_BITS) - 1);
        (kind == self.kind).then_some((slot, handle >> (SLOT_BITS + KIND_BITS)))
    }

    fn get(&self, handle: LONG) -> Option<Arc<T>> {
        let (slot, uses) = self.slot(handle)?;
        let state = slot.lock();
        if state.0 == uses {
            state.1.clone()
        } else {
            None
        }
    }

    fn remove(&self, handle: LONG) -> Option<Arc<T>> {
        let (slot, uses) = self.slot(handle)?;
        let mut state = slot.lock();
        if state.0 == uses {
            state.1.take()
        } else {
            None
        }
    }
}

/// All handles of a process.
pub struct Registry {
    generation: u32,
    contexts: Table<Context>,
    cards: Table<Card>,
}

impl Registry {
    /// Registers a context; `None` when the table is full.
    pub fn add_context(&self, session: Session) -> Option<LONG> {
        self.contexts.insert(Arc::new(Context {
            session,
            cards: Mutex::new(Some(Vec::new())),
        }))
    }

    /// The context of a handle.
    pub fn context(&self, handle: LONG) -> Option<Arc<Context>> {
        self.contexts.get(handle)
    }

    /// Forgets a context and its cards.
    pub fn remove_context(&self, handle: LONG) -> Option<Arc<Context>> {
        let context = self.contexts.remove(handle)?;
        for card in lock(&context.cards).take().into_iter().flatten() {
            self.cards.remove(card);
        }
        Some(context)
    }

    /// Registers a card of a context.
    ///
    /// # Errors
    /// [`Error::NoMemory`] when the table is full, [`Error::InvalidHandle`] if the context was forgotten meanwhile.
    pub fn add_card(&self, context: &Arc<Context>, number: i32, reader: &[u8]) -> Result<LONG, Error> {
        let card = Card {
            context: context.clone(),
            number,
            reader: reader.to_vec(),
        };
        let mut cards = lock(&context.cards);
        let cards = cards.as_mut().ok_or(Error::InvalidHandle)?;
        let handle = self.cards.insert(Arc::new(card)).ok_or(Error::NoMemory)?;
        cards.push(handle);
        Ok(handle)
    }

    /// The card of a handle.
    pub fn card(&self, handle: LONG) -> Option<Arc<Card>> {
        self.cards.get(handle)
    }

    /// Forgets a card.
    pub fn remove_card(&self, handle: LONG) {
        if let Some(card) = self.cards.remove(handle) {
            if let Some(cards) = lock(&card.context.cards).as_mut() {
                cards.retain(|other| *other != handle);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The handles of this process. A forked child gets a registry of its own, empty: its parent's handles
/// mean nothing to it, and a slot that was locked at the moment of the fork cannot stop it.
pub fn registry() -> &'static Registry {
    static CONTEXT_SLOTS: [Slot<Context>; CONTEXTS] = [const { Slot::new() }; CONTEXTS];
    static CARD_SLOTS: [Slot<Card>; CARDS] = [const { Slot::new() }; CARDS];
    static FIRST: Registry = Registry {
        generation: 0,
        contexts: Table::new(1, &CONTEXT_SLOTS),
        cards: Table::new(2, &CARD_SLOTS),
    };
    static FIRST_GENERATION: AtomicU32 = AtomicU32::new(0);

    let generation = process_generation();
    let first = match FIRST_GENERATION.load(Ordering::Relaxed) {
        0 => match FIRST_GENERATION.compare_exchange(0, generation, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => generation,
            Err(first) => first,
        },
        first => first,
    };
    if first == generation {
        return &FIRST;
    }
    childs_registry(generation)
}

fn childs_registry(generation: u32) -> &'static Registry {
    static CURRENT: AtomicPtr<Registry> = AtomicPtr::new(std::ptr::null_mut());
    let mut current = CURRENT.load(Ordering::Acquire);
    loop {
        // SAFETY: a pointer in CURRENT is null or that of a registry that was leaked below.
        if let Some(registry) = unsafe { current.as_ref() }.filter(|found| found.generation == generation) {
            return registry;
        }
        let fresh = Box::into_raw(Box::new(Registry {
            generation,
            contexts: Table::new(1, leaked_slots(CONTEXTS)),
            cards: Table::new(2, leaked_slots(CARDS)),
        }));
        match CURRENT.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => current = fresh,
            Err(other) => current = other,
        }
    }
}

fn leaked_slots<T>(count: usize) -> &'static [Slot<T>] {
    Vec::leak((0..count).map(|_| Slot::new()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcsc_client::backend::{Choice, Options};

    fn table(slots: usize) -> Table<u32> {
        Table::new(2, leaked_slots(slots))
    }

    #[test]
    fn stale_and_foreign_handles_miss() {
        let table = table(3);
        let first = table.insert(Arc::new(7)).unwrap();
        assert!(first > 0);
        assert_eq!(table.get(first).as_deref(), Some(&7));
        let other_kind = first ^ (3 << SLOT_BITS);
        for foreign in [
            0,
            -1,
            1,
            first + 1,
            other_kind,
            LONG::MAX,
            LONG::MIN,
            first | 1 << 33,
        ] {
            assert!(table.get(foreign).is_none(), "{foreign:#x}");
            assert!(table.remove(foreign).is_none(), "{foreign:#x}");
        }
        assert!(table.remove(first).is_some());
        assert!(table.get(first).is_none() && table.remove(first).is_none());
    }

    #[test]
    fn a_slot_is_used_again_under_another_handle_until_the_table_is_full() {
        let table = table(3);
        let mut seen = std::collections::HashSet::new();
        for round in 0..1000 {
            let handle = table.insert(Arc::new(round)).unwrap();
            assert!(seen.insert(handle));
            assert!(table.remove(handle).is_some());
        }
        let all: Vec<_> = (0..3)
            .map(|value| table.insert(Arc::new(value)).unwrap())
            .collect();
        assert_eq!(table.insert(Arc::new(3)), None);
        table.remove(all[1]);
        assert!(table.insert(Arc::new(3)).is_some());
    }

    #[test]
    fn a_card_of_a_context_that_was_forgotten_meanwhile_gets_no_handle() {
        let options = Options {
            backend: Choice::Simulated,
            ..Options::default()
        };
        let handle = registry().add_context(Session::establish(&options).unwrap());
        let context = registry().context(handle.unwrap()).unwrap();
        let card = registry().add_card(&context, 1, b"reader").unwrap();
        registry().remove_context(handle.unwrap());
        assert!(registry().card(card).is_none());
        assert_eq!(
            registry().add_card(&context, 2, b"reader"),
            Err(Error::InvalidHandle)
        );
        assert_eq!(Arc::strong_count(&context), 1);
    }
}
