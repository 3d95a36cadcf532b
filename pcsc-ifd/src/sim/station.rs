//! A simulated reader in the hands of the driver and of whoever moves its cards.

#![forbid(unsafe_code)]

use super::cards;
use super::switches::Switches;
use crate::events::Events;
use pcsc_sim::{Device, Handle};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A simulated reader.
pub struct Station {
    model: String,
    handle: Mutex<Handle>,
    events: Arc<Events>,
    switches: Arc<Switches>,
    /// Held while a notification is on its way from the device to the events, so that none is missed in between.
    pump: Mutex<()>,
    pace: Mutex<Pace>,
    paced: Condvar,
}

/// What happens in real time.
#[derive(Debug, Default)]
struct Pace {
    /// Grows with every card that is moved, and with every cancellation.
    moves: u64,
    /// An answer is taking its time.
    is_busy: bool,
}

impl Station {
    /// A reader of this model, with empty slots.
    pub fn new(model: &str, events: Arc<Events>) -> Result<Station, String> {
        Ok(Station {
            model: model.to_owned(),
            handle: Mutex::new(device(model)?),
            events,
            switches: Arc::default(),
            pump: Mutex::new(()),
            pace: Mutex::default(),
            paced: Condvar::new(),
        })
    }

    /// The device, which is another one after [`Station::plug`].
    pub fn handle(&self) -> Handle {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What can be changed about its cards.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// Whether pcscd has dealt with everything so far; waits for that.
    pub fn settle(&self, slot: u8, limit: Duration) -> bool {
        self.events.settle(slot, limit)
    }

    /// Puts a card in, in place of any other.
    ///
    /// # Errors
    /// In words, where there is no such card or slot.
    pub fn insert(&self, slot: u8, card: &str) -> Result<(), String> {
        let card = cards::make(card, &self.switches)?;
        let slots = self.handle().with(|device| device.model().descriptor.slots());
        if u16::from(slot) >= slots {
            return Err(format!("no slot {slot}"));
        }
        self.handle().insert(slot, card);
        self.note_move();
        Ok(())
    }

    /// Takes a card out.
    pub fn remove(&self, slot: u8) {
        self.handle().remove(slot);
        self.note_move();
    }

    /// Pulls the reader out.
    pub fn unplug(&self) {
        self.handle().unplug();
        self.events.set_gone(true);
        self.note_move();
    }

    /// Puts the reader back, with empty slots.
    ///
    /// # Errors
    /// In words.
    pub fn plug(&self) -> Result<(), String> {
        let device = device(&self.model)?;
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = device;
        self.events.set_gone(false);
        self.note_move();
        Ok(())
    }

    /// Ends the time that an answer takes.
    pub fn cancel(&self) {
        self.note_move();
    }

    fn note_move(&self) {
        self.pump();
        self.lock_pace().moves += 1;
        self.paced.notify_all();
    }

    fn lock_pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what the device has to tell on its interrupt pipe.
    pub fn pump(&self) {
        let _pump = self.pump.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(bytes) = self.handle().with(|device| device.interrupt_in()) {
            self.events.notify(&bytes);
        }
    }

    /// Lets the time of an answer pass, in real time. False if a card was moved meanwhile.
    pub fn dwell(&self) -> bool {
        let time = self.switches.take_owed();
        if time.is_zero() {
            return true;
        }
        let mut pace = self.lock_pace();
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

    /// Whether an answer is taking its time; waits for that.
    pub fn is_busy(&self, limit: Duration) -> bool {
        let (pace, _) = self
            .paced
            .wait_timeout_while(self.lock_pace(), limit, |pace| !pace.is_busy)
            .unwrap_or_else(PoisonError::into_inner);
        pace.is_busy
    }
}

fn device(model: &str) -> Result<Handle, String> {
    let device = Device::named(model).ok_or_else(|| format!("no model {model}"))?;
    Ok(Handle::new(device))
}
