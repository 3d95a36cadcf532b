//! What the firmware replies to a command.

use pcsc_ccid::message::{CommandStatus, SlotErrorCode};
use std::time::Duration;

/// A reply, without its header.
#[derive(Default)]
pub(super) struct Reply {
    pub data: Vec<u8>,
    pub specific: u8,
    /// `None` if the command was processed without error.
    pub outcome: Option<CommandStatus>,
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

    /// The command has not ended: the reader requests more time, in multiples of BWT or WWT.
    pub fn extension(times: u8) -> Reply {
        Reply {
            outcome: Some(CommandStatus::TimeExtension(times)),
            ..Reply::default()
        }
    }

    pub fn failed(error: SlotErrorCode) -> Reply {
        Reply {
            outcome: Some(CommandStatus::Failed(error)),
            ..Reply::default()
        }
    }
}
