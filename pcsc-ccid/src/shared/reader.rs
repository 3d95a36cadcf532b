//! The lock of a shared reader, its loss and its recovery.
//!
//! The slots of a reader take turns, or work in parallel where the reader can serve several of them at a time
//! (`bMaxCCIDBusySlots`). Events come by another pipe and are waited for without the lock.

use std::boxed::Box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use super::demux::Demux;
use super::events::{Interrupter, Notifications, SlotEvents};
use super::parallel::Parallel;
use super::sync::{lock, TimedMutex, TimedMutexGuard};
use crate::reader::{Presence, Reader, ReaderError};
use crate::transport::{Transport, TransportError};

/// A reader of any kind.
pub type AnyReader = Reader<Box<dyn Transport>>;

/// A reader that was opened.
#[non_exhaustive]
pub struct OpenedReader {
    /// The driver.
    pub reader: AnyReader,
    /// How it reports cards that come and go.
    pub notifications: Notifications,
    /// Cancels the command that goes on, from any thread; `None` where the transport cannot.
    pub cancel: Option<Interrupter>,
    /// One more transport for each slot, which sends while the reader's own receives. If there are none, or
    /// the reader serves one slot at a time, the slots take turns.
    pub senders: Vec<Box<dyn Transport>>,
}

impl OpenedReader {
    /// A reader whose commands cannot be cancelled, and whose slots take turns.
    pub fn new(reader: AnyReader, notifications: Notifications) -> OpenedReader {
        OpenedReader {
            reader,
            notifications,
            cancel: None,
            senders: Vec::new(),
        }
    }
}

/// Opens a reader, by the deadline. It is called again after a loss, and after the reader was closed.
pub type Open = Box<dyn FnMut(Option<Instant>) -> Result<OpenedReader, SharedError> + Send>;

/// A deadline as a time on a transport's clock, which the driver counts in.
pub fn time_on(transport: &dyn Transport, deadline: Option<Instant>) -> Option<Duration> {
    let left = deadline?.saturating_duration_since(Instant::now());
    // Saturating: a deadline that is centuries away is none, and not an overflow.
    Some(transport.now().saturating_add(left))
}

/// Why a shared reader could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedError {
    /// Another process has the reader.
    #[error("another process uses the reader")]
    Busy,
    /// The deadline has passed before the reader was free.
    #[error("the deadline has passed before the reader was free")]
    TimedOut,
    /// The reader is gone, or is one that cannot be used.
    #[error("the reader is gone or cannot be used")]
    Gone,
    /// The reader was opened again, and [`SharedReader::presence`] was not called for the slot since: its
    /// card has lost its state.
    #[error("the reader was opened again, and the state of its cards is lost")]
    NotPolled,
    /// The reader was lost while it was opened, or works no more. It may work when it is opened again.
    #[error("the reader was lost")]
    Failed,
    /// An error of the driver.
    #[error(transparent)]
    Reader(ReaderError),
}

impl SharedError {
    /// What an error of [`Reader::open`] means.
    pub fn opening(error: ReaderError) -> SharedError {
        match error {
            // The node is still there: another process may have reset the device meanwhile.
            error if error.is_gone() => SharedError::Failed,
            ReaderError::NoSuchSlot | ReaderError::Firmware(_) => SharedError::Gone,
            error => SharedError::Reader(error),
        }
    }
}

/// A CCID reader that threads share: opened when it is first needed, opened again after a loss, closed when
/// no slot needs it.
pub struct SharedReader {
    inner: TimedMutex<Inner>,
    events: SlotEvents,
    /// Of the open reader. Outside `inner`, which is locked while the command goes on that it cancels.
    cancel: Mutex<Option<CancelSlot>>,
}

/// Cancels the command that goes on in a slot.
type CancelSlot = Box<dyn Fn(u8) + Send + Sync>;

