//! A device that a driver, a watcher of its interrupt pipe and a test share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::device::SimDevice;
use crate::card::CharacterCard;
use pcsc_ccid::internals::{lock, wait_until};
use pcsc_ccid::shared::InterruptSource;
use pcsc_ccid::transport::{copy, Transport, TransportError};

/// Something that happens to a device.
#[non_exhaustive]
pub enum SimEvent {
    /// A card comes into a slot.
    Insert(u8, Box<dyn CharacterCard>),
    /// The card of a slot is taken.
    Remove(u8),
    /// The device is pulled out.
    Unplug,
    /// The wait that is going on then is cancelled.
    Cancel,
}

struct SharedDevice {
    device: Mutex<DeviceState>,
    /// The device's clock in nanoseconds, as of the last unlocking: a driver reads it several times in an
    /// exchange, and does not lock the device for that.
    clock: AtomicU64,
    changed: Condvar,
}

struct DeviceState {
    device: SimDevice,
    /// What will happen, by time.
    schedule: Vec<(Duration, SimEvent)>,
    /// The wait for a notification in progress, or the next one, is to end.
    is_interrupted: bool,
}

/// A device that several parties share; clones are the same one.
#[derive(Clone)]
pub struct SimHandle {
    shared: Arc<SharedDevice>,
}

