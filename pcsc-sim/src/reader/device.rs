//! A simulated device as its host and its user see it: pipes, slots, cards.

use std::collections::VecDeque;
use std::time::Duration;

use super::model::{Model, PACKET};
use super::oddities::Oddities;
use super::secure::{Keypad, KeypadEntry};
use super::slot::Slot;
use crate::card::{CharacterCard, Contact, Tally};
use pcsc_ccid::descriptor::Features;
use pcsc_ccid::message::{IccStatus, ResponseKind, ResponseMessage, SlotErrorCode, HEADER_SIZE};
use pcsc_ccid::transport::TransportError;

/// How many messages the log keeps, and how many bytes in all. Programs may use a simulated reader for days.
const LOG: usize = 4096;
const LOG_BYTES: usize = 16 << 20;
/// How many replies wait for the host at most, so that one that never reads does not take all memory.
const OUTBOX: usize = 4096;

/// How many transfers there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Bulk OUT transfers.
    pub bulk_out: u64,
    /// Bulk IN transfers, also empty ones. A receive that times out is not counted.
    pub bulk_in: u64,
    /// Class requests on the control pipe.
    pub control: u64,
    /// Interrupt transfers with a notification.
    pub interrupt: u64,
}

/// Which way a logged message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageDirection {
    /// To the reader.
    ToReader,
    /// From the reader.
    FromReader,
}

/// A message that went over the bulk pipes, or the data of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Logged {
    /// When, on the device's clock.
    pub at: Duration,
    /// Its direction.
    pub direction: MessageDirection,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A reply on its way to the host.
pub(super) struct QueuedReply {
    pub at: Duration,
    pub slot: u8,
    bytes: Vec<u8>,
    /// Bytes of it that are delivered.
    pub sent: usize,
}

/// What the host may fetch from an ICCD device.
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

/// A simulated device with one interface.
#[derive(Default)]
pub struct SimDevice {
    pub(super) model: Model,
    pub(super) oddities: Oddities,
    pub(super) slots: Vec<Slot>,
    /// Bit 0: a card is in; bit 1: that changed since the last notification.
    changes: Vec<u8>,
    inbox: Vec<u8>,
    pub(super) outbox: VecDeque<QueuedReply>,
    /// The host read a whole number of packets; the empty one that ends the transfer is due.
    empty_due: bool,
    pub(super) now: Duration,
    pub(super) gone: bool,
    pub(super) status_asked: bool,
    pub(super) keypad: Keypad,
    pub(super) escapes: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) counters: Counters,
    keeps_log: bool,
    log: VecDeque<Logged>,
    logged: usize,
    /// Interrupt messages beyond the slots' changes.
    notices: VecDeque<Vec<u8>>,
    /// What an ICCD device without bulk pipes holds between two control requests, and when it has it.
    pub(super) held: HeldAnswer,
    pub(super) held_at: Duration,
}

impl SimDevice {
    /// A device of this model, plugged in, with empty slots.
    pub fn new(model: Model) -> SimDevice {
        let slots = usize::from(model.descriptor.max_slot_index) + 1;
        SimDevice {
            slots: (0..slots).map(|_| Slot::new(&model)).collect(),
            changes: vec![0; slots],
            model,
            keeps_log: true,
            ..SimDevice::default()
        }
    }

    /// The same without a log of its messages, which may hold a PIN.
    pub fn without_log(mut self) -> SimDevice {
        self.keeps_log = false;
        self
    }

    /// The same with these faults.
    pub fn with(mut self, oddities: Oddities) -> SimDevice {
        self.oddities = oddities;
        self
    }

    /// What it is.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Puts a card in a slot, and out the one that was there. A slot that is not there takes nothing.
    pub fn insert(&mut self, slot: u8, card: Box<dyn CharacterCard>) {
        let now = self.now;
        let Some(place) = self.slots.get_mut(usize::from(slot)) else {
            return;
        };
        place.insert(card, now);
        self.fail_pending(slot);
        self.note(slot, true);
        if self.model.descriptor.features.has(Features::AUTOMATIC_ACTIVATION) {
            if let Some(place) = self.slots.get_mut(usize::from(slot)) {
                // A card that stays mute is left without power.
                let _ = place.power_on(pcsc_ccid::message::Voltage::Automatic, &self.model);
            }
        }
    }

