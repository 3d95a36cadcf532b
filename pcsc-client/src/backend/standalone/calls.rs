//! A context without a daemon: a client of this process's manager.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pcsc_ccid::reader::ReaderOptions;
use pcsc_manager::{Bus, CallError, Client, ConnectionHandle, ManagedReader, Manager, Snapshot, Watching};
use pcsc_manager::{StartError, UsbBus};
use pcsc_wire::ReaderStateRecord;

use super::current;
use crate::backend::bytes::AttributeValue;
use crate::backend::calls::Calls;
use crate::backend::choice::BackendKind;
use crate::backend::daemon::Listeners;
use crate::backend::lifecycle::Lifecycle;
use crate::backend::status_change::{wait_for_change, Comparison, Readers, StatusChange, Watched};
use crate::backend::values::{Connected, ConnectionStatus, Pci, Transmitted};
use crate::env;
use crate::error::{Cause, Error, Failure, Outcome};

/// A context on the readers of this process.
pub struct StandaloneContext {
    kind: BackendKind,
    /// When the last client of a manager is dropped, the manager gives the readers back.
    client: Arc<Client>,
    lifecycle: Lifecycle,
}

impl StandaloneContext {
    /// A context on the readers on the USB. `daemons` is what is at the daemons' sockets, without being a
    /// daemon that listens.
    pub(crate) fn on_usb(daemons: Listeners) -> Outcome<StandaloneContext> {
        let bus = || UsbBus::new(options()).map(|bus| Arc::new(bus) as Arc<dyn Bus>);
        let manager = current::USB.acquire(daemons, bus)?;
        Ok(StandaloneContext::new(BackendKind::Standalone, manager))
    }

    /// A context of its own on the readers of one device, whose node is open for reading and writing.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn on_device(device: std::os::fd::OwnedFd) -> Outcome<StandaloneContext> {
        let bus = pcsc_manager::FixedBus::of_device(device, options())?;
        let manager = Manager::start(Arc::new(bus), current::settings())?;
        Ok(StandaloneContext::new(BackendKind::Standalone, Arc::new(manager)))
    }

    /// A context on the simulated readers that [`simulated_bus`](pcsc_manager::simulated_bus) makes of
    /// `what`.
    #[cfg(feature = "sim")]
    pub(crate) fn on_simulation(what: &str) -> Outcome<StandaloneContext> {
        let bus = || pcsc_manager::simulated_bus(what, options());
        let manager = current::SIMULATED.acquire(Listeners::NONE, bus)?;
        Ok(StandaloneContext::on(manager))
    }

    /// A context on a manager of simulated readers.
    pub fn on(manager: Arc<Manager>) -> StandaloneContext {
        StandaloneContext::new(BackendKind::Simulated, manager)
    }

    fn new(kind: BackendKind, manager: Arc<Manager>) -> StandaloneContext {
        StandaloneContext {
            kind,
            client: Arc::new(Client::new(manager, env::waits_for_shared_card())),
            lifecycle: Lifecycle::new(),
        }
    }

    /// The manager of the readers.
    pub fn manager(&self) -> &Manager {
        self.client.manager()
    }

    /// Returns an error after a fork, a release, or a change to the daemon.
    fn check(&self) -> Outcome<()> {
        self.lifecycle.check()?;
        if self.manager().is_over() {
            return Err(Failure::quiet(Error::NoService, Cause::GivenBack));
        }
        Ok(())
    }

    /// The client, for calls of connections.
    fn client(&self) -> Outcome<&Client> {
        self.check()?;
        Ok(&self.client)
    }
}

impl Calls for StandaloneContext {
    fn release(&self) -> Outcome<()> {
        self.lifecycle.release()?;
        self.client.release();
        Ok(())
    }

    fn check_alive(&self) -> Outcome<()> {
        self.lifecycle.check()?;
        if self.manager().is_over() {
            return Err(Failure::quiet(Error::InvalidHandle, Cause::GivenBack));
        }
        Ok(())
    }

