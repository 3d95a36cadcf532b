//! What an ICCD device without bulk pipes holds between two control requests.

use std::time::Duration;

use pcsc_ccid::message::SlotErrorCode;

/// The answer to the last request, and when the card has it.
#[derive(Default)]
pub(super) struct Iccd {
    pub answer: HeldAnswer,
    pub ready_at: Duration,
}

/// What the host may fetch.
#[derive(Default)]
pub(super) enum HeldAnswer {
    #[default]
    Idle,
    /// Version A: a T=0 header came; the card's data, or the rest of the command, are next.
    Header([u8; 5]),
    /// The answer, with `bChainParameter`.
    Ready(Vec<u8>, u8),
    /// Version A: data, then the status word.
    Data(Vec<u8>, Vec<u8>),
    Failed(SlotErrorCode),
}
