//! An iterator over readers and cards that come and go.

use std::collections::VecDeque;
use std::ffi::CString;
use std::time::Duration;

use crate::context::{deadline, Context};
use crate::error::{Error, Failure};
use crate::reader_state::{ReaderState, PNP_NOTIFICATION};
use crate::values::State;

/// What happened to readers and cards.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// There is a new reader.
    ReaderAdded {
        /// The reader's name.
        reader: CString,
    },
    /// A reader is gone. If a card was in it, [`Event::CardRemoved`] came before.
    ReaderRemoved {
        /// The reader's name.
        reader: CString,
    },
    /// There is a card in the reader.
    CardInserted {
        /// The reader's name.
        reader: CString,
        /// The card's ATR; empty for a card that does not answer.
        atr: Vec<u8>,
    },
    /// The card is no longer in the reader.
    CardRemoved {
        /// The reader's name.
        reader: CString,
    },
}

/// An endless iterator over [`Event`]s; made by [`Context::events`].
///
/// It begins with the readers and cards that are there already. It blocks until something happens, and
/// ends after [`Context::cancel`], or after an error, which it gives first.
///
/// ```no_run
/// # fn main() -> Result<(), pcsc_client::Failure> {
/// let context = pcsc_client::Context::builder().establish()?;
/// for event in context.events() {
///     println!("{:?}", event?);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Events {
    context: Context,
    /// The pseudo-reader first.
    readers: Vec<ReaderState>,
    /// What was last reported of each reader, in the same order.
    reported: Vec<Reported>,
    pending: VecDeque<Event>,
    is_over: bool,
}

/// What was reported of a reader: whether a card is there, and the count of changes then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Reported {
    has_card: bool,
    count: u32,
}

impl Context {
    /// The readers and cards that come and go, beginning with those that are there: see [`Events`].
    pub fn events(&self) -> Events {
        Events {
            context: self.clone(),
            readers: vec![ReaderState::new(PNP_NOTIFICATION(), State::UNAWARE)],
            reported: vec![Reported::default()],
            pending: VecDeque::new(),
            is_over: false,
        }
    }
}

impl Events {
    /// The next event within `timeout`; `None` when the time is over or the iterator has ended.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<Event, Failure>> {
        match self.advance(Some(timeout)) {
            Ok(event) => event.map(Ok),
            Err(failure) if failure.error() == Error::Timeout => None,
            Err(failure) => self.end(failure),
        }
    }

    fn end(&mut self, failure: Failure) -> Option<Result<Event, Failure>> {
        self.is_over = true;
        (failure.error() != Error::Cancelled).then_some(Err(failure))
    }

    fn advance(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Failure> {
        let deadline = timeout.and_then(deadline);
        while self.pending.is_empty() {
            if self.is_over {
                return Ok(None);
            }
            self.add_new_readers()?;
            if !self.pending.is_empty() {
                break;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(std::time::Instant::now()));
            match self.context.try_get_status_change(left, &mut self.readers) {
                Ok(()) => self.report_changes(),
                // A reader went away before its first look.
                Err(failure) if failure.error() == Error::UnknownReader => self.report_missing()?,
                Err(failure) => return Err(failure),
            }
        }
        Ok(self.pending.pop_front())
    }

    fn add_new_readers(&mut self) -> Result<(), Failure> {
        for name in self.context.try_list_readers()? {
            if !self.readers.iter().any(|reader| reader.name() == &*name) {
                self.pending
                    .push_back(Event::ReaderAdded { reader: name.clone() });
                self.readers.push(ReaderState::new(name, State::UNAWARE));
                self.reported.push(Reported::default());
            }
        }
        Ok(())
    }

    fn report_changes(&mut self) {
        for at in 1..self.readers.len() {
            let state = self.readers[at].event_state();
            if state.contains(State::UNKNOWN) {
                continue;
            }
            let now = Reported {
                has_card: state.contains(State::PRESENT),
                count: self.readers[at].event_count(),
            };
            self.report_card(at, now);
        }
        for reader in &mut self.readers {
            reader.sync_current_state();
        }
        self.report_removed(|reader| reader.event_state().contains(State::UNKNOWN));
    }

    /// Reports a card that came or went, or that was replaced between two looks.
    fn report_card(&mut self, at: usize, now: Reported) {
        let before = std::mem::replace(&mut self.reported[at], now);
        // A connection changes the count as well: only a count that moved by two or more hides a removal
        // and an insertion.
        let replaced = before.has_card && now.has_card && now.count.wrapping_sub(before.count) & 0xFFFF >= 2;
        let reader = || self.readers[at].name().to_owned();
        if before.has_card && (!now.has_card || replaced) {
            self.pending.push_back(Event::CardRemoved { reader: reader() });
        }
        if now.has_card && (!before.has_card || replaced) {
            let atr = self.readers[at].atr().to_vec();
            self.pending.push_back(Event::CardInserted {
                reader: reader(),
                atr,
            });
        }
    }

    fn report_missing(&mut self) -> Result<(), Failure> {
        let names = self.context.try_list_readers()?;
        self.report_removed(|reader| !names.iter().any(|name| **name == *reader.name()));
        Ok(())
    }

    fn report_removed(&mut self, is_gone: impl Fn(&ReaderState) -> bool) {
        for at in (1..self.readers.len()).rev() {
            if is_gone(&self.readers[at]) {
                self.report_card(at, Reported::default());
                self.reported.remove(at);
                let reader = self.readers.remove(at).name().to_owned();
                self.pending.push_back(Event::ReaderRemoved { reader });
            }
        }
    }
}

impl Iterator for Events {
    type Item = Result<Event, Failure>;

    fn next(&mut self) -> Option<Result<Event, Failure>> {
        match self.advance(None) {
            Ok(event) => event.map(Ok),
            Err(failure) => self.end(failure),
        }
    }
}