impl SimHandle {
    /// Shares a device.
    pub fn new(device: SimDevice) -> SimHandle {
        SimHandle {
            shared: Arc::new(SharedDevice {
                clock: AtomicU64::new(nanoseconds(&device)),
                device: Mutex::new(DeviceState {
                    device,
                    schedule: Vec::new(),
                    is_interrupted: false,
                }),
                changed: Condvar::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, DeviceState> {
        lock(&self.shared.device)
    }

    /// Does something with the device, and wakes who waits for its notifications.
    pub fn with<T>(&self, action: impl FnOnce(&mut SimDevice) -> T) -> T {
        let mut state = self.lock();
        let result = action(&mut state.device);
        self.unlock(state);
        result
    }

    /// Unlocks the device. Wakes the threads that wait for a notification if there is one, so that an
    /// exchange wakes no thread.
    fn unlock(&self, state: MutexGuard<'_, DeviceState>) {
        self.shared
            .clock
            .store(nanoseconds(&state.device), Ordering::SeqCst);
        let is_notified = state.device.has_notification() || state.device.is_gone();
        drop(state);
        if is_notified {
            self.shared.changed.notify_all();
        }
    }

    /// Puts a card in a slot.
    pub fn insert(&self, slot: u8, card: impl CharacterCard + 'static) {
        self.with(|device| device.insert(slot, Box::new(card)));
    }

    /// Takes the card out of a slot.
    pub fn remove(&self, slot: u8) {
        self.with(|device| device.remove(slot));
    }

    /// Pulls the device out.
    pub fn unplug(&self) {
        self.with(SimDevice::unplug);
    }

    /// Lets something happen once the device's clock reaches `at`: in the middle of a wait, if a wait goes
    /// on then.
    pub fn schedule(&self, at: Duration, event: SimEvent) {
        let mut state = self.lock();
        let place = state.schedule.partition_point(|(other, _)| *other <= at);
        state.schedule.insert(place, (at, event));
    }

    /// The driver's end.
    pub fn transport(&self) -> SimTransport {
        SimTransport { handle: self.clone() }
    }

    /// A wait for notifications.
    pub fn watch(&self) -> SimWatch {
        SimWatch { handle: self.clone() }
    }
}

/// A device's clock. One that has waited without end stops after 584 years.
fn nanoseconds(device: &SimDevice) -> u64 {
    u64::try_from(device.now().as_nanos()).unwrap_or(u64::MAX)
}

impl DeviceState {
    /// Advances the clock up to `until`; stops at an event that ends the wait.
    fn pass(&mut self, until: Duration) -> Result<(), TransportError> {
        let is_due = self.schedule.first().is_some_and(|(at, _)| *at <= until);
        let due = is_due.then(|| self.schedule.remove(0));
        let at = due.as_ref().map_or(until, |(at, _)| *at);
        let now = self.device.now();
        self.device.advance(at.saturating_sub(now));
        match due.map(|(_, event)| event) {
            None => (),
            Some(SimEvent::Insert(slot, card)) => self.device.insert(slot, card),
            Some(SimEvent::Remove(slot)) => self.device.remove(slot),
            Some(SimEvent::Unplug) => {
                self.device.unplug();
                return Err(TransportError::Gone);
            }
            Some(SimEvent::Cancel) if at > now => return Err(TransportError::Cancelled),
            Some(SimEvent::Cancel) => (),
        }
        Ok(())
    }
}

/// The bulk and control pipes of a simulated device. A wait costs no time but the device's own.
pub struct SimTransport {
    handle: SimHandle,
}

impl Transport for SimTransport {
    fn send(&mut self, message: &[u8], _timeout: Duration) -> Result<(), TransportError> {
        self.handle.with(|device| device.bulk_out(message))
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        let mut state = self.handle.lock();
        let deadline = state.device.now().saturating_add(timeout);
        let result = loop {
            match state.device.bulk_in(buffer.len()) {
                Err(error) => break Err(error),
                Ok(Some(transfer)) => break Ok(copy(&transfer, buffer)),
                Ok(None) => (),
            }
            let now = state.device.now();
            if now >= deadline {
                break Err(TransportError::Timeout);
            }
            let next = state.device.ready_at().unwrap_or(deadline).min(deadline);
            if let Err(error) = state.pass(next) {
                break Err(error);
            }
        };
        self.handle.unlock(state);
        result
    }

    fn control_out(
        &mut self,
        request: u8,
        value: u16,
        data: &[u8],
        _timeout: Duration,
    ) -> Result<(), TransportError> {
        self.handle
            .with(|device| device.control_out(request, value, data))
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        _timeout: Duration,
    ) -> Result<usize, TransportError> {
        let answer = self
            .handle
            .with(|device| device.control_in(request, value, buffer.len()))?;
        Ok(copy(&answer, buffer))
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        match self.handle.with(|device| device.is_gone()) {
            true => Err(TransportError::Gone),
            false => Ok(()),
        }
    }

    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        let mut state = self.handle.lock();
        let until = state.device.now().saturating_add(time);
        let mut result = match state.device.is_gone() {
            true => Err(TransportError::Gone),
            false => Ok(()),
        };
        while result.is_ok() && state.device.now() < until {
            result = state.pass(until);
        }
        self.handle.unlock(state);
        result
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.handle.shared.clock.load(Ordering::SeqCst))
    }
}

/// The interrupt pipe of a simulated device. Its waits block, in real time.
pub struct SimWatch {
    handle: SimHandle,
}

impl InterruptSource for SimWatch {
    fn next(
        &mut self,
        deadline: Option<Instant>,
        receive: &mut dyn FnMut(&[u8]),
    ) -> Result<(), TransportError> {
        let mut state = self.handle.lock();
        loop {
            if state.device.is_gone() {
                return Err(TransportError::Gone);
            }
            if let Some(notification) = state.device.interrupt_in() {
                drop(state);
                receive(&notification);
                return Ok(());
            }
            if std::mem::take(&mut state.is_interrupted) {
                return Err(TransportError::Cancelled);
            }
            state = wait_until(&self.handle.shared.changed, state, deadline)
                .map_err(|_| TransportError::Timeout)?;
        }
    }

    fn interrupter(&self) -> Box<dyn Fn() + Send + Sync> {
        let handle = self.handle.clone();
        Box::new(move || {
            handle.lock().is_interrupted = true;
            handle.shared.changed.notify_all();
        })
    }
}
