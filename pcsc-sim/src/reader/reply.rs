//! What the firmware replies to a command.

use pcsc_ccid::message::SlotError;
use std::time::Duration;

/// A reply, without its header.
#[derive(Default)]
pub(super) struct Reply {
    pub data: Vec<u8>,
    pub specific: u8,
    pub error: Option<SlotError>,
    /// Time beyond what went by on the contact.
    pub delay: Duration,
}

impl Reply {
    pub fn data(data: Vec<u8>) -> Reply {
        Reply {
            data,
            ..Reply::default()
        }
    }

    /// `bClockStatus`.
    pub fn status(clock: u8) -> Reply {
        Reply {
            specific: clock,
            ..Reply::default()
        }
    }

    pub fn failed(error: SlotError) -> Reply {
        Reply {
            error: Some(error),
            ..Reply::default()
        }
    }
}
