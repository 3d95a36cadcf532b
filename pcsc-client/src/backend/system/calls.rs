//! A context with the platform's library, and its calls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::cards::{Cards, Connection};
use super::gate::Gate;
use super::library::{c_string, Library};
use super::platform;
use super::time_limit::until;
use super::waits::Waits;
use crate::backend::bytes::AttributeValue;
use crate::backend::calls::Calls;
use crate::backend::choice::BackendKind;
use crate::backend::lifecycle::Lifecycle;
use crate::backend::status_change::Watched;
use crate::backend::values::{Connected, ConnectionStatus, Pci, SessionOptions, Transmitted};
use crate::env;
use crate::error::{Cause, Error, Failure, Outcome};
use crate::ffi::SCARDCONTEXT;
use pcsc_constants as constants;
use pcsc_process::generation;
use pcsc_wire::{ReaderStateRecord, MAX_PAYLOAD};

/// A context with a PC/SC library that was loaded at run time.
#[derive(Debug)]
pub struct SystemContext {
    lifecycle: Lifecycle,
    waits: Waits,
    open: Arc<Open>,
    /// Of connects with a time limit, and of all calls where the library makes one at a time.
    gate: Arc<Gate>,
    cards: Mutex<Cards>,
}

/// The library's context. The last call that uses it ends it.
#[derive(Debug)]
struct Open {
    generation: u32,
    library: Library,
    handle: SCARDCONTEXT,
}

impl Drop for Open {
    fn drop(&mut self) {
        // To a forked child it is the parent's.
        if self.generation == generation() {
            // The error has no receiver.
            let _ = self.library.release(self.handle);
        }
    }
}

impl SystemContext {
    /// Loads the library that the caller or `PCSCLITE_SYSTEM_LIBRARY` names, or the platform's, and
    /// establishes a context.
    pub fn establish(options: &SessionOptions) -> Outcome<SystemContext> {
        let named = options.library.clone().or_else(env::chosen_library);
        let library = Library::load(named.as_deref())?;
        let handle = library.establish(options.scope).map_err(|failure| {
            if failure.error() != Error::NoService {
                return failure;
            }
            let library = library.path().to_owned();
            Failure::because(Error::NoService, Cause::NoSystemService { library })
        })?;
        Ok(SystemContext {
            lifecycle: Lifecycle::new(),
            waits: Waits::default(),
            open: Arc::new(Open {
                generation: generation(),
                library,
                handle,
            }),
            gate: Arc::default(),
            cards: Mutex::default(),
        })
    }

    /// The library's context. Returns an error after a fork or a release.
    fn open(&self) -> Outcome<&Arc<Open>> {
        self.lifecycle.check()?;
        Ok(&self.open)
    }

    /// The library, and a connection.
    fn card(&self, card: i32) -> Outcome<(&Arc<Open>, Connection)> {
        Ok((self.open()?, self.cards().get(card)?))
    }

    /// A gate for calls that wait for no others of the context, unless the library makes one at a time.
    fn own_gate(&self) -> Arc<Gate> {
        if platform::ONE_CALL_PER_CONTEXT {
            self.gate.clone()
        } else {
            Arc::default()
        }
    }

    fn cards(&self) -> MutexGuard<'_, Cards> {
        self.cards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the waits that were cancelled.
    fn interrupt(&self) -> Outcome<()> {
        let Open { library, handle, .. } = &*self.open;
        // First: a call that waits for the gate has not reached the library, and SCardCancel would not find
        // it.
        self.gate.wake();
        self.waits.interrupt(&self.lifecycle, || library.cancel(*handle))
    }

