//! The handles that C programs hold: numbers that name a context or a card.

use std::alloc::{alloc_zeroed, Layout};
#[cfg(feature = "spy")]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pcsc_client::ffi::LONG;
use pcsc_client::internals::Session;
use pcsc_client::Error;
use pcsc_wire as wire;

mod table;

pub use table::{InSignalHandler, InUse};
use table::{Slot, Table};

const CONTEXTS: usize = 4096;
const CARDS: usize = 16384;

/// A context and the handles of its cards.
#[derive(Debug)]
pub struct Context {
    pub session: Session,
    /// `None` once the context's handle is removed. Locked for bookkeeping at connect, disconnect and
    /// release only.
    cards: Mutex<Option<Vec<LONG>>>,
}

impl Context {
    fn cards(&self) -> MutexGuard<'_, Option<Vec<LONG>>> {
        self.cards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to a card.
pub struct Card {
    pub context: InUse<Context>,
    /// The resource manager's number for the connection.
    pub number: i32,
    reader: [u8; wire::NAME_SIZE + 1],
    reader_length: u8,
    /// Whether the answer to the last recorded command may be secret.
    #[cfg(feature = "spy")]
    was_secret: AtomicBool,
}

impl Card {
    fn new(context: InUse<Context>, number: i32, reader: &[u8]) -> Result<Card, Error> {
        let mut name = [0; wire::NAME_SIZE + 1];
        let room = name[..wire::NAME_SIZE].get_mut(..reader.len());
        room.ok_or(Error::InvalidValue)?.copy_from_slice(reader);
        Ok(Card {
            context,
            number,
            reader: name,
            reader_length: reader.len() as u8,
            #[cfg(feature = "spy")]
            was_secret: AtomicBool::new(false),
        })
    }

    /// Whether the answer to a command may be secret, for its record. Remembers it for the next command.
    #[cfg(feature = "spy")]
    pub fn answers_secret(&self, command: &[u8]) -> bool {
        let was_secret = self.was_secret.load(Ordering::Relaxed);
        let is_secret = pcsc_ccid::secrets::hides_response(command, was_secret);
        self.was_secret.store(is_secret, Ordering::Relaxed);
        is_secret
    }

    /// Nothing is recorded.
    #[cfg(not(feature = "spy"))]
    pub fn answers_secret(&self, _command: &[u8]) -> bool {
        true
    }

    /// The reader's name as the caller gave it.
    pub fn reader(&self) -> &[u8] {
        &self.reader[..usize::from(self.reader_length)]
    }

    /// The same with a NUL at its end.
    pub fn reader_nul(&self) -> &[u8] {
        &self.reader[..usize::from(self.reader_length) + 1]
    }
}

/// All handles of a process.
pub struct Registry {
    generation: u32,
    contexts: Table<Context>,
    cards: Table<Card>,
}

impl Registry {
    /// Registers a context.
    ///
    /// # Errors
    /// [`Error::NoMemory`] when the table is full.
    pub fn add_context(&self, session: Session) -> Result<LONG, Error> {
        let context = Context {
            session,
            cards: Mutex::new(Some(Vec::new())),
        };
        self.contexts.insert(context).map_err(|_| Error::NoMemory)
    }

    /// The context of a handle. Takes no lock.
    ///
    /// # Errors
    /// [`Error::InvalidHandle`].
    pub fn context(&self, handle: LONG) -> Result<InUse<Context>, Error> {
        self.contexts.get(handle).ok_or(Error::InvalidHandle)
    }

    /// Removes the handles of a context and of its cards.
    ///
    /// # Errors
    /// [`Error::InvalidHandle`].
    pub fn remove_context(&self, handle: LONG) -> Result<InUse<Context>, Error> {
        let context = self.contexts.remove(handle).ok_or(Error::InvalidHandle)?;
        // `None` from now on: a connect that is in progress finds it, and does not add a card to a context
        // that is gone.
        let cards = context.cards().take();
        for card in cards.into_iter().flatten() {
            self.cards.remove(card);
        }
        Ok(context)
    }

