//! Power and reset (CCID 1.1, clauses 6.1.1 and 6.1.2; ISO 7816-3, clause 6.2).

use core::time::Duration;

use super::{Error, Reader};
use crate::atr::{self, Atr};
use crate::descriptor::Features;
use crate::message::{Command, SlotError, Voltage};
use crate::transport::{self, Transport};

/// 33 characters, each 9,600 etu after the one before, at 372 cycles of a 4 MHz clock (clause 8.1).
const ATR_LIMIT: Duration = Duration::from_secs(30);
/// How long to wait between attempts while a reader activates a card by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
const BUSY_TRIES: u32 = 20;
/// `bError` of readers that found an EMV fault in the ATR.
const EMV_FAULT: u8 = 0xBB;

/// The kind of a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// Power off and on.
    Cold,
    /// The power stays on, where there is any.
    Warm,
}

impl<T: Transport> Reader<T> {
    /// Powers a card up, or resets it, and returns its ATR. No protocol is selected then.
    ///
    /// # Errors
    /// [`Error::NoCard`]; [`Error::Slot`] if the card does not answer at any voltage of the reader.
    pub fn power_on(&mut self, slot: u8, reset: Reset) -> Result<&[u8], Error> {
        let had_power = !self.slot(slot)?.atr_bytes.is_empty();
        self.forget(slot);
        if (had_power && reset == Reset::Cold) || self.quirks.power_off_first {
            self.cut_power(slot)?;
        }
        let result = self.find_voltage(slot);
        let is_empty = self.quirks.empty_after_failure && result.is_err();
        self.slot(slot)?.is_empty = is_empty;
        result?;
        Ok(&self.slots[usize::from(slot)].atr_bytes)
    }

    /// Powers a card off.
    ///
    /// # Errors
    /// If the reader does not answer. An empty slot is no error.
    pub fn power_off(&mut self, slot: u8) -> Result<(), Error> {
        self.slot(slot)?.release();
        self.cut_power(slot)
    }

    /// Powers the card off for the driver's own purposes: unlike after [`Reader::power_off`], `presence`
    /// still reports a card that was replaced meanwhile.
    pub(super) fn cut_power(&mut self, slot: u8) -> Result<(), Error> {
        self.forget(slot);
        match self.call(slot, &Command::IccPowerOff) {
            Ok(_) | Err(Error::NoCard) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tries the reader's voltages from 5 V down, unless the reader does that itself.
    fn find_voltage(&mut self, slot: u8) -> Result<(), Error> {
        let features = self.descriptor.features;
        let is_automatic =
            features.has(Features::AUTOMATIC_VOLTAGE) || features.has(Features::AUTOMATIC_ACTIVATION);
        let deadline = self.port.deadline();
        let mut result = Err(Error::Slot(SlotError::Mute));
        if !is_automatic {
            // A descriptor without any voltage is wrong: try all.
            let voltages = match self.descriptor.voltages & 7 {
                0 => 7,
                voltages => voltages,
            };
            for (bit, voltage) in [(1, Voltage::V5), (2, Voltage::V3), (4, Voltage::V1_8)] {
                if voltages & bit == 0 {
                    continue;
                }
                result = self.activate(slot, voltage, deadline);
                match result {
                    Err(Error::Slot(_)) => self.cut_power(slot)?,
                    _ => return result,
                }
            }
        }
        match self.activate(slot, Voltage::Automatic, deadline) {
            // The reader cannot choose a voltage. The error of the last one that was tried says more.
            Err(Error::Slot(SlotError::Parameter(_))) if !is_automatic => result,
            last => last,
        }
    }

    fn activate(&mut self, slot: u8, voltage: Voltage, deadline: Duration) -> Result<(), Error> {
        let mut may_change_mode = self.quirks.iso_mode;
        let mut tries = 0;
        let reply = loop {
            self.port.check(deadline)?;
            match self.port.call(slot, &Command::IccPowerOn(voltage), ATR_LIMIT) {
                Err(Error::Slot(SlotError::BusyWithAutoSequence | SlotError::SlotBusy))
                    if tries < BUSY_TRIES =>
                {
                    tries += 1;
                    self.port.transport().pause(BUSY_PAUSE)?;
                }
                Err(Error::Slot(SlotError::Other(EMV_FAULT))) if may_change_mode.is_some() => {
                    let escape = may_change_mode.take().unwrap_or_default();
                    self.call(slot, &Command::Escape(escape))?;
                }
                // ATR_LIMIT is longer than any ATR can take, so the card does not answer.
                Err(Error::Transport(transport::Error::Timeout)) => return Err(Error::Slot(SlotError::Mute)),
                result => break result?,
            }
        };
        let bytes = self.port.data(&reply);
        let bytes = &bytes[..bytes.len().min(atr::MAX_SIZE)];
        if bytes.is_empty() {
            return Err(Error::Slot(SlotError::Mute));
        }
        let state = self.slots.get_mut(usize::from(slot)).ok_or(Error::NoSuchSlot)?;
        state.atr_bytes.clear();
        state.atr_bytes.extend_from_slice(bytes);
        state.atr = Atr::parse(bytes).ok();
        state.chosen = None;
        state.was_powered = true;
        Ok(())
    }
}
