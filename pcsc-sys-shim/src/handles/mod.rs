//! The handles that C programs hold: numbers that name a context or a card.
//!
//! A forked child has a copy of its parent's tables. The parent's handles are refused there, and keep their
//! slots: the child's own ones are other numbers, so that no handle means one context before the fork and
//! another one after it.

#[cfg(feature = "spy")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pcsc_client::ffi::LONG;
use pcsc_client::internals::Session;
use pcsc_client::Error;
use pcsc_wire as wire;

mod table;

pub use table::{InSignalHandler, InUse};
use table::{Slot, Table};

// Static: no memory is allocated for them, and pages that are not used take none.
static CONTEXT_SLOTS: [Slot<Context>; 4096] = [const { Slot::new() }; 4096];
static CARD_SLOTS: [Slot<Card>; 16384] = [const { Slot::new() }; 16384];
static CONTEXTS: Table<Context> = Table::new(1, &CONTEXT_SLOTS);
static CARDS: Table<Card> = Table::new(2, &CARD_SLOTS);

/// A context and the handles of its cards.
#[derive(Debug)]
pub struct Context {
    pub session: Session,
    /// The process that established it.
    generation: u32,
    /// `None` once the context's handle is removed. Locked for bookkeeping at connect, disconnect and
    /// release only.
    cards: Mutex<Option<Vec<LONG>>>,
}

impl Context {
    /// Whether it is this process's own and not its parent's, whose locks may be locked forever here.
    fn is_ours(&self) -> bool {
        self.generation == pcsc_process::generation()
    }

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

/// Registers a context.
///
/// # Errors
/// [`Error::NoMemory`] when the table is full.
pub fn add_context(session: Session) -> Result<LONG, Error> {
    let context = Context {
        session,
        generation: pcsc_process::generation(),
        cards: Mutex::new(Some(Vec::new())),
    };
    CONTEXTS.insert(context).map_err(|_| Error::NoMemory)
}

/// The context of a handle. Takes no lock.
///
/// # Errors
/// [`Error::InvalidHandle`].
pub fn context(handle: LONG) -> Result<InUse<Context>, Error> {
    let context = CONTEXTS.get(handle).filter(|context| context.is_ours());
    context.ok_or(Error::InvalidHandle)
}

/// The same for signal handlers: frees nothing.
///
/// # Errors
/// [`Error::InvalidHandle`].
pub fn context_in_signal_handler(handle: LONG) -> Result<InSignalHandler<Context>, Error> {
    let context = CONTEXTS.get_in_signal_handler(handle);
    context
        .filter(|context| context.is_ours())
        .ok_or(Error::InvalidHandle)
}

/// Removes the handles of a context and of its cards.
///
/// # Errors
/// [`Error::InvalidHandle`].
pub fn remove_context(handle: LONG) -> Result<InUse<Context>, Error> {
    context(handle)?;
    let context = CONTEXTS.remove(handle).ok_or(Error::InvalidHandle)?;
    // `None` from now on: a connect that is in progress finds it, and does not add a card to a context that
    // is gone.
    let cards = context.cards().take();
    for card in cards.into_iter().flatten() {
        CARDS.remove(card);
    }
    Ok(context)
}

/// Registers a card of a context. `reader` has at most [`wire::NAME_SIZE`] bytes.
///
/// # Errors
/// [`Error::NoMemory`], [`Error::InvalidValue`] for a longer name, [`Error::InvalidHandle`] if the context
/// was released meanwhile.
pub fn add_card(context: &InUse<Context>, number: i32, reader: &[u8]) -> Result<LONG, Error> {
    let card = Card::new(context.clone(), number, reader)?;
    // Held until the card is in both: a release in between would leave its handle valid.
    let mut cards = context.cards();
    let cards = cards.as_mut().ok_or(Error::InvalidHandle)?;
    cards.try_reserve(1).map_err(|_| Error::NoMemory)?;
    let handle = CARDS.insert(card).map_err(|_| Error::NoMemory)?;
    cards.push(handle);
    Ok(handle)
}

/// The card of a handle. Takes no lock.
///
/// # Errors
/// [`Error::InvalidHandle`].
pub fn card(handle: LONG) -> Result<InUse<Card>, Error> {
    let card = CARDS.get(handle).filter(|card| card.context.is_ours());
    card.ok_or(Error::InvalidHandle)
}

/// Removes the handle of a card of this process.
pub fn remove_card(handle: LONG) {
    if let Some(card) = CARDS.remove(handle) {
        if let Some(cards) = card.context.cards().as_mut() {
            cards.retain(|other| *other != handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcsc_client::internals::SessionOptions;
    use pcsc_client::Choice;

    /// The handle of a context.
    fn established() -> LONG {
        let options = SessionOptions {
            backend: Choice::Simulated,
            ..SessionOptions::default()
        };
        let session = Session::establish(&options).unwrap();
        add_context(session).unwrap()
    }

    #[test]
    fn a_card_that_is_removed_leaves_its_contexts_list() {
        let handle = established();
        let context = context(handle).unwrap();
        let [first, second] = [1, 2].map(|number| add_card(&context, number, b"reader").unwrap());
        remove_card(first);
        assert_eq!(context.cards().as_deref(), Some(&[second][..]));
        remove_context(handle).unwrap();
    }

    #[cfg(feature = "spy")]
    #[test]
    fn the_rest_of_a_secret_answer_is_secret() {
        const DECIPHER: &[u8] = b"\x00\x2A\x80\x86";
        const GET_RESPONSE: &[u8] = b"\x00\xC0\x00\x00\x10";
        const SELECT: &[u8] = b"\x00\xA4\x04\x00";
        let handle = established();
        let context = context(handle).unwrap();
        let card = add_card(&context, 1, b"reader").unwrap();
        let card = super::card(card).unwrap();
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
        remove_context(handle).unwrap();
    }

    #[test]
    fn a_card_of_a_context_that_was_released_meanwhile_gets_no_handle() {
        let handle = established();
        let context = context(handle).unwrap();
        let card = add_card(&context, 1, b"reader").unwrap();
        assert_eq!(super::card(card).unwrap().reader_nul(), b"reader\0");
        remove_context(handle).unwrap();
        assert!(super::card(card).is_err());
        assert_eq!(add_card(&context, 2, b"reader"), Err(Error::InvalidHandle));
    }
}
