//! A context without a daemon: a client of this process's manager.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pcsc_ccid::reader::options::{self, Options};
use pcsc_manager::{Bus, CallError, Client, Handle, Manager};
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
    client: Arc<Client>,
    // After the client, whose connections end before the last context gives the readers back.
    shared: Arc<Shared>,
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
            client: Arc::new(Client::new(
                shared.manager().clone(),
                env::waits_for_shared_card(),
            )),
            shared,
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
        self.client.release();
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
        self.manager().changes().post();
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
        let connected = self.client()?.connect(name, share, protocols, deadline);
        Ok(wire::Connect {
            context: 0,
            reader: [0; wire::NAME_SIZE],
            share,
            protocols,
            card: connected.map_or(0, |connected| connected.handle),
            active: connected.map_or(0, |connected| connected.protocol),
            rv: code(connected),
        })
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
        let client = self.client()?;
        let reconnected = client.reconnect(card, share, protocols, initialization, deadline);
        Ok(wire::Reconnect {
            card,
            share,
            protocols,
            initialization,
            active: match reconnected {
                Ok(protocol) => protocol,
                // As a daemon and its client have it: a violation leaves the caller's value alone.
                Err(CallError::SharingViolation) => active,
                Err(_) => 0,
            },
            rv: code(reconnected),
        })
    }

    /// Ends a connection.
    pub fn disconnect(&self, card: Handle, disposition: u32) -> Outcome<wire::Disconnect> {
        let rv = code(self.client()?.disconnect(card, disposition));
        Ok(wire::Disconnect {
            card,
            disposition,
            rv,
        })
    }

    /// Begins a transaction.
    pub fn begin_transaction(
        &self,
        card: Handle,
        deadline: Option<Instant>,
    ) -> Outcome<wire::BeginTransaction> {
        match self.client()?.begin_transaction(card, deadline) {
            Err(CallError::Timeout) => Err(Error::Timeout.into()),
            begun => Ok(wire::BeginTransaction {
                card,
                rv: code(begun),
            }),
        }
    }

    /// Ends a transaction.
    pub fn end_transaction(&self, card: Handle, disposition: u32) -> Outcome<wire::EndTransaction> {
        let rv = code(self.client()?.end_transaction(card, disposition));
        Ok(wire::EndTransaction {
            card,
            disposition,
            rv,
        })
    }

    /// Whether a connection can be used, and the state of the reader called `name`.
    pub fn status<R>(
        &self,
        card: Handle,
        name: &[u8],
        look: impl Fn(Option<ReaderState<'_>>) -> R,
    ) -> Outcome<(u32, R)> {
        let rv = code(self.client()?.status(card));
        let table = self.table();
        Ok((rv, look(ReaderStates::new(&table).find(name))))
    }

    /// Exchanges an APDU.
    pub fn transmit(
        &self,
        mut message: wire::Transmit,
        command: &[u8],
        response: &mut [u8],
        deadline: Option<Instant>,
    ) -> Outcome<wire::Transmit> {
        let client = self.client()?;
        let answer = client.transmit(message.card, message.send_protocol, command, response, deadline);
        message.rv = code(answer);
        message.receive_length = length(answer.map(|answer| answer.length));
        if let Ok(answer) = answer {
            message.receive_protocol = answer.protocol;
            message.receive_pci_length = message.send_pci_length;
        }
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
        let (send_length, receive_length) = (data.len() as u32, answer.len() as u32);
        let returned = self.client()?.control(card, code, data, answer, deadline);
        Ok(wire::Control {
            card,
            code,
            send_length,
            receive_length,
            returned: length(returned),
            rv: self::code(returned),
        })
    }

    /// Gets an attribute's value.
    pub fn get_attribute(&self, card: Handle, id: u32) -> Outcome<wire::Attribute> {
        let mut value = [0; wire::ATTRIBUTE_SIZE];
        let got = self.client()?.get_attribute(card, id, &mut value);
        Ok(wire::Attribute {
            card,
            id,
            value,
            length: got.unwrap_or(0) as u32,
            rv: code(got),
        })
    }

    /// Sets an attribute's value.
    pub fn set_attribute(&self, card: Handle, id: u32, data: &[u8]) -> Outcome<wire::Attribute> {
        let rv = code(self.client()?.set_attribute(card, id, data));
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
            .wait_until_open(&|| self.signal.is_cancelled(since))
            .map_err(|_| Error::Cancelled)?;
        loop {
            self.check()?;
            let seen = self.manager().changes().changes();
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
            if !self.manager().changes().wait(seen, deadline) {
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
                    name: reader.name().as_bytes(),
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

    /// The client, for calls of connections.
    fn client(&self) -> Outcome<&Client> {
        self.check()?;
        Ok(&self.client)
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
            // Dropping these would use locks that the parent's threads may have held, and join threads that do not exist.
            std::mem::forget((self.client.clone(), self.shared.clone()));
        }
    }
}

/// What the user decides for the driver, by the same variables as under pcscd.
fn options() -> Options {
    let bits = options::number(&env::text("PCSC_IFD_DRIVER_OPTIONS")).unwrap_or(0);
    Options::default()
        .with_driver_options(bits)
        .with_locale(&env::text("LANG"))
}

/// The return code of a call.
fn code<T>(result: Result<T, CallError>) -> u32 {
    result.err().map_or(0, |error| Error::from(error).code())
}

/// How long an answer is, also where it does not fit.
fn length(result: Result<usize, CallError>) -> u32 {
    match result {
        Ok(length) | Err(CallError::InsufficientBuffer { needed: length }) => length as u32,
        Err(_) => 0,
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Error {
        match error {
            CallError::InsufficientBuffer { .. } => Error::InsufficientBuffer,
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
