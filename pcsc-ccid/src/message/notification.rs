//! Messages of the interrupt pipe.

/// A message of the interrupt pipe (clause 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notification<'a> {
    /// RDR_to_PC_NotifySlotChange (clause 6.3.1): two bits a slot, four slots a byte.
    SlotChange(&'a [u8]),
    /// RDR_to_PC_HardwareError (clause 6.3.2).
    HardwareError {
        /// The slot.
        slot: u8,
        /// The command's sequence number.
        seq: u8,
        /// 1: overcurrent.
        code: u8,
    },
}

impl<'a> Notification<'a> {
    /// Decodes a message of the interrupt pipe; `None` for anything else, which some readers send.
    pub fn decode(bytes: &'a [u8]) -> Option<Notification<'a>> {
        match *bytes {
            [0x50, ref states @ ..] => Some(Notification::SlotChange(states)),
            [0x51, slot, seq, code, ..] => Some(Notification::HardwareError { slot, seq, code }),
            _ => None,
        }
    }

    /// Whether a slot has a card, and whether that changed; `None` if the message does not include the slot.
    pub fn slot(&self, slot: u8) -> Option<(bool, bool)> {
        let Notification::SlotChange(states) = self else {
            return None;
        };
        let bits = states.get(usize::from(slot / 4))? >> (slot % 4 * 2);
        Some((bits & 1 != 0, bits & 2 != 0))
    }

    /// Whether a slot of a reader with `slots` slots is to be polled: it has failed, or its card came or
    /// went. A notification that marks no slot as changed may mean any of the slots that it lists.
    pub fn concerns(&self, slot: u8, slots: usize) -> bool {
        let has_changed = |slot| matches!(self.slot(slot), Some((_, true)));
        match self {
            Notification::HardwareError { slot: failed, .. } => *failed == slot,
            Notification::SlotChange(_) => {
                let names_none = || !(0..=u8::MAX).take(slots).any(has_changed);
                self.slot(slot).is_some() && (has_changed(slot) || names_none())
            }
        }
    }

    /// Whether a slot is reported as empty.
    pub fn reports_empty(&self, slot: u8) -> bool {
        matches!(self.slot(slot), Some((false, _)))
    }
}