/// An open reader.
enum Driver {
    /// Its slots take turns, under the lock of [`Inner`].
    Serial(Box<AnyReader>),
    /// Its slots work in parallel, without that lock.
    Parallel(Arc<Parallel<AnyReader>>, Arc<Demux>),
}

struct Inner {
    open: Open,
    driver: Option<Driver>,
    /// Whether a call since it was opened has ended otherwise than with `Gone`.
    has_worked: bool,
    slots: Vec<SlotUse>,
}

#[derive(Clone)]
struct SlotUse {
    /// The reader was opened again, and this slot was not polled since.
    is_new: bool,
    /// Whether the slot needs the reader open.
    is_needed: bool,
}

impl SharedReader {
    /// A reader with this number of slots, which `open` opens when it is first needed.
    pub fn new(slots: u16, open: Open) -> Arc<SharedReader> {
        let slot = SlotUse {
            is_new: false,
            is_needed: false,
        };
        Arc::new(SharedReader {
            inner: TimedMutex::new(Inner {
                open,
                driver: None,
                has_worked: false,
                slots: vec![slot; usize::from(slots.max(1))],
            }),
            events: SlotEvents::new(slots),
            cancel: Mutex::new(None),
        })
    }

    /// The events of the slots.
    pub fn events(&self) -> &SlotEvents {
        &self.events
    }

    /// Uses the reader for a card that was seen by [`SharedReader::presence`].
    ///
    /// # Errors
    /// [`SharedError`]; [`SharedError::NotPolled`] where the card has lost its state.
    pub fn with<T>(
        &self,
        slot: u8,
        deadline: Option<Instant>,
        work: impl FnOnce(&mut AnyReader) -> Result<T, ReaderError>,
    ) -> Result<T, SharedError> {
        result_of(work, |work| self.use_polled(slot, deadline, work))
    }

    /// Uses the reader without regard to what is in the slot.
    ///
    /// # Errors
    /// [`SharedError`].
    pub fn with_reader<T>(
        &self,
        slot: u8,
        deadline: Option<Instant>,
        work: impl FnOnce(&mut AnyReader) -> Result<T, ReaderError>,
    ) -> Result<T, SharedError> {
        result_of(work, |work| {
            let inner = self.lock(slot, deadline)?;
            self.use_reader(inner, slot, deadline, work)
        })
    }

    /// Cancels the command that goes on in a slot, or else the next wait for an answer, from any thread.
    /// Where slots take turns, it is the command of any slot.
    pub fn cancel(&self, slot: u8) {
        if let Some(cancel) = &*lock(&self.cancel) {
            cancel(slot);
        }
    }

    /// Whether a card is in the slot. If this call finds the reader lost, it opens the reader again.
    ///
    /// A card that the reader has reported as taken out since this was last asked, or that was in a reader
    /// which was opened again, is [`Presence::Replaced`].
    ///
    /// # Errors
    /// [`SharedError`].
    pub fn presence(&self, slot: u8) -> Result<Presence, SharedError> {
        match self.poll(slot) {
            // The call that meets the loss notes it, and the next one opens the reader again. Both at once: a
            // reset of the device is no removal of its reader, and not even of the card.
            Err(SharedError::Reader(ReaderError::Transport(TransportError::Gone)))
                if self.events.is_lost() =>
            {
                self.poll(slot)
            }
            // Another slot's thread has closed it meanwhile.
            Err(SharedError::NotPolled) => self.poll(slot),
            polled => polled,
        }
    }

