//! The result of a successful command.

use crate::message::IccStatus;

/// A successful answer; its data are in the port's buffer until the next call.
#[derive(Debug, Clone, Copy)]
pub struct Reply {
    pub icc: IccStatus,
    /// The header's last byte: `bChainParameter`, `bClockStatus` or `bProtocolNum`.
    pub specific: u8,
    pub start: usize,
    pub end: usize,
}

impl Reply {
    pub fn new(icc: IccStatus, specific: u8, start: usize, end: usize) -> Reply {
        Reply {
            icc,
            specific,
            start,
            end,
        }
    }
}