    fn cancel(&self) -> Outcome<()> {
        // No thread waits for readers of a manager that has ended.
        let is_over = self.manager().is_over();
        if is_over && self.lifecycle.is_usable() {
            return Err(Error::NoService.into());
        }
        self.lifecycle.cancel()?;
        // After the count of cancels, which the wait compares when it wakes.
        self.manager().changes().post();
        Ok(())
    }

    fn each_reader(&self, look: &mut dyn FnMut(ReaderStateRecord<'_>)) -> Outcome<()> {
        self.check()?;
        let snapshots = snapshots(self.manager());
        snapshots.iter().map(reader_state).for_each(look);
        Ok(())
    }

    fn connect(
        &self,
        reader: &[u8],
        share: u32,
        protocols: u32,
        deadline: Option<Instant>,
    ) -> Outcome<Connected> {
        let connected = self.client()?.connect(reader, share, protocols, deadline);
        let connected = connected.map_err(|error| Failure::from(error).with_detail(0))?;
        Ok(Connected {
            card: connected.handle,
            protocol: connected.protocol,
        })
    }

    fn reconnect(
        &self,
        card: ConnectionHandle,
        share: u32,
        protocols: u32,
        initialization: u32,
        deadline: Option<Instant>,
    ) -> Outcome<u32> {
        let client = self.client()?;
        let protocol = client.reconnect(card, share, protocols, initialization, deadline);
        protocol.map_err(|error| Failure::from(error).with_detail(0))
    }

    fn disconnect(&self, card: ConnectionHandle, disposition: u32) -> Outcome<()> {
        Ok(self.client()?.disconnect(card, disposition)?)
    }

    fn begin_transaction(&self, card: ConnectionHandle, deadline: Option<Instant>) -> Outcome<()> {
        Ok(self.client()?.begin_transaction(card, deadline)?)
    }

    fn end_transaction(&self, card: ConnectionHandle, disposition: u32) -> Outcome<()> {
        Ok(self.client()?.end_transaction(card, disposition)?)
    }

    fn status(&self, card: ConnectionHandle, reader: &[u8]) -> Outcome<ConnectionStatus> {
        // The call first and its result last, as in PC/SC Lite's client: a reader that is gone is reported
        // before a card that was reset.
        let result = self.client()?.status(card);
        let found = self.manager().find(reader).ok_or(Error::ReaderUnavailable)?;
        result?;
        let now = found.snapshot();
        Ok(reader_state(&(found, now)).into())
    }

    fn transmit(
        &self,
        card: ConnectionHandle,
        send: Pci,
        _receive: Pci,
        command: &[u8],
        response: &mut [u8],
        deadline: Option<Instant>,
    ) -> Outcome<Transmitted> {
        let client = self.client()?;
        let answer = client.transmit(card, send.protocol, command, response, deadline);
        let answer = answer.map_err(with_length)?;
        Ok(Transmitted {
            length: answer.length,
            pci: Pci {
                protocol: answer.protocol,
                length: send.length,
            },
        })
    }

    fn control(
        &self,
        card: ConnectionHandle,
        code: u32,
        data: &[u8],
        answer: &mut [u8],
        deadline: Option<Instant>,
    ) -> Outcome<usize> {
        let client = self.client()?;
        client
            .control(card, code, data, answer, deadline)
            .map_err(with_length)
    }

    fn get_attribute(&self, card: ConnectionHandle, id: u32) -> Outcome<AttributeValue> {
        let mut value = [0; pcsc_wire::ATTRIBUTE_SIZE];
        let length = self.client()?.get_attribute(card, id, &mut value)?;
        Ok(AttributeValue::of_array(value, length))
    }

    fn set_attribute(&self, card: ConnectionHandle, id: u32, data: &[u8]) -> Outcome<()> {
        Ok(self.client()?.set_attribute(card, id, data)?)
    }

    fn kind(&self) -> BackendKind {
        self.kind.clone()
    }

    fn manager(&self) -> Option<&Manager> {
        Some(self.client.manager())
    }

    fn status_change(
        &self,
        timeout: Option<Duration>,
        watched: &mut [Watched<'_>],
        sticky: bool,
    ) -> Outcome<()> {
        self.lifecycle.wait(sticky, |since| {
            let is_cancelled = || self.lifecycle.is_cancelled(since);
            // A wait that watches the pseudo-reader alone opens no device.
            let watched_for = watched.iter().filter(|entry| !entry.is_ignored());
            let watching = self.manager().watching(watched_for.map(|entry| entry.name));
            watching
                .wait_until_open(&is_cancelled)
                .map_err(|_| Error::Cancelled)?;
            let mut readers = StandaloneReaders {
                context: self,
                watching,
                is_cancelled: &is_cancelled,
                seen: None,
            };
            wait_for_change(&mut readers, timeout, watched)
        })
    }
}

impl std::fmt::Debug for StandaloneContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandaloneContext")
            .field("lifecycle", &self.lifecycle)
            .finish_non_exhaustive()
    }
}

