//! Waiting for a change of readers or cards: register, look, sleep until the event, a cancel or the
//! timeout.
//!
//! States and registration come in one round trip, so that no change can fall between them. The end of a
//! registration needs no round trip at all: the next read skips the answer to STOP_WAITING. From protocol 4.4 on this is
//! eight bytes: its own answer, or the event that crossed it. Daemons up to pcsc-lite 1.8.18 answer
//! STOP_WAITING even where the event has crossed it, so there the answer to a VERSION request marks the end.

use std::io::IoSlice;
use std::time::{Duration, Instant};

use pcsc_process::cancellation::was_cancelled;
use pcsc_process::Waker;
use rustix::io::Errno;

use super::exchange::{Deadline, Link};
use super::session::Session;
use super::stream::Wake;
use crate::backend::signal::LOOK;
use crate::backend::status_change::{self, ReaderList, Watched};
use crate::error::{Error, Failure, Outcome};
use pcsc_wire::{Body, Command, Event, Header, ReaderStates, StateBatch, VersionExchange, EVENT_SIZE};

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
        let waker = self.signal.waker();
        loop {
            if self.signal.is_cancelled(since) {
                if let Some(waker) = waker {
                    waker.clear();
                }
                self.stop_waiting(link);
                return Err(Error::Cancelled.into());
            }
            let until = match (waker, deadline) {
                (Some(_), deadline) => deadline,
                (None, None) => Some(Instant::now() + LOOK),
                (None, Some(deadline)) => Some(deadline.min(Instant::now() + LOOK)),
            };
            let woken = self
                .stream(link)?
                .wait(waker, until)
                .and_then(|woken| match waker {
                    // A file of the program's, which may be readable for ever.
                    Some(waker) if woken == Wake::Woken && !waker.is_ours() => Err(Errno::BADF.into()),
                    _ => Ok(woken),
                });
            match self.on_receive(link, woken, Deadline::Never)? {
                Wake::Woken => waker.map_or((), Waker::clear),
                Wake::TimedOut if until != deadline && !was_cancelled() => (),
                Wake::TimedOut => {
                    self.stop_waiting(link);
                    return Err(Error::Timeout.into());
                }
                Wake::Readable => {
                    let mut bytes = [0; EVENT_SIZE];
                    let limit = self.limit();
                    let received = self.stream(link)?.receive(&mut bytes, &mut [], limit.instant());
                    self.on_receive(link, received, limit)?;
                    return Event::parse(&bytes).ok_or_else(|| Error::InternalError.into());
                }
            }
        }
    }

    /// Ends the registration. A connection that fails here shows in the next call; this one has its result.
    fn stop_waiting(&self, link: &mut Link) {
        const COMMAND: Command = Command::StopWaitingReaderStateChange;
        let mut request = [0; 2 * Header::SIZE + Event::SIZE + VersionExchange::SIZE];
        let (length, mark) = if self.version.waits_with_body() {
            let stop = Event { timeout: 0, rv: 0 }.emit_request(COMMAND, &mut request);
            let asked = VersionExchange::new(self.version);
            let length = stop + asked.emit_request(Command::Version, &mut request[stop..]);
            (length, Some(VersionExchange::new(self.told).to_bytes()))
        } else {
            request[..Header::SIZE].copy_from_slice(&Header::new(COMMAND, 0).to_bytes());
            (Header::SIZE, None)
        };
        let Some(stream) = &mut link.stream else { return };
        let sent = stream.send(&mut [IoSlice::new(&request[..length])], || self.limit().instant());
        match (&sent, mark) {
            (Ok(()), Some(mark)) => stream.owe_up_to(EVENT_SIZE, mark),
            (Ok(()), None) => stream.owe(EVENT_SIZE),
            (Err(_), _) => {
                let _: Outcome<()> = self.on_send(link, sent, Deadline::Never);
            }
        }
    }
}
