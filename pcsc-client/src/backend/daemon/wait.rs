//! Waiting for a change of readers or cards: register, look, sleep until the event, a cancel or the
//! timeout.
//!
//! States and registration come in one round trip, so that no change can fall between them. The end of a
//! registration needs no round trip at all: STOP_WAITING is always answered by eight bytes (its own
//! answer, or the event that crossed it), and the next read skips them.

use std::io::IoSlice;
use std::time::{Duration, Instant};

use super::exchange::Link;
use super::session::Session;
use super::stream::Wake;
use crate::backend::status_change::{self, ReaderList, Watched};
use crate::error::{Cause, Error, Failure, Outcome};
use crate::wire::{Body, Command, Event, Header, ReaderStates, StateBatch, EVENT_SIZE};

impl Session {
    /// Waits until something differs from what the caller knows, at most `timeout` (`None`: for ever).
    ///
    /// A cancel ends the wait if it comes after the call's beginning or, where `sticky`, after the last
    /// cancel that ended a wait.
    pub fn status_change(
        &self,
        timeout: Option<Duration>,
        watched: &mut [Watched<'_>],
        sticky: bool,
    ) -> Outcome<()> {
        self.signal
            .wait(sticky, |since| self.wait_for_change(timeout, watched, since))
    }

    fn wait_for_change(
        &self,
        timeout: Option<Duration>,
        watched: &mut [Watched<'_>],
        since: u64,
    ) -> Outcome<()> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut may_block = timeout != Some(Duration::ZERO);
        let mut register = may_block && !watched.iter().any(Watched::is_news);
        let mut list = ReaderList::default();
        let mut is_first = true;
        let mut link = self.link()?;
        loop {
            let batch = StateBatch {
                wait: register,
                events: watched.iter().any(Watched::is_pnp),
                ..self.batch(&link)
            };
            let parsed = self.states(&mut link, &batch, &[])?;
            let registered = register && parsed.event.is_none();
            let states = ReaderStates::new(&link.pending()[parsed.states.clone()]);
            let known = !is_first || status_change::all_known(watched, &states);
            let news = known && status_change::evaluate(watched, &states, parsed.reader_events, &mut list);
            link.consume(parsed.consumed);
            is_first = false;

            if !known || news {
                if registered {
                    self.stop_waiting(&mut link);
                }
                return if known {
                    Ok(())
                } else {
                    Err(Error::UnknownReader.into())
                };
            }
            if !may_block {
                return Err(Error::Timeout.into());
            }
            let event = match parsed.event {
                Some(event) => Some(event),
                None if registered => Some(self.wait_for_event(&mut link, deadline, since)?),
                None => None,
            };
            match event {
                Some(event) if event.rv != 0 => return Err(Failure::plain(event.rv)),
                _ => register = true,
            }
            // A daemon with an event for every look must not keep the caller beyond its time.
            if self.signal.is_cancelled(since) {
                return Err(Error::Cancelled.into());
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                may_block = false;
                register = false;
            }
        }
    }

    fn wait_for_event(&self, link: &mut Link, deadline: Option<Instant>, since: u64) -> Outcome<Event> {
        let waker = match self.signal.waker() {
            Ok(waker) => waker,
            Err(error) => {
                self.stop_waiting(link);
                return Err(Failure::because(Error::NoMemory, Cause::System(error)));
            }
        };
        loop {
            if self.signal.is_cancelled(since) {
                waker.clear();
                self.stop_waiting(link);
                return Err(Error::Cancelled.into());
            }
            let woken = self.stream(link)?.wait(std::os::fd::AsFd::as_fd(waker), deadline);
            match self.on_receive(link, woken, false)? {
                Wake::Woken => waker.clear(),
                Wake::TimedOut => {
                    self.stop_waiting(link);
                    return Err(Error::Timeout.into());
                }
                Wake::Readable => {
                    let mut bytes = [0; EVENT_SIZE];
                    let received = self.stream(link)?.receive(&mut bytes, &mut [], self.soon());
                    self.on_receive(link, received, false)?;
                    return Event::parse(&bytes).ok_or_else(|| Error::InternalError.into());
                }
            }
        }
    }

    /// Ends the registration. A connection that fails here shows in the next call; this one has its result.
    fn stop_waiting(&self, link: &mut Link) {
        let mut request = [0; Header::SIZE + Event::SIZE];
        let body = if self.version.waits_with_body() {
            Event::SIZE
        } else {
            0
        };
        let header = Header::new(Command::StopWaitingReaderStateChange, body).to_bytes();
        request[..Header::SIZE].copy_from_slice(&header);
        if let Some(stream) = &mut link.stream {
            let sent = stream.send(&mut [IoSlice::new(&request[..Header::SIZE + body])], || {
                self.soon()
            });
            match sent {
                Ok(()) => stream.owe(EVENT_SIZE),
                Err(_) => {
                    let _: Outcome<()> = self.on_send(link, sent);
                }
            }
        }
    }
}
