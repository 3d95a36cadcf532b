//! A CCID reader that threads share: opened when it is first needed, opened again after a loss, closed when
//! no slot needs it.
//!
//! The slots of a reader have one transport, so that one exchange goes on at a time. Events come by another
//! pipe and are waited for without the lock.

use std::sync::Arc;
use std::time::Instant;

use pcsc_ccid::reader::{Error, Presence, Reader};
use pcsc_ccid::transport::{self, Transport};

use crate::deadline::DeadlineTransport;
use crate::slot_events::{Notifications, SlotEvents};
use crate::timed_mutex::{TimedMutex, TimedMutexGuard};

/// A reader of any kind.
pub type AnyReader = Reader<DeadlineTransport<Box<dyn Transport>>>;

/// A reader that was opened.
pub struct OpenedReader {
    pub reader: AnyReader,
    pub notifications: Notifications,
}

/// Opens a reader, by the deadline. Called again after a loss, and after the reader was closed.
pub type Open = Box<dyn FnMut(Option<Instant>) -> Result<OpenedReader, SharedError> + Send>;

/// A transport for [`Reader::open`].
pub fn with_deadline(
    transport: impl Transport + 'static,
    deadline: Option<Instant>,
) -> DeadlineTransport<Box<dyn Transport>> {
    DeadlineTransport::new(Box::new(transport), deadline)
}

/// Why a shared reader could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedError {
    /// Another process has the reader.
    Busy,
    /// The deadline has passed before the reader was free.
    TimedOut,
    /// The reader is gone, or is one that cannot be used.
    Gone,
    /// The reader was opened again, and [`SharedReader::presence`] was not called for the slot since: its
    /// card has lost its state.
    NotPolled,
    /// The reader was lost while it was opened, or works no more. It may work when it is opened again.
    Failed,
    /// What the driver says.
    Reader(Error),
}

/// A CCID reader that threads share.
pub struct SharedReader {
    inner: TimedMutex<Inner>,
    events: SlotEvents,
}

struct Inner {
    open: Open,
    reader: Option<AnyReader>,
    /// Whether it has answered since it was opened.
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
    /// A reader with so many slots that `open` opens when it is first needed.
    pub fn new(slots: u16, open: Open) -> Arc<SharedReader> {
        let slot = SlotUse {
            is_new: false,
            is_needed: false,
        };
        Arc::new(SharedReader {
            inner: TimedMutex::new(Inner {
                open,
                reader: None,
                has_worked: false,
                slots: vec![slot; usize::from(slots.max(1))],
            }),
            events: SlotEvents::new(slots),
        })
    }

    /// The events of the slots.
    pub fn events(&self) -> &SlotEvents {
        &self.events
    }

    /// Uses the reader for a card that was seen by [`SharedReader::presence`].
    pub fn with<T>(
        &self,
        slot: u8,
        deadline: Option<Instant>,
        work: impl FnOnce(&mut AnyReader) -> Result<T, Error>,
    ) -> Result<T, SharedError> {
        let mut inner = self.lock(slot, deadline)?;
        if inner.slot(slot).is_some_and(|slot| slot.is_new) {
            return Err(SharedError::NotPolled);
        }
        self.use_reader(&mut inner, deadline, work)
    }

    /// Uses the reader without regard to what is in the slot.
    pub fn with_reader<T>(
        &self,
        slot: u8,
        deadline: Option<Instant>,
        work: impl FnOnce(&mut AnyReader) -> Result<T, Error>,
    ) -> Result<T, SharedError> {
        let mut inner = self.lock(slot, deadline)?;
        let reader = inner.reader(&self.events, deadline)?;
        work(reader).map_err(SharedError::Reader)
    }

    /// Whether a card is in the slot. If this call finds the reader lost, it opens the reader again.
    pub fn presence(&self, slot: u8) -> Result<Presence, SharedError> {
        match self.poll(slot) {
            Err(SharedError::Reader(Error::Transport(transport::Error::Gone))) if self.events.is_lost() => {
                self.poll(slot)
            }
            polled => polled,
        }
    }

    fn poll(&self, slot: u8) -> Result<Presence, SharedError> {
        let mut inner = self.lock(slot, None)?;
        let was_emptied = self.events.take_emptied(slot);
        let is_new = inner
            .slot(slot)
            .is_some_and(|slot| std::mem::take(&mut slot.is_new));
        self.use_reader(&mut inner, None, |reader| {
            let presence = reader.presence(slot)?;
            if presence == Presence::Present && was_emptied {
                // A reader that activates cards by itself shows another card as it has shown the one before.
                reader.power_off(slot)?;
            }
            Ok(match presence {
                Presence::Present if is_new || was_emptied => Presence::Replaced,
                presence => presence,
            })
        })
    }

    /// Notes that a slot does not need the reader, and closes it once no slot does.
    pub fn give_back(&self, slot: u8) {
        let mut inner = self.inner.lock();
        if let Some(slot) = inner.slot(slot) {
            slot.is_needed = false;
        }
        if !inner.slots.iter().any(|slot| slot.is_needed) {
            inner.close(&self.events);
        }
    }

    fn lock(&self, slot: u8, deadline: Option<Instant>) -> Result<TimedMutexGuard<'_, Inner>, SharedError> {
        let mut inner = self.inner.lock_until(deadline).ok_or(SharedError::TimedOut)?;
        // A reader that was lost may not be gone: a reset of the device ends all claims on it.
        if self.events.take_loss() {
            inner.close(&self.events);
        }
        if let Some(slot) = inner.slot(slot) {
            slot.is_needed = true;
        }
        Ok(inner)
    }

    fn use_reader<T>(
        &self,
        inner: &mut Inner,
        deadline: Option<Instant>,
        work: impl FnOnce(&mut AnyReader) -> Result<T, Error>,
    ) -> Result<T, SharedError> {
        let result = work(inner.reader(&self.events, deadline)?);
        match result {
            Err(Error::Transport(transport::Error::Gone)) if inner.has_worked => self.events.lose(),
            // It was reset right after it was opened, or is going. Opening it again later shows which.
            Err(Error::Transport(transport::Error::Gone)) => {
                inner.close(&self.events);
                return Err(SharedError::Failed);
            }
            _ => inner.has_worked = true,
        }
        result.map_err(SharedError::Reader)
    }
}

impl Inner {
    fn slot(&mut self, slot: u8) -> Option<&mut SlotUse> {
        self.slots.get_mut(usize::from(slot))
    }

    /// The reader, opened if it is not.
    fn reader(
        &mut self,
        events: &SlotEvents,
        deadline: Option<Instant>,
    ) -> Result<&mut AnyReader, SharedError> {
        match &mut self.reader {
            Some(reader) => {
                reader.transport().set_deadline(deadline);
                Ok(reader)
            }
            none => {
                let opened = (self.open)(deadline).inspect_err(|error| {
                    if *error == SharedError::Gone {
                        events.set_gone();
                    }
                })?;
                events.listen(opened.notifications);
                Ok(none.insert(opened.reader))
            }
        }
    }

    fn close(&mut self, events: &SlotEvents) {
        events.close();
        self.reader = None;
        self.has_worked = false;
        self.slots.iter_mut().for_each(|slot| slot.is_new = true);
    }
}