    /// Takes the card out of a slot. A command that is going on fails. An empty slot does not change.
    pub fn remove(&mut self, slot: u8) {
        let Some(place) = self.slots.get_mut(usize::from(slot)) else {
            return;
        };
        if place.icc() == IccStatus::Absent {
            return;
        }
        place.remove();
        self.fail_pending(slot);
        self.note(slot, false);
    }

    /// Pulls the device out: every call fails from now on.
    pub fn unplug(&mut self) {
        self.gone = true;
        self.outbox.clear();
    }

    /// Whether it was pulled out.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Adds to what will be typed on the PIN pad.
    pub fn will_type(&mut self, entry: KeypadEntry) {
        self.keypad.script.push_back(entry);
    }

    /// Escape messages with these data are answered with those.
    pub fn answer_escape(&mut self, request: &[u8], answer: &[u8]) {
        self.escapes.push((request.to_vec(), answer.to_vec()));
    }

    /// The contact of a slot with a card, to disturb it.
    pub fn contact(&mut self, slot: u8) -> Option<&mut Contact> {
        self.slots.get_mut(usize::from(slot))?.contact_mut()
    }

    /// What went over a slot's contact, with all its cards so far.
    pub fn tally(&self, slot: u8) -> Tally {
        self.slots
            .get(usize::from(slot))
            .map(Slot::tally)
            .unwrap_or_default()
    }

    /// How many transfers there were.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The last messages, both ways, oldest first.
    pub fn log(&self) -> impl Iterator<Item = &Logged> {
        self.log.iter()
    }

    /// The device's clock.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Lets time pass.
    pub fn advance(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
    }

    /// When the next reply is ready, if one is under way; it may be in the past.
    pub fn ready_at(&self) -> Option<Duration> {
        match self.empty_due {
            true => Some(self.now),
            false => self.outbox.front().map(|reply| reply.at),
        }
    }

    /// One bulk OUT transfer.
    ///
    /// # Errors
    /// [`TransportError::Gone`], or [`TransportError::Stall`] of a device without bulk pipes.
    pub fn bulk_out(&mut self, transfer: &[u8]) -> Result<(), TransportError> {
        self.check_bulk()?;
        self.counters.bulk_out += 1;
        let limit = self.longest_message();
        let room = (limit + PACKET).saturating_sub(self.inbox.len());
        self.inbox
            .extend_from_slice(&transfer[..transfer.len().min(room)]);
        let announced = ResponseMessage::announced(&self.inbox).unwrap_or(usize::MAX);
        let ends_short = transfer.len() % PACKET != 0 || transfer.is_empty();
        let is_whole = self.inbox.len() >= announced.min(limit);
        if !ends_short && !is_whole {
            return Ok(());
        }
        let message = std::mem::take(&mut self.inbox);
        if !message.is_empty() {
            self.record(MessageDirection::ToReader, &message);
            self.receive(&message);
        }
        Ok(())
    }

    /// One bulk IN transfer of up to `max` bytes; `None` while no reply is ready.
    ///
    /// # Errors
    /// [`TransportError::Gone`], or [`TransportError::Stall`] of a device without bulk pipes.
    pub fn bulk_in(&mut self, max: usize) -> Result<Option<Vec<u8>>, TransportError> {
        self.check_bulk()?;
        if std::mem::take(&mut self.empty_due) {
            self.counters.bulk_in += 1;
            return Ok(Some(Vec::new()));
        }
        let max = max.min(self.oddities.split.unwrap_or(usize::MAX)).max(1);
        let mut transfer = Vec::new();
        while let Some(reply) = self.outbox.front_mut().filter(|reply| reply.at <= self.now) {
            let rest = &reply.bytes[reply.sent..];
            let take = rest.len().min(max - transfer.len());
            transfer.extend_from_slice(&rest[..take]);
            reply.sent += take;
            if reply.sent < reply.bytes.len() {
                break;
            }
            let length = reply.bytes.len();
            let bytes = std::mem::take(&mut reply.bytes);
            self.outbox.pop_front();
            self.record(MessageDirection::FromReader, &bytes);
            self.empty_due = length % PACKET == 0 && transfer.len() == max;
            if !self.oddities.merge {
                break;
            }
        }
        if transfer.is_empty() {
            return Ok(None);
        }
        self.counters.bulk_in += 1;
        Ok(Some(transfer))
    }

    /// Sends a message over the interrupt pipe, of whatever kind.
    pub fn notify(&mut self, message: &[u8]) {
        if self.notices.len() < OUTBOX {
            self.notices.push_back(message.to_vec());
        }
    }