    fn poll(&self, slot: u8) -> Result<Presence, SharedError> {
        let mut inner = self.lock(slot, None)?;
        let is_new = inner
            .slot(slot)
            .is_some_and(|slot| std::mem::take(&mut slot.is_new));
        let mut was_emptied = false;
        let look = |reader: &mut AnyReader| {
            // Not before the slot's turn: a card that is exchanged until then would not be reported.
            was_emptied = self.events.take_emptied(slot);
            let presence = reader.presence(slot)?;
            if presence == Presence::Present && was_emptied {
                // A reader that activates cards by itself shows another card as it has shown the one before.
                reader.power_off(slot)?;
            }
            Ok(match presence {
                Presence::Present if is_new || was_emptied => Presence::Replaced,
                presence => presence,
            })
        };
        let polled = result_of(look, |look| self.use_reader(inner, slot, None, look));
        if polled.is_err() && (was_emptied || is_new) {
            // The next poll is to report the replaced card.
            self.events.note_emptied(slot);
        }
        polled
    }

    /// Whether a call would wait for another one that uses the reader or opens it.
    pub fn is_busy(&self) -> bool {
        // Where slots work in parallel this lock is held while the reader is opened or closed, and not for a
        // command.
        self.inner.try_lock().is_none()
    }

    /// Notes that a slot does not need the reader, and closes it once no slot does.
    pub fn give_back(&self, slot: u8) {
        let mut inner = self.inner.lock();
        if let Some(slot) = inner.slot(slot) {
            slot.is_needed = false;
        }
        if !inner.slots.iter().any(|slot| slot.is_needed) {
            self.close(&mut inner);
        }
    }