    /// Registers a card of a context. `reader` has at most [`wire::NAME_SIZE`] bytes.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::InvalidValue`] for a longer name, [`Error::InvalidHandle`] if the
    /// context was released meanwhile.
    pub fn add_card(&self, context: &InUse<Context>, number: i32, reader: &[u8]) -> Result<LONG, Error> {
        let card = Card::new(context.clone(), number, reader)?;
        // Held until the card is in both: a release in between would leave its handle valid.
        let mut cards = context.cards();
        let cards = cards.as_mut().ok_or(Error::InvalidHandle)?;
        cards.try_reserve(1).map_err(|_| Error::NoMemory)?;
        let handle = self.cards.insert(card).map_err(|_| Error::NoMemory)?;
        cards.push(handle);
        Ok(handle)
    }

    /// The card of a handle. Takes no lock.
    ///
    /// # Errors
    /// [`Error::InvalidHandle`].
    pub fn card(&self, handle: LONG) -> Result<InUse<Card>, Error> {
        self.cards.get(handle).ok_or(Error::InvalidHandle)
    }

    /// Removes the handle of a card.
    pub fn remove_card(&self, handle: LONG) {
        if let Some(card) = self.cards.remove(handle) {
            if let Some(cards) = card.context.cards().as_mut() {
                cards.retain(|other| *other != handle);
            }
        }
    }
}

/// The handles of this process. Takes no lock, and allocates memory only in a forked child, which has a
/// registry of its own: the handles of its parent are not valid there.
///
/// # Errors
/// [`Error::NoMemory`] in a forked child.
pub fn registry() -> Result<&'static Registry, Error> {
    match existing() {
        Ok(registry) => Ok(registry),
        Err(generation) => forked_registry(generation),
    }
}

/// The context of a handle, for signal handlers: allocates nothing, unlike [`registry`] in a forked child,
/// and frees nothing.
///
/// # Errors
/// [`Error::InvalidHandle`].
pub fn context_in_signal_handler(handle: LONG) -> Result<InSignalHandler<Context>, Error> {
    let registry = existing().map_err(|_| Error::InvalidHandle)?;
    let context = registry.contexts.get_in_signal_handler(handle);
    context.ok_or(Error::InvalidHandle)
}

/// The registry of a forked child. A later child finds its parent's here, and replaces it.
static FORKED: AtomicPtr<Registry> = AtomicPtr::new(std::ptr::null_mut());

/// The registry of this process, or its generation where there is none yet.
fn existing() -> Result<&'static Registry, u32> {
    static CONTEXT_SLOTS: [Slot<Context>; CONTEXTS] = [const { Slot::new() }; CONTEXTS];
    static CARD_SLOTS: [Slot<Card>; CARDS] = [const { Slot::new() }; CARDS];
    static FIRST: Registry = Registry {
        generation: 0,
        contexts: Table::new(1, &CONTEXT_SLOTS),
        cards: Table::new(2, &CARD_SLOTS),
    };
    static FIRST_GENERATION: AtomicU32 = AtomicU32::new(0);

    let generation = pcsc_process::generation();
    let first = match FIRST_GENERATION.load(Ordering::Relaxed) {
        0 => match FIRST_GENERATION.compare_exchange(0, generation, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => generation,
            Err(first) => first,
        },
        first => first,
    };
    // Static tables for the process that has loaded the library: no allocation, and none to free when it is
    // unloaded.
    if first == generation {
        return Ok(&FIRST);
    }
    // SAFETY: the pointer is null, or to a registry that `forked_registry` has leaked.
    unsafe { FORKED.load(Ordering::Acquire).as_ref() }
        .filter(|registry| registry.generation == generation)
        .ok_or(generation)
}

