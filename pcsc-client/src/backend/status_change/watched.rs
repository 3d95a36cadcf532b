//! One watched reader, and what is reported of it (PC/SC part 5, clause 3.2.5; the bits as PC/SC Lite sets
//! them).

use crate::backend::bytes::AtrBytes;
pub(super) use pcsc_constants::{
    SCARD_ABSENT as CARD_ABSENT, SCARD_PRESENT as CARD_PRESENT, SCARD_STATE_CHANGED as CHANGED,
    SCARD_STATE_EMPTY as EMPTY, SCARD_STATE_EXCLUSIVE as EXCLUSIVE, SCARD_STATE_IGNORE as IGNORE,
    SCARD_STATE_INUSE as INUSE, SCARD_STATE_MUTE as MUTE, SCARD_STATE_PRESENT as PRESENT,
    SCARD_STATE_UNAVAILABLE as UNAVAILABLE, SCARD_STATE_UNKNOWN as UNKNOWN, SCARD_SWALLOWED as CARD_MUTE,
    SCARD_UNKNOWN as READER_UNKNOWN,
};
use pcsc_wire::ReaderStateRecord;

/// The name of the pseudo-reader that reports readers coming and going.
pub const PNP_NAME: &[u8] = br"\\?PnP?\Notification";

/// One reader that a caller watches.
#[derive(Debug, Clone, Default)]
pub struct Watched<'a> {
    /// The reader's name.
    pub name: &'a [u8],
    /// What the caller knows: `SCARD_STATE_*` bits, and an event counter in the high word.
    pub current: u32,
    pub(super) event: u32,
    pub(super) is_evaluated: bool,
    /// Whether a reader of this name was seen in the current look.
    pub(super) is_found: bool,
    /// The card's ATR; `None` until a reader of this name was looked at.
    pub atr: Option<AtrBytes>,
}

impl<'a> Watched<'a> {
    /// A reader of which the caller knows `current`.
    pub fn new(name: &'a [u8], current: u32) -> Watched<'a> {
        Watched {
            name,
            current,
            ..Watched::default()
        }
    }

    /// The state now; `None` if the call failed before it was known.
    pub fn event(&self) -> Option<u32> {
        self.is_evaluated.then_some(self.event)
    }

    /// Stores what a library has found, which compares the states by itself.
    #[cfg(feature = "system")]
    pub(crate) fn set_found(&mut self, event: u32, atr: AtrBytes) {
        self.event = event;
        self.is_evaluated = true;
        self.atr = Some(atr);
    }

    /// Whether this is the pseudo-reader for readers that come and go.
    pub(crate) fn is_pnp(&self) -> bool {
        self.name.eq_ignore_ascii_case(PNP_NAME)
    }

    /// Whether the caller leaves this reader out.
    pub fn is_ignored(&self) -> bool {
        self.current & IGNORE != 0
    }

    /// Whether the caller knows no state yet, so that any state is a change.
    pub(crate) fn is_unaware(&self) -> bool {
        self.current == 0 && !self.is_pnp()
    }

    /// Compares with a reader's state. Returns whether there is something to report.
    pub(super) fn compare(&mut self, state: Option<ReaderStateRecord<'_>>) -> bool {
        let Some(state) = state else {
            self.event = UNKNOWN | UNAVAILABLE;
            return self.report(self.current & UNKNOWN == 0);
        };
        let has_card = state.state & CARD_PRESENT != 0;
        self.atr = Some(if has_card {
            state.atr.into()
        } else {
            AtrBytes::default()
        });

        let known_counter = self.current >> 16;
        let is_bad = state.state & READER_UNKNOWN != 0;
        let mut changed = self.current & UNKNOWN != 0
            // 0 means that the caller has no count, for instance one that sets the bits itself. PC/SC Lite
            // ignores it too.
            || (known_counter != 0 && known_counter != state.event_counter & 0xFFFF)
            || is_bad != (self.current & UNAVAILABLE != 0);
        if is_bad {
            self.event = UNAVAILABLE;
            return self.report(changed || self.current == 0);
        }

        self.event = state.event_counter << 16;
        if state.state & CARD_ABSENT != 0 {
            self.event |= EMPTY;
            changed |= self.current & PRESENT != 0;
        } else if has_card {
            let is_mute = state.state & CARD_MUTE != 0;
            self.event |= if is_mute { PRESENT | MUTE } else { PRESENT };
            changed |= self.current & EMPTY != 0 || is_mute != (self.current & MUTE != 0);
        }
        match state.sharing {
            -1 => {
                self.event |= EXCLUSIVE;
                changed |= self.current & INUSE != 0;
            }
            0 => changed |= self.current & (INUSE | EXCLUSIVE) != 0,
            // A direct connection to an empty reader is not in use, as in PC/SC Lite.
            1.. if has_card => {
                self.event |= INUSE;
                changed |= self.current & EXCLUSIVE != 0;
            }
            _ => (),
        }
        self.report(changed || self.current == 0)
    }

    /// Compares the pseudo-reader with the count of readers that came or went. The count goes to the high
    /// word: a caller that passes it to the next call misses no change between the two.
    pub(super) fn compare_list(&mut self, events: Option<u32>, came_or_went: bool) -> bool {
        if let Some(events) = events {
            self.event = (self.event & 0xFFFF) | (events << 16);
        }
        let known = self.current >> 16;
        let missed = known != 0 && events.is_some_and(|events| events & 0xFFFF != known);
        self.report(missed || (came_or_went && !self.is_ignored()))
    }

    fn report(&mut self, changed: bool) -> bool {
        if changed {
            self.event |= CHANGED;
        }
        changed
    }
}
