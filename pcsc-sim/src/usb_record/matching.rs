//! Matches what the driver sends with recorded exchanges.

use super::line::{digits, Setup};
use super::parse::{Message, RecordedExchange};
use crate::masked;

/// PC_to_RDR_GetSlotStatus and PC_to_RDR_IccPowerOff, which have the same answer.
pub(super) const GET_SLOT_STATUS: u8 = 0x65;
pub(super) const ICC_POWER_OFF: u8 = 0x63;
/// GET_CLOCK_FREQUENCIES and GET_DATA_RATES (CCID 1.1, clause 5.3).
pub(super) const LISTS: [u8; 2] = [0x02, 0x03];
/// Places in a message.
pub(super) const SLOT: usize = 5;
pub(super) const SEQ: usize = 6;

/// What is sent: the same of a record and of the host.
#[derive(Clone, Copy)]
pub(super) enum Sent<'a> {
    Bulk(&'a [u8]),
    Out(Setup, &'a [u8]),
    In(Setup),
}

impl Sent<'_> {
    pub fn text(&self, shown: &[Option<u8>]) -> String {
        describe(
            match self {
                Sent::Bulk(_) => None,
                Sent::Out(setup, _) | Sent::In(setup) => Some(*setup),
            },
            matches!(self, Sent::In(_)),
            shown,
        )
    }
}

pub(super) fn describe(setup: Option<Setup>, is_in: bool, data: &[Option<u8>]) -> String {
    match setup {
        None => digits(data),
        Some(Setup { request, value }) if is_in => format!("request {request:02X} {value:04X}"),
        Some(Setup { request, value }) => format!("request {request:02X} {value:04X} {}", digits(data)),
    }
}

impl RecordedExchange {
    fn kind(&self) -> Option<u8> {
        match &self.message {
            Message::Out(bytes, _) if self.setup.is_none() => bytes.first().copied().flatten(),
            _ => None,
        }
    }

    /// Whether its place in the order does not matter, since a resource manager asks at times of its own.
    pub fn is_free(&self) -> bool {
        let is_list = match (&self.message, self.setup) {
            (Message::In(_), Some(setup)) => LISTS.contains(&setup.request),
            _ => false,
        };
        is_list || matches!(self.kind(), Some(GET_SLOT_STATUS | ICC_POWER_OFF))
    }

    /// Whether it is of the same pipe, and on the bulk pipes of the same slot.
    pub fn is_of(&self, sent: Sent<'_>) -> bool {
        match (sent, &self.message, self.setup) {
            (Sent::Bulk(sent), Message::Out(recorded, _), None) => {
                let slot = recorded.get(SLOT).copied().flatten();
                slot.is_none() || sent.get(SLOT).is_none() || slot == sent.get(SLOT).copied()
            }
            (Sent::Out(..) | Sent::In(_), _, Some(_)) => true,
            _ => false,
        }
    }

    /// Whether it is this one, with whatever `bSeq`.
    pub fn is_like(&self, sent: Sent<'_>) -> bool {
        match (sent, &self.message) {
            (Sent::Bulk(sent), Message::Out(recorded, _)) => {
                let mut recorded = recorded.clone();
                if let Some(seq) = recorded.get_mut(SEQ) {
                    *seq = None;
                }
                masked::matches(&recorded, sent)
            }
            (Sent::Out(setup, sent), Message::Out(recorded, _)) => {
                self.setup == Some(setup) && masked::matches(recorded, sent)
            }
            (Sent::In(setup), Message::In(_)) => self.setup == Some(setup),
            _ => false,
        }
    }
}
