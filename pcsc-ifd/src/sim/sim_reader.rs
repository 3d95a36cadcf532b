//! A simulated reader: the driver sends it commands, and the control socket moves its cards.

#![forbid(unsafe_code)]

use pcsc_ccid::internals::lock;
use pcsc_ccid::shared::SharedReader;
use pcsc_sim::card::{named, Switches};
use pcsc_sim::control::ControlledReader;
use pcsc_sim::{SimDevice, SimHandle};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A simulated reader.
pub struct SimReader {
    model: String,
    handle: Mutex<SimHandle>,
    /// Who drives it, and owns this.
    driver: OnceLock<Weak<SharedReader>>,
    switches: Arc<Switches>,
    /// Held while a notification is passed from the device to the events, so that their order is kept.
    pump: Mutex<()>,
    pace: Mutex<Pace>,
    paced: Condvar,
}

/// State for delays in real time.
#[derive(Debug, Default)]
struct Pace {
    /// The number of moved cards and of cancellations.
    moves: u64,
    /// An answer is being delayed.
    is_busy: bool,
}

impl SimReader {
    /// A reader of this model, with empty slots.
    pub fn new(model: &str) -> Result<SimReader, String> {
        Ok(SimReader {
            model: model.to_owned(),
            handle: Mutex::new(device(model)?),
            driver: OnceLock::new(),
            switches: Arc::default(),
            pump: Mutex::new(()),
            pace: Mutex::default(),
            paced: Condvar::new(),
        })
    }

    /// Passes card events to a driver from now on.
    pub fn report_to(&self, driver: &Arc<SharedReader>) {
        // There is one driver.
        let _ = self.driver.set(Arc::downgrade(driver));
    }

    fn driver(&self) -> Option<Arc<SharedReader>> {
        self.driver.get()?.upgrade()
    }

    /// The device, which is another one after a plug.
    pub fn handle(&self) -> SimHandle {
        lock(&self.handle).clone()
    }

    /// Passes the notifications of a moved card on, and ends the time that an answer takes.
    pub fn interrupt(&self) {
        self.pump();
        lock(&self.pace).moves += 1;
        self.paced.notify_all();
    }

    /// Passes the notifications of the device on.
    pub fn pump(&self) {
        let _pump = lock(&self.pump);
        let Some(driver) = self.driver() else { return };
        while let Some(bytes) = self.handle().with(|device| device.interrupt_in()) {
            driver.events().notify(&bytes);
        }
    }

    /// Waits for the delay of an answer. Returns false if a card was moved meanwhile.
    pub fn dwell(&self) -> bool {
        let time = self.switches.take_owed();
        if time.is_zero() {
            return true;
        }
        let mut pace = lock(&self.pace);
        pace.is_busy = true;
        self.paced.notify_all();
        let before = pace.moves;
        let (mut pace, result) = self
            .paced
            .wait_timeout_while(pace, time, |pace| pace.moves == before)
            .unwrap_or_else(PoisonError::into_inner);
        pace.is_busy = false;
        result.timed_out()
    }
}

impl ControlledReader for SimReader {
    fn insert(&self, slot: u8, card: &str) -> Result<(), String> {
        let card = named::make(card, &self.switches)?;
        let slots = self.handle().with(|device| device.model().descriptor.slots());
        if u16::from(slot) >= slots {
            return Err(format!("no slot {slot}"));
        }
        self.handle().insert(slot, card);
        self.interrupt();
        Ok(())
    }

    fn remove(&self, slot: u8) {
        self.handle().remove(slot);
        self.interrupt();
    }

    fn unplug(&self) {
        self.handle().unplug();
        if let Some(driver) = self.driver() {
            driver.events().lose();
        }
        self.interrupt();
    }

    fn plug(&self) -> Result<(), String> {
        let device = device(&self.model)?;
        *lock(&self.handle) = device;
        if let Some(driver) = self.driver() {
            let slots = self.handle().with(|device| device.model().descriptor.slots());
            (0..=u8::MAX)
                .take(slots.into())
                .for_each(|slot| driver.events().wake(slot));
        }
        self.interrupt();
        Ok(())
    }

    fn settle(&self, slot: u8, limit: Duration) -> bool {
        self.driver()
            .is_some_and(|driver| driver.events().settle(slot, Instant::now() + limit))
    }

    fn set_mute(&self, is_mute: bool) {
        self.switches.set_mute(is_mute);
    }

    fn set_failing(&self, is_failing: bool) {
        self.switches.set_fails(is_failing);
    }

    fn is_busy(&self, limit: Duration) -> Result<bool, String> {
        let (pace, _) = self
            .paced
            .wait_timeout_while(lock(&self.pace), limit, |pace| !pace.is_busy)
            .unwrap_or_else(PoisonError::into_inner);
        Ok(pace.is_busy)
    }
}

fn device(model: &str) -> Result<SimHandle, String> {
    let device = SimDevice::named(model).ok_or_else(|| format!("no model {model}"))?;
    Ok(SimHandle::new(device))
}