    /// Waits in the library until a state differs or the call is cancelled.
    fn wait(&self, timeout: Option<Duration>, watched: &mut [Watched<'_>], since: u64) -> Outcome<()> {
        let Open { library, handle, .. } = &**self.open()?;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // Without the deadline: also a look that does not wait waits for another call.
        let gate = self.own_gate();
        let _held = gate.take_unless(&|| self.lifecycle.is_cancelled(since), None)?;
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let waited = self.waits.run(&self.lifecycle, since, || {
                library.get_status_change(*handle, milliseconds(left), watched)
            });
            match &waited {
                // A cancel that was meant for a wait that had ended.
                Err(failure)
                    if failure.error() == Error::Cancelled && !self.lifecycle.is_cancelled(since) => {}
                // The time was longer than the library can count.
                Err(failure)
                    if failure.error() == Error::Timeout
                        && deadline.is_none_or(|deadline| Instant::now() < deadline) => {}
                _ => return waited,
            }
        }
    }
}

impl Calls for SystemContext {
    fn release(&self) -> Outcome<()> {
        self.lifecycle.release()?;
        // The library's context ends with the last call that uses it, which has no deadline.
        self.interrupt()
    }

    fn check_alive(&self) -> Outcome<()> {
        let open = self.open()?;
        open.library.is_valid(open.handle)
    }