fn forked_registry(generation: u32) -> Result<&'static Registry, Error> {
    let fresh = leak(Registry {
        generation,
        contexts: Table::new(1, zeroed_slots(CONTEXTS)?),
        cards: Table::new(2, zeroed_slots(CARDS)?),
    })?;
    let fresh = std::ptr::from_ref(fresh).cast_mut();
    // Another thread of this process may come first. Then its registry is used.
    let _ = FORKED.fetch_update(Ordering::AcqRel, Ordering::Acquire, |current| {
        // SAFETY: as in `existing`.
        let is_ours = unsafe { current.as_ref() }.is_some_and(|registry| registry.generation == generation);
        (!is_ours).then_some(fresh)
    });
    existing().map_err(|_| Error::InvalidHandle)
}

fn leak<T>(value: T) -> Result<&'static T, Error> {
    let mut room = Vec::new();
    room.try_reserve_exact(1).map_err(|_| Error::NoMemory)?;
    room.push(value);
    Ok(&room.leak()[0])
}

/// Slots that are never freed. The kernel provides their pages when they are used.
fn zeroed_slots<T>(count: usize) -> Result<&'static [Slot<T>], Error> {
    let layout = Layout::array::<Slot<T>>(count).map_err(|_| Error::NoMemory)?;
    // SAFETY: the layout has a size other than 0, and zero bytes are empty slots.
    unsafe {
        let slots = alloc_zeroed(layout).cast::<Slot<T>>();
        if slots.is_null() {
            return Err(Error::NoMemory);
        }
        Ok(std::slice::from_raw_parts(slots, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcsc_client::internals::SessionOptions;
    use pcsc_client::Choice;

    /// The handle of a context.
    fn context(registry: &Registry) -> LONG {
        let options = SessionOptions {
            backend: Choice::Simulated,
            ..SessionOptions::default()
        };
        let session = Session::establish(&options).unwrap();
        registry.add_context(session).unwrap()
    }

    #[test]
    fn a_card_that_is_removed_leaves_its_contexts_list() {
        let registry = registry().unwrap();
        let handle = context(registry);
        let context = registry.context(handle).unwrap();
        let [first, second] = [1, 2].map(|number| registry.add_card(&context, number, b"reader").unwrap());
        registry.remove_card(first);
        assert_eq!(context.cards().as_deref(), Some(&[second][..]));
        registry.remove_context(handle).unwrap();
    }

    #[cfg(feature = "spy")]
    #[test]
    fn the_rest_of_a_secret_answer_is_secret() {
        const DECIPHER: &[u8] = b"\x00\x2A\x80\x86";
        const GET_RESPONSE: &[u8] = b"\x00\xC0\x00\x00\x10";
        const SELECT: &[u8] = b"\x00\xA4\x04\x00";
        let registry = registry().unwrap();
        let handle = context(registry);
        let context = registry.context(handle).unwrap();
        let card = registry.add_card(&context, 1, b"reader").unwrap();
        let card = registry.card(card).unwrap();
        for (command, is_secret) in [
            (GET_RESPONSE, false),
            (DECIPHER, true),
            (GET_RESPONSE, true),
            (GET_RESPONSE, true),
            (SELECT, false),
            (GET_RESPONSE, false),
        ] {
            assert_eq!(card.answers_secret(command), is_secret, "{command:02X?}");
        }
        registry.remove_context(handle).unwrap();
    }

    #[test]
    fn a_card_of_a_context_that_was_released_meanwhile_gets_no_handle() {
        let registry = registry().unwrap();
        let handle = context(registry);
        let context = registry.context(handle).unwrap();
        let card = registry.add_card(&context, 1, b"reader").unwrap();
        assert_eq!(registry.card(card).unwrap().reader_nul(), b"reader\0");
        registry.remove_context(handle).unwrap();
        assert!(registry.card(card).is_err());
        assert_eq!(
            registry.add_card(&context, 2, b"reader"),
            Err(Error::InvalidHandle)
        );
    }
}
