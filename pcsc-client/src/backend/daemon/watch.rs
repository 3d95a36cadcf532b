//! The daemon's readers for a wait: look at them, register for the next event, sleep until it comes.
//!
//! States and registration come in one round trip, so that no change can fall between them.

use std::sync::MutexGuard;
use std::time::Instant;

use pcsc_process::cancellation::was_cancelled;
use pcsc_process::Waker;
use rustix::io::Errno;

use super::link::{Deadline, Link};
use super::stream::Wake;
use super::waker::{LazyWaker, LOOK};
use crate::backend::lifecycle::Lifecycle;
use crate::backend::status_change::{Comparison, Readers, StatusChange};
use crate::error::{Error, Failure, Outcome};
use pcsc_wire::{EventBody, ReaderStateRecords, StateBatch};

/// The daemon's readers, while one call waits. It holds the lock of the connection for that time.
pub struct DaemonReaders<'a> {
    pub link: MutexGuard<'a, Link>,
    pub lifecycle: &'a Lifecycle,
    pub waker: &'a LazyWaker,
    /// The count of cancels that the call began with.
    pub since: u64,
    /// The registration that the last look has made, for the next wait.
    pub registration: Registration,
}

/// Whether the daemon has an event to send.
#[derive(Debug, Clone, Copy)]
pub enum Registration {
    None,
    /// The next event comes on the connection.
    Registered,
    /// It came together with the states.
    Answered(EventBody),
}

impl Readers for DaemonReaders<'_> {
    fn look(&mut self, call: &mut StatusChange<'_, '_>, register: bool) -> Outcome<Comparison> {
        let mut comparison = Comparison::Unchanged;
        let wants_events = call.wants_reader_events();
        self.look_at(register, wants_events, &mut |states, events| {
            comparison = call.compare(states.readers(), events);
        })?;
        Ok(comparison)
    }

    fn wait(&mut self, deadline: Option<Instant>) -> Outcome<bool> {
        let event = match self.registration {
            Registration::None => None,
            Registration::Answered(event) => Some(event),
            Registration::Registered => match self.wait_for_event(deadline)? {
                None => return Ok(false),
                event => event,
            },
        };
        match event {
            Some(event) if event.rv != 0 => Err(Failure::plain(event.rv)),
            // A cancel takes effect even if the daemon has an event after every look.
            _ if self.lifecycle.is_cancelled(self.since) => Err(Error::Cancelled.into()),
            _ => Ok(true),
        }
    }

    fn stop(&mut self) {
        if let Registration::Registered = self.registration {
            self.link.stop_waiting();
        }
        self.registration = Registration::None;
    }
}

impl DaemonReaders<'_> {
    /// Passes the states, and the count of readers that came or went where the daemon has one, to `look`.
    /// With `register`, the next wait ends if they have changed since.
    pub fn look_at(
        &mut self,
        register: bool,
        events: bool,
        look: &mut dyn FnMut(ReaderStateRecords<'_>, Option<u32>),
    ) -> Outcome<()> {
        let batch = StateBatch {
            wait: register,
            events,
            ..self.link.batch()
        };
        let parsed = self.link.states(&batch, &[])?;
        self.registration = match parsed.event {
            Some(event) => Registration::Answered(event),
            None if register => Registration::Registered,
            None => Registration::None,
        };
        look(self.link.reader_states(&parsed), parsed.reader_events);
        self.link.consume(parsed.consumed);
        Ok(())
    }

    /// `None` if the deadline has passed.
    fn wait_for_event(&mut self, deadline: Option<Instant>) -> Outcome<Option<EventBody>> {
        // Before the count is read below: a cancel that comes before there is a waker has moved the count.
        let waker = self.waker.get();
        loop {
            if self.lifecycle.is_cancelled(self.since) {
                if let Some(waker) = waker {
                    waker.clear();
                }
                // The daemon would send the event into the next call's answer.
                self.stop();
                return Err(Error::Cancelled.into());
            }
            let until = match (waker, deadline) {
                (Some(_), deadline) => deadline,
                (None, None) => Some(Instant::now() + LOOK),
                (None, Some(deadline)) => Some(deadline.min(Instant::now() + LOOK)),
            };
            let woken = self.link.stream()?.wait(waker, until);
            let woken = woken.and_then(|woken| match waker {
                // The program has closed the descriptor, and its number may name another file, which may be
                // readable forever.
                Some(waker) if woken == Wake::Woken && !waker.is_ours() => Err(Errno::BADF.into()),
                _ => Ok(woken),
            });
            match self.link.received(woken, Deadline::Never)? {
                Wake::Woken => waker.map_or((), Waker::clear),
                Wake::TimedOut if until != deadline && !was_cancelled() => (),
                Wake::TimedOut => {
                    self.stop();
                    return Ok(None);
                }
                Wake::Readable => return self.link.event().map(Some),
            }
        }
    }
}