    fn each_reader(&self, look: &mut dyn FnMut(ReaderStateRecord<'_>)) -> Outcome<()> {
        let Open { library, handle, .. } = &**self.open()?;
        // One gate for both calls: otherwise the list and the states could be of two moments.
        let held = self.own_gate().take(None)?;
        loop {
            let names = library.list_readers(*handle)?;
            let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
            let mut watched: Vec<Watched<'_>> = names
                .map(|name| Watched::new(name, constants::SCARD_STATE_UNAWARE))
                .collect();
            if watched.is_empty() {
                return Ok(());
            }
            match library.get_status_change(*handle, 0, &mut watched) {
                // A reader went between the two calls.
                Err(failure) if failure.error() == Error::UnknownReader => continue,
                // A wait from SCARD_STATE_UNAWARE times out if the state is unknown.
                Err(failure) if failure.error() != Error::Timeout => return Err(failure),
                _ => drop(held),
            }
            for reader in &watched {
                let event = reader.event().unwrap_or(0);
                look(ReaderStateRecord {
                    name: reader.name,
                    event_counter: event >> 16,
                    state: card_status(event),
                    sharing: sharing(event),
                    atr: reader.atr.as_deref().unwrap_or(&[]),
                    protocol: constants::SCARD_PROTOCOL_UNDEFINED,
                });
            }
            return Ok(());
        }
    }

    fn connect(
        &self,
        reader: &[u8],
        share: u32,
        protocols: u32,
        deadline: Option<Instant>,
    ) -> Outcome<Connected> {
        let open = self.open()?;
        let name = c_string(reader)?;
        // Before the connect: a connection for which there is no room would be lost to the caller and stay
        // open.
        self.cards().reserve()?;
        let connect = move |open: &Open| open.library.connect(open.handle, &name, share, protocols);
        // With a deadline one gate for all connects of the context, which bounds their threads to one.
        let gate = match deadline {
            Some(_) => self.gate.clone(),
            None => self.own_gate(),
        };
        let (handle, protocol) = within(open, &gate, deadline, connect, |open, (card, _)| {
            let _ = open.library.disconnect(card, constants::SCARD_LEAVE_CARD);
        })?;
        Ok(Connected {
            card: self.cards().add(handle, self.own_gate()),
            protocol,
        })
    }

    fn reconnect(
        &self,
        card: i32,
        share: u32,
        protocols: u32,
        initialization: u32,
        deadline: Option<Instant>,
    ) -> Outcome<u32> {
        let (open, Connection { handle, gate }) = self.card(card)?;
        let reconnect = move |open: &Open| open.library.reconnect(handle, share, protocols, initialization);
        within(open, &gate, deadline, reconnect, |_, _| ())
    }

    fn disconnect(&self, card: i32, disposition: u32) -> Outcome<()> {
        let (open, Connection { handle, gate }) = self.card(card)?;
        let open = open.clone();
        // Never given up: a handle that is not ended keeps the card in use.
        gate.make_or_leave(move || open.library.disconnect(handle, disposition))?;
        self.cards().remove(card);
        Ok(())
    }

    fn begin_transaction(&self, card: i32, deadline: Option<Instant>) -> Outcome<()> {
        let (open, Connection { handle, gate }) = self.card(card)?;
        let begin = move |open: &Open| open.library.begin_transaction(handle);
        within(open, &gate, deadline, begin, move |open, ()| {
            let _ = open.library.end_transaction(handle, constants::SCARD_LEAVE_CARD);
        })
    }

    fn end_transaction(&self, card: i32, disposition: u32) -> Outcome<()> {
        let (open, Connection { handle, gate }) = self.card(card)?;
        let open = open.clone();
        gate.make_or_leave(move || open.library.end_transaction(handle, disposition))
    }

    fn status(&self, card: i32, _reader: &[u8]) -> Outcome<ConnectionStatus> {
        let (open, Connection { handle, gate }) = self.card(card)?;
        let _held = gate.take(None)?;
        open.library.status(handle)
    }

    fn transmit(
        &self,
        card: i32,
        send: Pci,
        _receive: Pci,
        command: &[u8],
        response: &mut [u8],
        deadline: Option<Instant>,
    ) -> Outcome<Transmitted> {
        let (open, Connection { handle, gate }) = self.card(card)?;
        let protocol = send.protocol;
        let length = exchange(
            open,
            &gate,
            deadline,
            command,
            response,
            move |open, command, response| open.library.transmit(handle, protocol, command, response),
        )?;
        Ok(Transmitted { length, pci: send })
    }

    fn control(
        &self,
        card: i32,
        code: u32,
        data: &[u8],
        answer: &mut [u8],
        deadline: Option<Instant>,
    ) -> Outcome<usize> {
        let (open, Connection { handle, gate }) = self.card(card)?;
        exchange(open, &gate, deadline, data, answer, move |open, data, answer| {
            open.library.control(handle, code, data, answer)
        })
    }

    fn set_attribute(&self, card: i32, id: u32, data: &[u8]) -> Outcome<()> {
        let (open, Connection { handle, gate }) = self.card(card)?;
        let _held = gate.take(None)?;
        open.library.set_attribute(handle, id, data)
    }

    fn status_change(
        &self,
        timeout: Option<Duration>,
        watched: &mut [Watched<'_>],
        sticky: bool,
    ) -> Outcome<()> {
        self.lifecycle
            .wait(sticky, |since| self.wait(timeout, watched, since))
    }

    fn cancel(&self) -> Outcome<()> {
        self.lifecycle.cancel()?;
        self.interrupt()
    }

    fn get_attribute(&self, card: i32, id: u32) -> Outcome<AttributeValue> {
        let (open, Connection { handle, gate }) = self.card(card)?;
        let _held = gate.take(None)?;
        let mut value = [0; pcsc_wire::ATTRIBUTE_SIZE];
        let length = open.library.get_attribute(handle, id, &mut value)?;
        Ok(AttributeValue::of_array(value, length))
    }

    fn kind(&self) -> BackendKind {
        BackendKind::System {
            library: self.open.library.path().to_owned(),
        }
    }
}

/// Makes a call when its gate is free, by the deadline if there is one. `undo` takes back what a late call
/// has done.
fn within<T: Send + 'static>(
    open: &Arc<Open>,
    gate: &Arc<Gate>,
    deadline: Option<Instant>,
    call: impl FnOnce(&Open) -> Outcome<T> + Send + 'static,
    undo: impl FnOnce(&Open, T) + Send + 'static,
) -> Outcome<T> {
    let Some(deadline) = deadline else {
        let _held = gate.take(None)?;
        return call(open);
    };
    let (now, later) = (open.clone(), open.clone());
    until(
        gate,
        deadline,
        move || call(&now),
        move |result| undo(&later, result),
    )
}

/// Sends a message and receives the answer, by the deadline if there is one.
fn exchange(
    open: &Arc<Open>,
    gate: &Arc<Gate>,
    deadline: Option<Instant>,
    message: &[u8],
    answer: &mut [u8],
    call: impl FnOnce(&Open, &[u8], &mut [u8]) -> Outcome<usize> + Send + 'static,
) -> Outcome<usize> {
    // PC/SC Lite refuses buffers that are longer than its longest message.
    let room = answer.len().min(MAX_PAYLOAD);
    let answer = &mut answer[..room];
    if deadline.is_none() {
        let _held = gate.take(None)?;
        return call(open, message, answer);
    }
    // Copies, since the call may outlast this one. There may be a PIN in them.
    let message = Zeroizing::new(message.to_vec());
    let received = within(
        open,
        gate,
        deadline,
        move |open| {
            let mut received = Zeroizing::new(vec![0; room]);
            let length = call(open, &message, &mut received)?;
            received.truncate(length);
            Ok(received)
        },
        |_, _| (),
    )?;
    answer[..received.len()].copy_from_slice(&received);
    Ok(received.len())
}

/// A time in milliseconds, rounded up, as the library takes it.
fn milliseconds(time: Option<Duration>) -> u32 {
    const LONGEST: u128 = constants::INFINITE as u128 - 1;
    match time {
        None => constants::INFINITE,
        Some(time) => time.as_nanos().div_ceil(1_000_000).min(LONGEST) as u32,
    }
}

/// The bits of a card's status, from those of a reader's state.
fn card_status(event: u32) -> u32 {
    let bits = [
        (constants::SCARD_STATE_EMPTY, constants::SCARD_ABSENT),
        (constants::SCARD_STATE_PRESENT, constants::SCARD_PRESENT),
        (constants::SCARD_STATE_MUTE, constants::SCARD_SWALLOWED),
        (constants::SCARD_STATE_UNAVAILABLE, constants::SCARD_UNKNOWN),
    ];
    let set = bits.iter().filter(|(state, _)| event & state != 0);
    set.map(|(_, status)| status).sum()
}

/// How the reader is shared, as a daemon counts it.
fn sharing(event: u32) -> i32 {
    match (
        event & constants::SCARD_STATE_EXCLUSIVE != 0,
        event & constants::SCARD_STATE_INUSE != 0,
    ) {
        (true, _) => -1,
        (false, true) => 1,
        (false, false) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use constants::*;

    #[test]
    fn a_readers_state_gives_its_cards_status_and_its_sharing() {
        for (event, status, shared) in [
            (0, 0, 0),
            (SCARD_STATE_EMPTY, SCARD_ABSENT, 0),
            (SCARD_STATE_PRESENT | SCARD_STATE_INUSE, SCARD_PRESENT, 1),
            (
                SCARD_STATE_PRESENT | SCARD_STATE_MUTE | SCARD_STATE_EXCLUSIVE | SCARD_STATE_INUSE,
                SCARD_PRESENT | SCARD_SWALLOWED,
                -1,
            ),
            (SCARD_STATE_UNAVAILABLE | 5 << 16, SCARD_UNKNOWN, 0),
        ] {
            assert_eq!(
                (card_status(event), sharing(event)),
                (status, shared),
                "{event:x}"
            );
        }
    }

    #[test]
    fn a_time_is_rounded_up_to_milliseconds_and_never_endless() {
        for (time, expected) in [
            (None, INFINITE),
            (Some(Duration::ZERO), 0),
            (Some(Duration::from_nanos(1)), 1),
            (Some(Duration::from_millis(7)), 7),
            (Some(Duration::MAX), INFINITE - 1),
        ] {
            assert_eq!(milliseconds(time), expected, "{time:?}");
        }
    }
}
