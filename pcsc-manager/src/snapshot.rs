//! What clients see of a reader.

use std::sync::Arc;

use crate::slot_state::SlotState;

/// A reader's state at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// How often a card came or went; 16 bits, wraps.
    pub event_counter: u32,
    /// `SCARD_UNKNOWN`, `SCARD_ABSENT`, `SCARD_PRESENT`, ... (PC/SC part 5, clause 3.1.4).
    pub status: u32,
    /// 0: no connection; -1: one exclusive connection; n: n shared ones.
    pub sharing: i32,
    /// The card's ATR; empty where there is no card, or where it does not answer.
    pub atr: Arc<[u8]>,
    /// The protocol in use, `SCARD_PROTOCOL_*`; 0 where none was chosen since the last reset.
    pub protocol: u32,
}

impl Snapshot {
    /// That of this state.
    pub(crate) fn of(state: &SlotState) -> Snapshot {
        Snapshot {
            event_counter: state.event_counter,
            status: state.status,
            sharing: state.connections.sharing(),
            atr: state
                .card
                .as_ref()
                .map_or(Arc::default(), |card| card.atr.clone()),
            protocol: state.protocol,
        }
    }
}
