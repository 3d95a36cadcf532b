//! Plays the reader in a record.
//!
//! The messages of each slot are to come as they were recorded, and the class requests of the control pipe
//! too. Their order between slots does not matter, and neither does `bSeq`. What a resource manager asks at
//! times of its own may come more often than in the record or less often: the state of a slot, the end of a
//! card's power, the frequencies and data rates of the reader.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pcsc_ccid::internals::{lock, wait_until};
use pcsc_ccid::shared::{InterruptSource, Interrupter};
use pcsc_ccid::transport::{copy, Transport, TransportError};

use super::line::Setup;
use super::matching::Sent;
use super::parse::RecordedAnswer;
use super::replay_state::ReplayState;
use super::{RecordedDevice, UsbRecord};
use crate::{masked, Mismatch};

/// A reader that does what was recorded of another one. Clones are the same reader.
#[derive(Clone)]
pub struct UsbReplay {
    device: Arc<RecordedDevice>,
    shared: Arc<SharedReplay>,
}

struct SharedReplay {
    state: Mutex<ReplayState>,
    changed: Condvar,
    /// Gets the first difference when it occurs.
    report: Box<dyn Fn(&Mismatch) + Send + Sync>,
}

impl UsbReplay {
    /// Plays this record, from its beginning.
    pub fn new(record: UsbRecord) -> UsbReplay {
        UsbReplay::reporting(record, |_| ())
    }

    /// The same; `report` gets the first message that differs when it comes.
    pub fn reporting(record: UsbRecord, report: impl Fn(&Mismatch) + Send + Sync + 'static) -> UsbReplay {
        UsbReplay {
            device: Arc::new(record.device.clone()),
            shared: Arc::new(SharedReplay {
                state: Mutex::new(ReplayState::new(record)),
                changed: Condvar::new(),
                report: Box::new(report),
            }),
        }
    }

    /// The reader.
    pub fn device(&self) -> &RecordedDevice {
        &self.device
    }

    /// The driver's end.
    pub fn transport(&self) -> ReplayTransport {
        ReplayTransport(self.clone())
    }

    /// The interrupt pipe. Its waits block, in real time.
    pub fn watch(&self) -> ReplayWatch {
        ReplayWatch(self.clone())
    }

    /// Opens the reader again after it was lost. `false` if that was the end of the record.
    pub fn reopen(&self) -> bool {
        let mut state = self.lock();
        let has_more = state.first_left().is_some();
        state.is_gone &= !has_more;
        !state.is_gone
    }

    /// Whether the recorded messages came, all and no others.
    ///
    /// # Errors
    /// The first difference.
    pub fn outcome(&self) -> Result<(), Mismatch> {
        let state = self.lock();
        match (&state.mismatch, state.first_left()) {
            (Some(mismatch), _) => Err(mismatch.clone()),
            (None, Some(left)) => Err(state.mismatch(Some(left), None)),
            (None, None) => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ReplayState> {
        lock(&self.shared.state)
    }

    /// Does something with the state, and wakes who waits for messages of the interrupt pipe.
    fn with<T>(
        &self,
        work: impl FnOnce(&mut ReplayState) -> Result<T, TransportError>,
    ) -> Result<T, TransportError> {
        let mut state = self.lock();
        let (result, mismatch) = match (state.is_gone, &state.mismatch) {
            (true, _) => (Err(TransportError::Gone), None),
            (false, Some(_)) => (Err(TransportError::Fault), None),
            (false, None) => (work(&mut state), state.mismatch.clone()),
        };
        state.is_gone |= matches!(result, Err(TransportError::Gone));
        drop(state);
        if let Some(mismatch) = mismatch {
            (self.shared.report)(&mismatch);
        }
        self.shared.changed.notify_all();
        result
    }
}

/// The bulk and control pipes of a replayed reader. A wait costs no time but on the driver's clock.
pub struct ReplayTransport(UsbReplay);

impl Transport for ReplayTransport {
    fn send(&mut self, message: &[u8], _timeout: Duration) -> Result<(), TransportError> {
        self.0.with(|state| {
            let shown = masked::hide(message, state.secrets.in_message(message));
            state.play(Sent::Bulk(message), &shown).map(drop)
        })
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        self.0.with(|state| {
            let length = state.receive(buffer, timeout)?;
            state.secrets.on_reply(&buffer[..length]);
            Ok(length)
        })
    }

    fn control_out(
        &mut self,
        request: u8,
        value: u16,
        data: &[u8],
        _timeout: Duration,
    ) -> Result<(), TransportError> {
        self.0.with(|state| {
            let shown = masked::hide(data, state.secrets.in_request(request, value, data));
            state
                .play(Sent::Out(Setup { request, value }, data), &shown)
                .map(drop)
        })
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        _timeout: Duration,
    ) -> Result<usize, TransportError> {
        self.0.with(|state| {
            let data = state.play(Sent::In(Setup { request, value }), &[])?;
            Ok(copy(&data, buffer))
        })
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        self.0
            .with(|state| match state.next_answer("the end of a halt")? {
                RecordedAnswer::ClearHalt(result) => result,
                RecordedAnswer::In(_) => {
                    state.mismatch =
                        Some(state.mismatch(state.current, Some("the end of a halt".to_owned())));
                    Err(TransportError::Fault)
                }
            })
    }

    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        self.0.with(|state| {
            state.now = state.now.saturating_add(time);
            Ok(())
        })
    }

    fn now(&self) -> Duration {
        self.0.lock().now
    }
}

/// The interrupt pipe of a replayed reader.
pub struct ReplayWatch(UsbReplay);

impl InterruptSource for ReplayWatch {
    fn next(
        &mut self,
        deadline: Option<Instant>,
        receive: &mut dyn FnMut(&[u8]),
    ) -> Result<(), TransportError> {
        let mut state = self.0.lock();
        loop {
            if state.is_gone {
                return Err(TransportError::Gone);
            }
            let due = state.interrupt_due();
            if due.is_some_and(|due| due <= Instant::now()) {
                let message = state.give_interrupt()?;
                drop(state);
                receive(&message);
                return Ok(());
            }
            if std::mem::take(&mut state.is_interrupted) {
                return Err(TransportError::Cancelled);
            }
            let until = due.into_iter().chain(deadline).min();
            state = match wait_until(&self.0.shared.changed, state, until) {
                Ok(state) => state,
                Err(state) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    drop(state);
                    return Err(TransportError::Timeout);
                }
                Err(state) => state,
            };
        }
    }

    fn interrupter(&self) -> Interrupter {
        let replay = self.0.clone();
        Box::new(move || {
            replay.lock().is_interrupted = true;
            replay.shared.changed.notify_all();
        })
    }
}