    fn lock(&self, slot: u8, deadline: Option<Instant>) -> Result<TimedMutexGuard<'_, Inner>, SharedError> {
        let mut inner = self.inner.lock_until(deadline).ok_or(SharedError::TimedOut)?;
        if self.events.is_gone() {
            self.close(&mut inner);
            return Err(SharedError::Gone);
        }
        // A reader that was lost may not be gone: a reset of the device ends all claims on it.
        if self.events.take_loss() {
            self.close(&mut inner);
        }
        if let Some(slot) = inner.slot(slot) {
            slot.is_needed = true;
        }
        Ok(inner)
    }

    fn use_polled(&self, slot: u8, deadline: Option<Instant>, work: Work<'_>) -> Result<(), SharedError> {
        let mut inner = self.lock(slot, deadline)?;
        if inner.slot(slot).is_some_and(|slot| slot.is_new) {
            return Err(SharedError::NotPolled);
        }
        self.use_reader(inner, slot, deadline, work)
    }

    fn use_reader(
        &self,
        mut inner: TimedMutexGuard<'_, Inner>,
        slot: u8,
        deadline: Option<Instant>,
        work: Work<'_>,
    ) -> Result<(), SharedError> {
        let mut use_it = |reader: &mut AnyReader| {
            let deadline = time_on(reader.transport(), deadline);
            reader.with_deadline(deadline, &mut *work)
        };
        if inner.driver.is_none() {
            let opened = (inner.open)(deadline);
            // Opened with the lock held: a second thread that needs the reader waits for this one, and does
            // not find the claim of its own process.
            inner.driver = Some(self.open(opened)?);
        }
        match &mut inner.driver {
            Some(Driver::Parallel(parallel, _)) => {
                let parallel = parallel.clone();
                let has_worked = inner.has_worked;
                drop(inner);
                // Without the lock of `inner`, so that the other slots work meanwhile. It comes first in the
                // order of locks, and is therefore not taken again before `working` is dropped.
                let mut working = parallel.lock(slot, deadline).ok_or(SharedError::TimedOut)?;
                let result = use_it(working.reader.as_mut().ok_or(SharedError::NotPolled)?);
                drop(working);
                if has_worked && !matches!(result, Err(ReaderError::Transport(TransportError::Gone))) {
                    // There is nothing to note. The lock may be held by a thread that waits for another slot.
                    return result.map_err(SharedError::Reader);
                }
                let mut inner = self.inner.lock();
                match &inner.driver {
                    // Another slot's thread may have closed the reader meanwhile, and opened it again: the
                    // result is of the old one.
                    Some(Driver::Parallel(now, _)) if Arc::ptr_eq(now, &parallel) => {
                        self.note(&mut inner, result)
                    }
                    // What this says of the reader is known already.
                    _ => result.map_err(SharedError::Reader),
                }
            }
            Some(Driver::Serial(reader)) => {
                let result = use_it(reader);
                self.note(&mut inner, result)
            }
            None => Err(SharedError::Failed),
        }
    }

    /// Notes what a call says of the reader.
    fn note(&self, inner: &mut Inner, result: Result<(), ReaderError>) -> Result<(), SharedError> {
        match result {
            Err(ReaderError::Transport(TransportError::Gone)) if inner.has_worked => self.events.lose(),
            // It was reset right after it was opened, or is going. Opening it again later shows which.
            Err(ReaderError::Transport(TransportError::Gone)) => {
                self.close(inner);
                return Err(SharedError::Failed);
            }
            _ => inner.has_worked = true,
        }
        result.map_err(SharedError::Reader)
    }

    fn open(&self, opened: Result<OpenedReader, SharedError>) -> Result<Driver, SharedError> {
        let opened = opened.inspect_err(|error| {
            if *error == SharedError::Gone {
                self.events.set_gone();
            }
        })?;
        let busy = usize::from(opened.reader.descriptor().max_busy_slots);
        // A descriptor with 0 is wrong. It counts as 1.
        let driver = if busy < 2 || opened.senders.is_empty() {
            *lock(&self.cancel) = opened
                .cancel
                .map(|cancel| Box::new(move |_| cancel()) as CancelSlot);
            Driver::Serial(Box::new(opened.reader))
        } else {
            let mut shared = None;
            let readers = opened.reader.split(|input| {
                let (demux, transports) = Demux::transports(input, opened.senders, opened.cancel);
                shared = Some(demux);
                let boxed = transports
                    .into_iter()
                    .map(|slot| Box::new(slot) as Box<dyn Transport>);
                boxed.collect()
            });
            let demux = shared.ok_or(SharedError::Failed)?;
            let to_cancel = demux.clone();
            *lock(&self.cancel) = Some(Box::new(move |slot| to_cancel.cancel(slot)));
            Driver::Parallel(Arc::new(Parallel::new(readers, busy)), demux)
        };
        // After the driver is complete: the thread that listens may be waiting already, and its first event
        // leads to a call.
        self.events.listen(opened.notifications);
        Ok(driver)
    }

    fn close(&self, inner: &mut Inner) {
        // The interrupt pipe first. It is a part of the claim, which would outlive the driver and make the
        // next attempt to open the reader fail.
        self.events.close();
        *lock(&self.cancel) = None;
        if let Some(Driver::Parallel(parallel, demux)) = inner.driver.take() {
            // Their threads do not hold this lock while they work. A command ends now, not with its card.
            demux.close();
            parallel.close();
        }
        inner.has_worked = false;
        // Another process may use the cards until the reader is opened again.
        inner.slots.iter_mut().for_each(|slot| slot.is_new = true);
    }
}

/// Work on an open reader. The closure stores its result, so that the code that runs it is compiled once and
/// not for each type of result.
type Work<'a> = &'a mut dyn FnMut(&mut AnyReader) -> Result<(), ReaderError>;

/// The result of `work`, which `run` calls once at most.
fn result_of<T>(
    work: impl FnOnce(&mut AnyReader) -> Result<T, ReaderError>,
    run: impl FnOnce(Work<'_>) -> Result<(), SharedError>,
) -> Result<T, SharedError> {
    let (mut work, mut result) = (Some(work), None);
    run(&mut |reader| {
        result = work.take().map(|work| work(reader)).transpose()?;
        Ok(())
    })?;
    result.ok_or(SharedError::Failed)
}

impl Inner {
    fn slot(&mut self, slot: u8) -> Option<&mut SlotUse> {
        self.slots.get_mut(usize::from(slot))
    }
}
