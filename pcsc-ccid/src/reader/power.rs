//! Power and reset (CCID 1.1, clauses 6.1.1 and 6.1.2; ISO 7816-3, clause 6.2).

use core::time::Duration;

use super::{Reader, ReaderError};
use crate::atr;
use crate::descriptor::Features;
use crate::message::{CommandMessage, SlotErrorCode, Voltage};
use crate::transport::{Transport, TransportError};

/// 33 characters, each 9,600 etu after the one before, at 372 cycles of a 4 MHz clock (clause 8.1).
const ATR_LIMIT: Duration = Duration::from_secs(30);
/// How long to wait between attempts while a reader activates a card by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
const BUSY_TRIES: u32 = 20;
/// `bError` of readers that found an EMV fault in the ATR.
const EMV_FAULT: u8 = 0xBB;

/// The kind of a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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
    /// [`ReaderError::NoCard`]; [`ReaderError::Slot`] if the card does not answer at any voltage of the
    /// reader.
    pub fn power_on(&mut self, slot: u8, reset: Reset) -> Result<&[u8], ReaderError> {
        let had_power = !self.slot(slot)?.atr_bytes.is_empty();
        // First: whatever fails below, the old ATR and protocol do not hold any more.
        self.forget(slot);
        // To a card that has power, PC_to_RDR_IccPowerOn is a warm reset.
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
    pub fn power_off(&mut self, slot: u8) -> Result<(), ReaderError> {
        self.slot(slot)?.release();
        self.cut_power(slot)
    }

    /// Powers the card off for the driver's own purposes: unlike after [`Reader::power_off`], `presence`
    /// still reports a card that was replaced meanwhile.
    pub(super) fn cut_power(&mut self, slot: u8) -> Result<(), ReaderError> {
        self.forget(slot);
        match self.call(slot, &CommandMessage::IccPowerOff) {
            Ok(_) | Err(ReaderError::NoCard) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tries the reader's voltages, unless the reader does that itself.
    fn find_voltage(&mut self, slot: u8) -> Result<(), ReaderError> {
        let features = self.descriptor.features;
        let is_automatic =
            features.has(Features::AUTOMATIC_VOLTAGE) || features.has(Features::AUTOMATIC_ACTIVATION);
        let deadline = self.port.deadline();
        let from_5_v = &[Voltage::V5, Voltage::V3, Voltage::V1_8];
        let order: &[Voltage] = match self.options.first_voltage {
            _ if is_automatic => &[],
            Voltage::Automatic => match self.activate(slot, Voltage::Automatic, deadline) {
                // The reader cannot choose a voltage.
                Err(ReaderError::Slot(SlotErrorCode::Parameter(_))) => from_5_v,
                result => return result,
            },
            Voltage::V5 => from_5_v,
            Voltage::V3 => &[Voltage::V3, Voltage::V5, Voltage::V1_8],
            Voltage::V1_8 => &[Voltage::V1_8, Voltage::V3, Voltage::V5],
        };
        // A descriptor without any voltage is wrong: try all.
        let voltages = match self.descriptor.voltages & 7 {
            0 => 7,
            voltages => voltages,
        };
        let mut before = None;
        for &voltage in order {
            // Bit 0 of bVoltageSupport is 5 V, which is 1 in bPowerSelect.
            if voltages >> (voltage as u8 - 1) & 1 == 0 {
                continue;
            }
            match self.activate(slot, voltage, deadline) {
                Err(error @ ReaderError::Slot(_)) => before = Some(error),
                result => return result,
            }
            // The next voltage must come after a full power-off: a card must not be driven from one class to
            // another with power on (ISO 7816-3, clause 6.2).
            self.cut_power(slot)?;
        }
        match (self.activate(slot, Voltage::Automatic, deadline), before) {
            // The reader cannot choose a voltage. The error of the last one that was tried says more.
            (Err(ReaderError::Slot(SlotErrorCode::Parameter(_))), Some(before)) => Err(before),
            (last, _) => last,
        }
    }

    fn activate(&mut self, slot: u8, voltage: Voltage, deadline: Duration) -> Result<(), ReaderError> {
        let mut may_change_mode = self.quirks.iso_mode;
        let mut tries = 0;
        let reply = loop {
            self.port.check(deadline)?;
            match self
                .port
                .call(slot, &CommandMessage::IccPowerOn(voltage), ATR_LIMIT)
            {
                // A reader that activates cards by itself does so now. Its ATR is asked for when that is
                // over.
                Err(ReaderError::Slot(SlotErrorCode::BusyWithAutoSequence | SlotErrorCode::SlotBusy))
                    if tries < BUSY_TRIES =>
                {
                    tries += 1;
                    self.port.transport().pause(BUSY_PAUSE)?;
                }
                Err(ReaderError::Slot(SlotErrorCode::Other(EMV_FAULT))) if may_change_mode.is_some() => {
                    let escape = may_change_mode.take().unwrap_or_default();
                    self.call(slot, &CommandMessage::Escape(escape))?;
                }
                // ATR_LIMIT is longer than any ATR can take, so the card does not answer.
                Err(ReaderError::Transport(TransportError::Timeout)) => {
                    return Err(ReaderError::Slot(SlotErrorCode::Mute))
                }
                result => break result?,
            }
        };
        let bytes = self.port.data(&reply);
        // Readers append garbage to the 33 bytes that an ATR has at most.
        let bytes = &bytes[..bytes.len().min(atr::MAX_SIZE)];
        if bytes.is_empty() {
            return Err(ReaderError::Slot(SlotErrorCode::Mute));
        }
        let state = self
            .slots
            .get_mut(usize::from(slot))
            .ok_or(ReaderError::NoSuchSlot)?;
        state.atr_bytes = bytes.to_vec();
        state.was_powered = true;
        Ok(())
    }
}