impl Drop for StandaloneContext {
    fn drop(&mut self) {
        // Returns an error in a forked child: the threads and the devices are the parent's.
        if self.release().is_err() && self.lifecycle.is_inherited() {
            // Dropping it would use locks that the parent's threads may have held, and join threads that do
            // not exist.
            std::mem::forget(self.client.clone());
        }
    }
}

/// The driver's options, from the environment.
fn options() -> ReaderOptions {
    pcsc_manager::environment::options(env::text)
}

/// The readers of this process, while one call waits.
struct StandaloneReaders<'a> {
    context: &'a StandaloneContext,
    watching: Watching<'a>,
    is_cancelled: &'a dyn Fn() -> bool,
    /// The count of changes before the last look, if that has registered.
    seen: Option<u32>,
}

impl Readers for StandaloneReaders<'_> {
    fn look(&mut self, call: &mut StatusChange<'_, '_>, register: bool) -> Outcome<Comparison> {
        let manager = self.context.manager();
        // Before the look, so that no change falls between them.
        self.seen = register.then(|| manager.changes().changes());
        self.watching.refresh(&manager.readers());
        let snapshots = snapshots(manager);
        // After the look: the end of the manager removes all readers. A release ends a call in progress as a
        // cancel does.
        let usable = self.context.check();
        self.refuse_cancelled()?;
        usable?;
        Ok(call.compare(snapshots.iter().map(reader_state), Some(manager.events())))
    }

    fn wait(&mut self, deadline: Option<Instant>) -> Outcome<bool> {
        self.refuse_cancelled()?;
        // Taken: a wait without a new look returns at once.
        let has_changed = match self.seen.take() {
            Some(seen) => self.context.manager().changes().wait(seen, deadline),
            None => true,
        };
        if has_changed {
            self.refuse_cancelled()?;
        }
        Ok(has_changed)
    }

    fn stop(&mut self) {}
}

impl StandaloneReaders<'_> {
    fn refuse_cancelled(&self) -> Outcome<()> {
        if (self.is_cancelled)() {
            return Err(Error::Cancelled.into());
        }
        Ok(())
    }
}

/// Each reader with its state of now.
fn snapshots(manager: &Manager) -> Vec<(Arc<ManagedReader>, Snapshot)> {
    let with_state = |reader: &Arc<ManagedReader>| (reader.clone(), reader.snapshot());
    manager.readers().iter().map(with_state).collect()
}

fn reader_state((reader, now): &(Arc<ManagedReader>, Snapshot)) -> ReaderStateRecord<'_> {
    ReaderStateRecord {
        name: reader.name().as_bytes(),
        event_counter: now.event_counter,
        state: now.status,
        sharing: now.sharing,
        atr: &now.atr,
        protocol: now.protocol,
    }
}

/// The failure of a call with an answer, and how long the answer is where it does not fit.
fn with_length(error: CallError) -> Failure {
    Failure::from(error).with_detail(error.needed() as u32)
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        Failure::plain(error.code())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        let code = match error {
            StartError::Thread(_) => Error::NoMemory,
            _ => Error::NoService,
        };
        Failure::because(code, error.into())
    }
}

#[cfg(test)]
mod tests;
