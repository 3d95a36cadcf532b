//! A context without a daemon. Its calls give what the daemon's replies would hold.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pcsc_ccid::reader::options::{self, Options};
use pcsc_manager::{check_disposition, check_terms, Bus, CallError, Handle, Manager, Reader};
use pcsc_manager::{RemoteBus, SimulatedBus, StartError, UsbBus};

use super::current::{self, Kind, Shared};
use crate::backend::signal::{Release, Signal};
use crate::backend::status_change::{self, ReaderList, Watched};
use crate::backend::Listener;
use crate::error::{Cause, Error, Failure, Outcome};
use crate::{env, process};
use pcsc_wire::{self as wire, ReaderState, ReaderStates};

/// A context on the readers of this process.
pub struct Session {
    generation: u32,
    shared: Arc<Shared>,
    cards: Mutex<HashMap<Handle, Arc<Reader>>>,
    signal: Signal,
}

impl Session {
    /// A context on the readers on the USB.
    pub fn on_usb() -> Outcome<Session> {
        let bus = || UsbBus::new(options()).map(|bus| Arc::new(bus) as Arc<dyn Bus>);
        Ok(Session::sharing(current::acquire(Kind::Usb, bus)?))
    }

    /// A context of its own on the readers of one device, whose node is open for reading and writing.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn on_device(device: std::os::fd::OwnedFd) -> Outcome<Session> {
        let bus = pcsc_manager::DeviceBus::new(device, options())?;
        Ok(Session::on(Arc::new(Manager::start(
            Arc::new(bus),
            current::settings(),
        )?)))
    }

    /// A context on simulated readers: those behind a socket, where `what` is its path; those of models, where
    /// it is a list of their names; and the bundled one where it is empty.
    pub fn on_simulation(what: &str) -> Outcome<Session> {
        let bus = || -> Result<Arc<dyn Bus>, StartError> {
            Ok(match what {
                "" => Arc::new(SimulatedBus::bundled()?.with_options(options())),
                path if path.contains('/') => Arc::new(RemoteBus::connect(Path::new(path))?),
                models => Arc::new(SimulatedBus::of_models(models)?.with_options(options())),
            })
        };
        Ok(Session::sharing(current::acquire(Kind::Simulated, bus)?))
    }

    /// A context on a manager.
    pub fn on(manager: Arc<Manager>) -> Session {
        Session::sharing(Shared::alone(manager))
    }

    fn sharing(shared: Arc<Shared>) -> Session {
        Session {
            generation: process::generation(),
            shared,
            cards: Mutex::default(),
            signal: Signal::default(),
        }
    }

    /// The manager of the readers.
    pub fn manager(&self) -> &Manager {
        self.shared.manager()
    }

    /// Notes what is at the daemon's socket, without being a daemon that listens.
    pub fn note_daemon(&self, listener: Option<Listener>) {
        self.shared.note_daemon(listener);
    }

    /// Ends the context and its connections.
    pub fn release(&self) -> Outcome<()> {
        self.check_handle()?;
        if self.signal.release() == Release::Repeated {
            return Err(Error::InvalidHandle.into());
        }
        self.wake_all();
        for (handle, reader) in std::mem::take(&mut *lock(&self.cards)) {
            reader.abandon(handle);
        }
        Ok(())
    }

    /// Whether calls can still succeed.
    pub fn check_alive(&self) -> Outcome<()> {
        self.check_handle()?;
        if self.manager().is_over() {
            return Err(Failure::quiet(Error::InvalidHandle, Cause::GivenBack));
        }
        Ok(())
    }

    /// Refuses what a fork, a release, or a change to the daemon has left behind.
    fn check(&self) -> Outcome<()> {
        self.check_handle()?;
        if self.manager().is_over() {
            return Err(Failure::quiet(Error::NoService, Cause::GivenBack));
        }
        Ok(())
    }

    fn check_handle(&self) -> Outcome<()> {
        if self.generation != process::generation() {
            return Err(Failure::quiet(Error::InvalidHandle, Cause::Forked));
        }
        if self.signal.is_released() {
            return Err(Error::InvalidHandle.into());
        }
        Ok(())
    }

    /// Cancels the waits in progress. Safe in a signal handler: takes no lock and allocates nothing, also
    /// where it fails.
    pub fn cancel(&self) -> Outcome<()> {
        if self.generation != process::generation() || self.signal.is_released() {
            return Err(Error::InvalidHandle.into());
        }
        if self.manager().is_over() {
            return Err(Error::NoService.into());
        }
        self.signal.cancel();
        self.manager().board().post();
        Ok(())
    }

    /// Looks at the reader states of now.
    pub fn with_states<R>(&self, look: impl FnOnce(ReaderStates<'_>) -> R) -> Outcome<R> {
        self.check()?;
        Ok(look(ReaderStates::new(&self.table())))
    }

    /// Connects to the card in a reader, or to the reader.
    pub fn connect(
        &self,
        name: &[u8],
        share: u32,
        protocols: u32,
        deadline: Option<Instant>,
    ) -> Outcome<wire::Connect> {
        static NEXT: AtomicI32 = AtomicI32::new(1);
        self.check()?;
        let card = NEXT.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let connected = check_terms(share, protocols).and_then(|()| {
            let reader = self.manager().find(name).ok_or(CallError::UnknownReader)?;
            let active = reader.connect(card, share, protocols, deadline, &|| self.signal.is_released())?;
            self.keep(card, reader)?;
            Ok(active)
        });
        let (active, rv) = reply(connected);
        Ok(wire::Connect {
            context: 0,
            reader: [0; wire::NAME_SIZE],
            share,
            protocols,
            card,
            active,
            rv,
        })
    }

    /// Keeps a connection, unless the context was released while it was made.
    fn keep(&self, card: Handle, reader: Arc<Reader>) -> Result<(), CallError> {
        let mut cards = lock(&self.cards);
        // A release that comes later finds it there.
        if self.signal.is_released() {
            drop(cards);
            reader.abandon(card);
            return Err(CallError::InvalidHandle);
        }
        cards.insert(card, reader);
        Ok(())
    }

    /// Gives a connection new terms.
    pub fn reconnect(
        &self,
        card: Handle,
        share: u32,
        protocols: u32,
        initialization: u32,
        active: u32,
        deadline: Option<Instant>,
    ) -> Outcome<wire::Reconnect> {
        let reader = self.reader(card)?;
        let reconnected = if initialization > 2 {
            Err(CallError::InvalidValue)
        } else {
            match check_terms(share, protocols) {
                Err(CallError::ProtoMismatch) if !(1..=3).contains(&share) => Err(CallError::InvalidValue),
                terms => terms,
            }
        }
        .and_then(|()| {
            self.retry(&reader, deadline, || {
                reader.reconnect(card, share, protocols, initialization, deadline)
            })
        });
        let (active, rv) = match reconnected {
            Ok(active) => (active, 0),
            // As a daemon and its client have it: a violation leaves the caller's value alone.
            Err(CallError::SharingViolation) => (active, Error::SharingViolation.code()),
            Err(error) => (0, Error::from(error).code()),
        };
        Ok(wire::Reconnect {
            card,
            share,
            protocols,
            initialization,
            active,
            rv,
        })
    }

    /// Ends a connection.
    pub fn disconnect(&self, card: Handle, disposition: u32) -> Outcome<wire::Disconnect> {
        let reader = self.reader(card)?;
        let gave_up = || self.signal.is_released();
        let ended =
            check_disposition(disposition).and_then(|()| reader.disconnect(card, disposition, &gave_up));
        if ended.is_ok() {
            lock(&self.cards).remove(&card);
        }
        Ok(wire::Disconnect {
            card,
            disposition,
            rv: reply(ended).1,
        })
    }

    /// Begins a transaction.
    pub fn begin_transaction(
        &self,
        card: Handle,
        deadline: Option<Instant>,
    ) -> Outcome<wire::BeginTransaction> {
        let reader = self.reader(card)?;
        match reader.begin(card, deadline, &|| self.signal.is_released()) {
            Err(CallError::Timeout) => Err(Error::Timeout.into()),
            begun => Ok(wire::BeginTransaction {
                card,
                rv: reply(begun).1,
            }),
        }
    }

    /// Ends a transaction.
    pub fn end_transaction(&self, card: Handle, disposition: u32) -> Outcome<wire::EndTransaction> {
        let reader = self.reader(card)?;
        let ended = check_disposition(disposition).and_then(|()| reader.end_transaction(card, disposition));
        Ok(wire::EndTransaction {
            card,
            disposition,
            rv: reply(ended).1,
        })
    }

    /// Whether a connection can be used, and the state of the reader called `name`.
    pub fn status<R>(
        &self,
        card: Handle,
        name: &[u8],
        look: impl Fn(Option<ReaderState<'_>>) -> R,
    ) -> Outcome<(u32, R)> {
        let reader = self.reader(card)?;
        let result = self.retry(&reader, None, || reader.check(card));
        let table = self.table();
        Ok((reply(result).1, look(ReaderStates::new(&table).find(name))))
    }

    /// Exchanges an APDU.
    pub fn transmit(
        &self,
        mut message: wire::Transmit,
        command: &[u8],
        response: &mut [u8],
        deadline: Option<Instant>,
    ) -> Outcome<wire::Transmit> {
        let reader = self.reader(message.card)?;
        let result = self.retry(&reader, deadline, || {
            reader.transmit(message.card, message.send_protocol, command, response, deadline)
        });
        message.receive_length = 0;
        message.rv = match result {
            Ok((length, protocol)) => {
                message.receive_length = length as u32;
                message.receive_protocol = protocol;
                message.receive_pci_length = message.send_pci_length;
                if length > response.len() {
                    Error::InsufficientBuffer.code()
                } else {
                    0
                }
            }
            Err(error) => Error::from(error).code(),
        };
        Ok(message)
    }

    /// Uses a function of a reader's own.
    pub fn control(
        &self,
        card: Handle,
        code: u32,
        data: &[u8],
        answer: &mut [u8],
        deadline: Option<Instant>,
    ) -> Outcome<wire::Control> {
        let reader = self.reader(card)?;
        let (send_length, receive_length) = (data.len() as u32, answer.len() as u32);
        let (returned, rv) = match reader.control(card, code, data, answer, deadline) {
            Ok(length) if length > answer.len() => (length as u32, Error::InsufficientBuffer.code()),
            Ok(length) => (length as u32, 0),
            Err(error) => (0, Error::from(error).code()),
        };
        Ok(wire::Control {
            card,
            code,
            send_length,
            receive_length,
            returned,
            rv,
        })
    }

    /// Gets an attribute's value.
    pub fn get_attribute(&self, card: Handle, id: u32) -> Outcome<wire::Attribute> {
        let reader = self.reader(card)?;
        let mut value = [0; wire::ATTRIBUTE_SIZE];
        let (length, rv) = reply(
            reader
                .get_attribute(card, id, &mut value)
                .map(|length| length as u32),
        );
        Ok(wire::Attribute {
            card,
            id,
            value,
            length,
            rv,
        })
    }

    /// Sets an attribute's value.
    pub fn set_attribute(&self, card: Handle, id: u32, data: &[u8]) -> Outcome<wire::Attribute> {
        let reader = self.reader(card)?;
        let (_, rv) = reply(reader.set_attribute(card, id, data).map(|()| 0));
        Ok(wire::Attribute {
            card,
            id,
            value: [0; wire::ATTRIBUTE_SIZE],
            length: data.len() as u32,
            rv,
        })
    }

    /// Waits until something differs from what the caller knows; see the daemon's session.
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
        let may_block = timeout != Some(Duration::ZERO);
        let mut list = ReaderList::default();
        let mut is_first = true;
        // A wait that names no reader, but for those that come and go, opens no device.
        let watched_for = watched.iter().filter(|entry| !entry.is_ignored());
        let mut watching = self.manager().watching(watched_for.map(|entry| entry.name));
        watching
            .wait_for_first_look(&|| self.signal.is_cancelled(since))
            .map_err(|_| Error::Cancelled)?;
        loop {
            self.check()?;
            let seen = self.manager().board().changes();
            watching.refresh(self.manager());
            let table = self.table();
            let states = ReaderStates::new(&table);
            if is_first && !status_change::all_known(watched, &states) {
                return Err(Error::UnknownReader.into());
            }
            is_first = false;
            if status_change::evaluate(watched, &states, Some(self.manager().events()), &mut list) {
                return Ok(());
            }
            if !may_block {
                return Err(Error::Timeout.into());
            }
            if self.signal.is_cancelled(since) {
                return Err(Error::Cancelled.into());
            }
            if !self.manager().board().wait(seen, deadline) {
                return Err(Error::Timeout.into());
            }
            if self.signal.is_cancelled(since) {
                return Err(Error::Cancelled.into());
            }
        }
    }

    fn table(&self) -> Vec<u8> {
        self.manager()
            .readers()
            .iter()
            .flat_map(|reader| {
                let now = reader.snapshot();
                ReaderState {
                    name: reader.name.as_bytes(),
                    event_counter: now.event_counter,
                    state: now.status,
                    sharing: now.sharing,
                    atr: &now.atr,
                    protocol: now.protocol,
                }
                .to_bytes()
            })
            .collect()
    }

    fn reader(&self, card: Handle) -> Outcome<Arc<Reader>> {
        self.check()?;
        lock(&self.cards)
            .get(&card)
            .cloned()
            .ok_or_else(|| Error::InvalidHandle.into())
    }

    /// Waits for other connections' transactions, unless the user wants no waiting.
    fn retry<T>(
        &self,
        reader: &Reader,
        deadline: Option<Instant>,
        call: impl FnMut() -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let waits = env::waits_for_shared_card();
        reader.retry(waits, deadline, &|| self.signal.is_released(), call)
    }

    fn wake_all(&self) {
        self.manager().board().post();
        for reader in self.manager().readers() {
            reader.wake();
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // In a forked child this refuses: the threads and the devices are the parent's.
        if self.release().is_err() && self.generation != process::generation() {
            // Dropping the manager would join threads that do not exist here.
            std::mem::forget(self.shared.clone());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the user decides for the driver, by the same variables as under pcscd.
fn options() -> Options {
    let bits = options::number(&env::text("PCSC_IFD_DRIVER_OPTIONS")).unwrap_or(0);
    Options::default()
        .with_driver_options(bits)
        .with_locale(&env::text("LANG"))
}

fn reply<T: Default>(result: Result<T, CallError>) -> (T, u32) {
    match result {
        Ok(value) => (value, 0),
        Err(error) => (T::default(), Error::from(error).code()),
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Error {
        match error {
            CallError::InsufficientBuffer => Error::InsufficientBuffer,
            CallError::InvalidHandle => Error::InvalidHandle,
            CallError::InvalidValue => Error::InvalidValue,
            CallError::NoSmartcard => Error::NoSmartcard,
            CallError::NotTransacted => Error::NotTransacted,
            CallError::ProtoMismatch => Error::ProtoMismatch,
            CallError::ReaderUnavailable => Error::ReaderUnavailable,
            CallError::RemovedCard => Error::RemovedCard,
            CallError::ResetCard => Error::ResetCard,
            CallError::SharingViolation => Error::SharingViolation,
            CallError::Timeout => Error::Timeout,
            CallError::UnknownReader => Error::UnknownReader,
            CallError::UnpoweredCard => Error::UnpoweredCard,
            CallError::UnresponsiveCard => Error::UnresponsiveCard,
            CallError::UnsupportedFeature => Error::UnsupportedFeature,
            _ => Error::InternalError,
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        let code = match error {
            StartError::Thread(_) => Error::NoMemory,
            _ => Error::NoService,
        };
        let cause = match error {
            StartError::Thread(error) => Cause::System(error),
            StartError::Usb(error) => Cause::Usb(error),
            StartError::ForkedFromDriver => Cause::ForkedFromDriver,
            StartError::UnknownModel(name) => Cause::UnknownModel(name),
            StartError::Connect { path, source } => Cause::Simulation { path, source },
            other => Cause::Usb(std::io::Error::other(other)),
        };
        Failure::because(code, cause)
    }
}