    /// One interrupt transfer: RDR_to_PC_NotifySlotChange (clause 6.3.1), where a slot has changed, or what
    /// [`notify`](Self::notify) was given.
    pub fn interrupt_in(&mut self) -> Option<Vec<u8>> {
        if !self.has_notification() {
            return None;
        }
        self.counters.interrupt += 1;
        if let Some(message) = self.notices.pop_front() {
            return Some(message);
        }
        let mut message = Vec::from([0x50]);
        for four in self.changes.chunks_mut(4) {
            let mut byte = 0;
            for (at, bits) in four.iter_mut().enumerate() {
                byte |= *bits << (2 * at);
                *bits &= 1;
            }
            message.push(byte);
        }
        Some(message)
    }

    /// Whether [`interrupt_in`](Self::interrupt_in) would give something.
    pub(crate) fn has_notification(&self) -> bool {
        let changed = self.changes.iter().any(|bits| bits & 2 != 0);
        !self.gone && self.model.notifies() && (changed || !self.notices.is_empty())
    }

    /// Whether a slot looks occupied from outside.
    pub fn is_present(&self, slot: u8) -> bool {
        self.slots
            .get(usize::from(slot))
            .is_some_and(|slot| slot.icc() != IccStatus::Absent)
    }

    pub(super) fn record(&mut self, direction: MessageDirection, bytes: &[u8]) {
        if !self.keeps_log {
            return;
        }
        self.logged += bytes.len();
        while self.log.len() >= LOG || self.logged > LOG_BYTES {
            match self.log.pop_front() {
                Some(oldest) => self.logged -= oldest.bytes.len(),
                None => break,
            }
        }
        self.log.push_back(Logged {
            at: self.now,
            direction,
            bytes: bytes.to_vec(),
        });
    }

    /// How many bytes a message may have.
    pub(super) fn longest_message(&self) -> usize {
        let longest = self.oddities.longest_message;
        longest.unwrap_or_else(|| self.model.longest_message())
    }

    fn check_bulk(&self) -> Result<(), TransportError> {
        match self.gone {
            true => Err(TransportError::Gone),
            false if self.model.endpoints < 2 => Err(TransportError::Stall),
            false => Ok(()),
        }
    }

    pub(super) fn note(&mut self, slot: u8, present: bool) {
        if let Some(bits) = self.changes.get_mut(usize::from(slot)) {
            *bits = 2 | u8::from(present);
        }
    }

    /// The card left under a command that is going on: its reply comes now, and is a failure.
    fn fail_pending(&mut self, slot: u8) {
        let now = self.now;
        let mut pending = None;
        self.outbox.retain(|reply| {
            let is_pending = reply.slot == slot && reply.at > now && reply.sent == 0;
            if is_pending {
                pending = reply
                    .bytes
                    .first()
                    .zip(reply.bytes.get(6))
                    .map(|(kind, seq)| (*kind, *seq));
            }
            !is_pending
        });
        if let Some((kind, seq)) = pending.filter(|_| !self.oddities.silent_on_removal) {
            let kind = ResponseKind::decode(kind).unwrap_or(ResponseKind::SlotStatus);
            self.reply_at(
                now,
                kind,
                slot,
                seq,
                super::reply::Reply::failed(SlotErrorCode::Mute),
            );
        }
    }

    pub(super) fn icc(&self, slot: u8) -> IccStatus {
        match self.slots.get(usize::from(slot)).map(Slot::icc) {
            Some(IccStatus::Absent) if self.oddities.always_present => IccStatus::Inactive,
            Some(icc) => icc,
            None => IccStatus::Absent,
        }
    }

    pub(super) fn push(&mut self, at: Duration, response: &ResponseMessage<'_>) {
        if self.outbox.len() >= OUTBOX {
            return;
        }
        let mut bytes = vec![0; HEADER_SIZE + response.data.len()];
        if response.encode(&mut bytes).is_none() {
            return;
        }
        if self.oddities.over_announce > 0 {
            let length = (response.data.len() as u32).saturating_add(self.oddities.over_announce);
            bytes[1..5].copy_from_slice(&length.to_le_bytes());
        }
        bytes.extend((0..self.oddities.trailing).map(|_| 0xEE));
        if self.oddities.loses_whole_packets && bytes.len() % PACKET == 0 {
            return;
        }
        let reply = QueuedReply {
            at,
            slot: response.slot,
            bytes,
            sent: 0,
        };
        // Replies of several slots leave in the order in which they are ready.
        let place = self.outbox.partition_point(|other| other.at <= at);
        self.outbox.insert(place, reply);
    }
}
