//! Contexts and connections by handles of 64 bits, as Windows has.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pcsc_client::internals::Session;
use pcsc_client::Error;

/// A connection.
#[derive(Clone)]
pub struct Card {
    pub session: Arc<Session>,
    pub number: i32,
    pub reader: CString,
}

#[derive(Default)]
struct Handles {
    last: usize,
    contexts: BTreeMap<usize, Arc<Session>>,
    cards: BTreeMap<usize, Card>,
}

impl Handles {
    /// A handle that does not fit into 32 bits.
    fn next(&mut self) -> usize {
        self.last += 0x1_0000_0001;
        self.last
    }
}

fn handles() -> MutexGuard<'static, Handles> {
    static HANDLES: Mutex<Handles> = Mutex::new(Handles {
        last: 0,
        contexts: BTreeMap::new(),
        cards: BTreeMap::new(),
    });
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn add_context(session: Session) -> usize {
    let mut handles = handles();
    let handle = handles.next();
    handles.contexts.insert(handle, Arc::new(session));
    handle
}

pub fn context(handle: usize) -> Result<Arc<Session>, Error> {
    let handles = handles();
    handles.contexts.get(&handle).cloned().ok_or(Error::InvalidHandle)
}

pub fn remove_context(handle: usize) -> Result<Arc<Session>, Error> {
    let mut handles = handles();
    let session = handles.contexts.remove(&handle).ok_or(Error::InvalidHandle)?;
    handles
        .cards
        .retain(|_, card| !Arc::ptr_eq(&card.session, &session));
    Ok(session)
}

pub fn add_card(card: Card) -> usize {
    let mut handles = handles();
    let handle = handles.next();
    handles.cards.insert(handle, card);
    handle
}

pub fn card(handle: usize) -> Result<Card, Error> {
    handles().cards.get(&handle).cloned().ok_or(Error::InvalidHandle)
}

pub fn remove_card(handle: usize) {
    handles().cards.remove(&handle);
}
