//! Cards that pcscd must see as absent once.
//!
//! pcscd notices that a card was replaced or reset only if the slot is reported empty in between. It then
//! reports a removal to its clients and powers the card up.

#![forbid(unsafe_code)]

use pcsc_ccid::internals::lock;
use std::sync::Mutex;

/// The absences of all slots of a reader.
#[derive(Debug)]
pub struct Absences {
    slots: Mutex<Vec<SlotReport>>,
    /// Whether pcscd's event threads wait for the driver. Otherwise they poll.
    has_waits: bool,
}

/// What was last reported to pcscd of a slot.
#[derive(Debug, Clone, Default)]
struct SlotReport {
    /// A card was present when pcscd last asked for the presence, or was powered up since.
    had_card: bool,
    absence: Absence,
}

/// Whether a card that is present must be reported as absent once.
///
/// Only what pcscd's event thread sees counts: it asks for the presence after each wait. So the absence lasts
/// from the end of one wait to the start of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Absence {
    #[default]
    No,
    /// The event thread's wait has not ended since.
    Pending,
    /// The event thread's wait has ended: it asks for the presence now.
    Reported,
}

impl Absences {
    /// A reader with this number of slots. `has_waits` is whether pcscd's event threads wait for the driver.
    pub fn new(slots: u8, has_waits: bool) -> Absences {
        Absences {
            slots: Mutex::new(vec![SlotReport::default(); usize::from(slots)]),
            has_waits,
        }
    }

    /// Whether pcscd's event threads wait for the driver.
    pub fn has_waits(&self) -> bool {
        self.has_waits
    }

    fn with<R: Default>(&self, slot: u8, work: impl FnOnce(&mut SlotReport) -> R) -> R {
        let mut slots = lock(&self.slots);
        slots.get_mut(usize::from(slot)).map(work).unwrap_or_default()
    }

    /// A wait of the event thread begins. Returns whether it must end at once: pcscd has seen the absence and
    /// must see the card.
    pub fn begin_wait(&self, slot: u8) -> bool {
        self.with(slot, |slot| {
            let is_over = slot.absence == Absence::Reported;
            if is_over {
                slot.absence = Absence::No;
            }
            is_over
        })
    }

    /// The wait has ended.
    pub fn end_wait(&self, slot: u8) {
        self.with(slot, |slot| {
            if slot.absence == Absence::Pending {
                slot.absence = Absence::Reported;
            }
        });
    }

    /// Records that the card in a slot was replaced or reset. The event thread is to be woken.
    pub fn set(&self, slot: u8) {
        self.with(slot, |slot| slot.absence = Absence::Pending);
    }

    /// Whether a slot's card is to be reported as absent.
    pub fn is_set(&self, slot: u8) -> bool {
        self.with(slot, |slot| slot.absence != Absence::No)
    }

    /// As [`Absences::is_set`], for an answer to pcscd. If its event thread does not wait, the absence ends
    /// with this answer.
    pub fn take(&self, slot: u8) -> bool {
        self.with(slot, |slot| {
            let is_set = slot.absence != Absence::No;
            if !self.has_waits {
                slot.absence = Absence::No;
            }
            is_set
        })
    }

    /// Records whether a card is present; returns whether one had been reported to pcscd before.
    pub fn note_card(&self, slot: u8, has_card: bool) -> bool {
        self.with(slot, |slot| std::mem::replace(&mut slot.had_card, has_card))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_lasts_from_the_end_of_one_wait_to_the_start_of_the_next() {
        let absences = Absences::new(1, true);
        assert!(!absences.begin_wait(0));
        absences.set(0);
        // A client's question in the meantime does not end it.
        assert!(absences.take(0) && absences.take(0));
        absences.end_wait(0);
        assert!(absences.take(0) && absences.is_set(0));
        assert!(absences.begin_wait(0));
        assert!(!absences.take(0) && !absences.is_set(0));
        absences.end_wait(0);
        assert!(!absences.begin_wait(0));
    }

    #[test]
    fn an_absence_during_a_look_lasts_to_the_look_after_the_next_wait() {
        let absences = Absences::new(1, true);
        absences.end_wait(0);
        absences.set(0);
        assert!(absences.take(0));
        // Not over: pcscd may have asked before.
        assert!(!absences.begin_wait(0));
        absences.end_wait(0);
        assert!(absences.take(0));
        assert!(absences.begin_wait(0));
        assert!(!absences.take(0));
    }

    #[test]
    fn without_waits_a_card_is_absent_once() {
        let absences = Absences::new(1, false);
        absences.set(0);
        assert!(absences.take(0));
        assert!(!absences.take(0));
        // There is no such slot.
        absences.set(1);
        assert!(!absences.take(1) && !absences.begin_wait(1));
    }
}
