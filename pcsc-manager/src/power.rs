//! The power of a card and its protocol, for connections that need them.

use std::time::Instant;

use crate::connections::{in_common, RAW, T0, T1};
use crate::error::CallError;
use crate::reader::ManagedReader;
use crate::slot::{Powered, Slot, SlotError};
use crate::slot_state::{ABSENT, PRESENT, SWALLOWED};

/// A warm reset.
pub const RESET_CARD: u32 = pcsc_constants::SCARD_RESET_CARD;
/// Takes the power away. As the initialization of a reconnection, a cold reset.
pub const UNPOWER_CARD: u32 = pcsc_constants::SCARD_UNPOWER_CARD;

impl ManagedReader {
    /// Powers the card up if it has no power. The caller has checked that there is a card.
    pub(crate) fn power_up_if_needed(
        &self,
        slot: &mut dyn Slot,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        let has_power = self.state().has_power;
        if !has_power {
            let powered = slot.power_up(false, deadline);
            // Asked first, as the note takes the error.
            let is_late = matches!(powered, Err(SlotError::TimedOut | SlotError::NotStarted));
            self.note_power_up(powered);
            if is_late {
                return Err(CallError::Timeout);
            }
        }
        Ok(())
    }

    pub(crate) fn note_power_up(&self, powered: Result<Powered, SlotError>) {
        match powered {
            // Neither of these two is a mute card, which a client would see as SCARD_STATE_MUTE.
            // This says nothing about the card. The bus reports that the reader is gone.
            Err(SlotError::NoDevice) => self.note_failure(SlotError::NoDevice),
            // The card was not reset.
            Err(SlotError::NotStarted) => (),
            powered => self.change(|state| state.note_power_up(powered)),
        }
    }

    pub(crate) fn reset(
        &self,
        slot: &mut dyn Slot,
        kind: u32,
        deadline: Option<Instant>,
    ) -> Result<(), SlotError> {
        let powered = if kind == RESET_CARD {
            slot.power_up(true, deadline)
        } else {
            // pcscd's cold reset: off, then on. What matters is whether the card answers afterwards.
            let _ = slot.power_down();
            slot.power_up(false, deadline)
        };
        let result = powered.as_ref().map(|_| ()).map_err(|error| *error);
        self.note_power_up(powered);
        result
    }

    pub(crate) fn unpower(&self, slot: &mut dyn Slot) {
        // The ATR stays: the card is still there, as what clients see.
        let down = slot.power_down();
        self.change(|state| {
            state.status = match down {
                Ok(()) => PRESENT,
                Err(SlotError::NoCard) => ABSENT,
                Err(_) => PRESENT | SWALLOWED,
            };
            state.has_power = false;
            state.protocol = 0;
        });
    }

    /// Chooses the protocol where none is chosen since the reset.
    pub(crate) fn choose_protocol(
        &self,
        slot: &mut dyn Slot,
        protocols: u32,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        if protocols & RAW != 0 {
            // Also while another connection uses T=0 or T=1, as in pcscd: the reader has one protocol, which
            // the last one sets.
            self.change_connections(|state| state.choose_raw(protocols));
            return Ok(());
        }
        let card = {
            let state = self.state();
            // The card keeps its protocol until it is reset, whoever chose it (ISO 7816-3, clause 9: PPS is
            // allowed only after a reset).
            state.check_protocol(protocols)?;
            if state.protocol != 0 {
                return Ok(());
            }
            state.card.as_ref().map(|card| (card.offered, card.first))
        };
        let (offered, first) = card.ok_or(CallError::UnpoweredCard)?;
        // T=1 first, as in pcscd. If the reader cannot change to it, the card's first protocol is taken,
        // which is in force after the reset.
        let wanted = in_common(protocols, offered);
        let best = if wanted & T1 != 0 { T1 } else { wanted & T0 };
        if best == 0 {
            return Err(CallError::ProtoMismatch);
        }
        let chosen = match slot.set_protocol(best, deadline) {
            Ok(()) => Ok(best),
            Err(SlotError::ProtocolUnsupported) if first != wanted => {
                if first & wanted == 0 {
                    return Err(CallError::ProtoMismatch);
                }
                slot.set_protocol(first, deadline)
                    .map(|()| first)
                    // Without distinction: a card whose default protocol fails too is of no use until a
                    // reset.
                    .map_err(|_| CallError::UnresponsiveCard)
            }
            Err(SlotError::NoCard) => Err(CallError::NoSmartcard),
            Err(SlotError::TimedOut | SlotError::NotStarted) => Err(CallError::Timeout),
            Err(_) => Err(CallError::UnresponsiveCard),
        };
        let chosen = chosen?;
        self.change_connections(|state| state.protocol = chosen);
        Ok(())
    }
}
