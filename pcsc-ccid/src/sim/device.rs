//! The firmware between the USB pipes and the slots: messages, their order, their times.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use super::exchange::Block;
use super::model::{Model, PACKET};
use super::oddities::Oddities;
use super::secure::{Entry, Keypad};
use super::slot::Slot;
use crate::card::{Card, Contact, Tally};
use crate::descriptor::Features;
use crate::message::{Command, IccStatus, Kind, Malformed, Outcome, Response, SlotError, HEADER_SIZE};
use crate::transport::Error;

/// How many messages the log keeps.
const LOG: usize = 4096;
/// How many replies wait for the host at most.
const OUTBOX: usize = 4096;

/// How many transfers there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Bulk OUT transfers.
    pub bulk_out: u64,
    /// Bulk IN transfers that carried something, empty ones included; waits in vain not.
    pub bulk_in: u64,
    /// Class requests on the control pipe.
    pub control: u64,
    /// Interrupt transfers with a notification.
    pub interrupt: u64,
}

/// Which way a logged message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the reader.
    ToReader,
    /// From the reader.
    FromReader,
}

/// A message that went over the bulk pipes, or the data of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// When, on the device's clock.
    pub at: Duration,
    /// Its direction.
    pub direction: Direction,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

struct Reply {
    at: Duration,
    slot: u8,
    bytes: Vec<u8>,
    /// Bytes of it that are delivered.
    sent: usize,
}

#[derive(Default, Clone, Copy)]
struct Abort {
    /// The sequence number of the request on the control pipe, and of the message.
    requested: Option<u8>,
    message: Option<u8>,
}

/// A simulated device with one interface.
pub struct Device {
    pub(super) model: Model,
    pub(super) oddities: Oddities,
    pub(super) slots: Vec<Slot>,
    aborts: Vec<Abort>,
    /// Bit 0: a card is in; bit 1: that changed since the last notification.
    changes: Vec<u8>,
    inbox: Vec<u8>,
    outbox: VecDeque<Reply>,
    /// The host read a whole number of packets; the empty one that ends the transfer is due.
    empty_due: bool,
    pub(super) now: Duration,
    pub(super) gone: bool,
    status_asked: bool,
    pub(super) keypad: Keypad,
    escapes: Vec<(Vec<u8>, Vec<u8>)>,
    counters: Counters,
    log: VecDeque<Logged>,
    pub(super) iccd: super::control::Iccd,
}

impl Device {
    /// A device of this model, plugged in, with empty slots.
    pub fn new(model: Model) -> Device {
        let slots = usize::from(model.descriptor.max_slot_index) + 1;
        Device {
            slots: (0..slots).map(|_| Slot::new(&model)).collect(),
            aborts: Vec::from_iter((0..slots).map(|_| Abort::default())),
            changes: Vec::from_iter((0..slots).map(|_| 0)),
            model,
            oddities: Oddities::default(),
            inbox: Vec::new(),
            outbox: VecDeque::new(),
            empty_due: false,
            now: Duration::ZERO,
            gone: false,
            status_asked: false,
            keypad: Keypad::default(),
            escapes: Vec::new(),
            counters: Counters::default(),
            log: VecDeque::new(),
            iccd: super::control::Iccd::default(),
        }
    }

    /// The same with these faults.
    pub fn with(mut self, oddities: Oddities) -> Device {
        self.oddities = oddities;
        self
    }

    /// What it is.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Puts a card in a slot, and out the one that was there. A slot that is not there takes nothing.
    pub fn insert(&mut self, slot: u8, card: Box<dyn Card>) {
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
                let _ = place.power_on(crate::message::Voltage::Automatic, &self.model);
            }
        }
    }

    /// Takes the card out of a slot. A command that is going on fails.
    pub fn remove(&mut self, slot: u8) {
        let Some(place) = self.slots.get_mut(usize::from(slot)) else {
            return;
        };
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
    pub fn will_type(&mut self, entry: Entry) {
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
    /// [`Error::Gone`], or [`Error::Stall`] of a device without bulk pipes.
    pub fn bulk_out(&mut self, transfer: &[u8]) -> Result<(), Error> {
        self.check_bulk()?;
        self.counters.bulk_out += 1;
        let limit = self.model.longest_message();
        let room = (limit + PACKET).saturating_sub(self.inbox.len());
        self.inbox
            .extend_from_slice(&transfer[..transfer.len().min(room)]);
        let announced = Response::announced(&self.inbox).unwrap_or(usize::MAX);
        let ends_short = transfer.len() % PACKET != 0 || transfer.is_empty();
        let is_whole = self.inbox.len() >= announced.min(limit);
        if !ends_short && (!is_whole || self.oddities.needs_empty_packet) {
            return Ok(());
        }
        let message = core::mem::take(&mut self.inbox);
        if !message.is_empty() {
            self.record(Direction::ToReader, &message);
            self.receive(&message);
        }
        Ok(())
    }

    /// One bulk IN transfer of up to `max` bytes; `None` while no reply is ready.
    ///
    /// # Errors
    /// [`Error::Gone`], or [`Error::Stall`] of a device without bulk pipes.
    pub fn bulk_in(&mut self, max: usize) -> Result<Option<Vec<u8>>, Error> {
        self.check_bulk()?;
        if core::mem::take(&mut self.empty_due) {
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
            let bytes = core::mem::take(&mut reply.bytes);
            self.outbox.pop_front();
            self.record(Direction::FromReader, &bytes);
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

    /// One interrupt transfer: RDR_to_PC_NotifySlotChange (clause 6.3.1), where a slot has changed.
    pub fn interrupt_in(&mut self) -> Option<Vec<u8>> {
        let changed = self.changes.iter().any(|bits| bits & 2 != 0);
        if self.gone || !self.model.notifies() || !changed {
            return None;
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
        self.counters.interrupt += 1;
        Some(message)
    }

    /// Whether [`interrupt_in`](Self::interrupt_in) would give something.
    pub fn has_notification(&self) -> bool {
        !self.gone && self.model.notifies() && self.changes.iter().any(|bits| bits & 2 != 0)
    }

    /// Whether a slot looks occupied from outside.
    pub fn is_present(&self, slot: u8) -> bool {
        self.slots
            .get(usize::from(slot))
            .is_some_and(|slot| slot.icc() != IccStatus::Absent)
    }

    pub(super) fn record(&mut self, direction: Direction, bytes: &[u8]) {
        if self.log.len() >= LOG {
            self.log.pop_front();
        }
        self.log.push_back(Logged {
            at: self.now,
            direction,
            bytes: bytes.to_vec(),
        });
    }

    pub(super) fn count_control(&mut self) {
        self.counters.control += 1;
    }

    fn check_bulk(&self) -> Result<(), Error> {
        match self.gone {
            true => Err(Error::Gone),
            false if self.model.endpoints < 2 => Err(Error::Stall),
            false => Ok(()),
        }
    }

    fn note(&mut self, slot: u8, present: bool) {
        if let Some(bits) = self.changes.get_mut(usize::from(slot)) {
            *bits = 2 | u8::from(present);
        }
    }

    /// The card left under a command that is going on: its reply comes now, and is a failure.
    fn fail_pending(&mut self, slot: u8) {
        let now = self.now;
        let icc = self.icc(slot);
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
        if let Some((kind, seq)) = pending {
            let kind = match kind {
                0x80 => Kind::DataBlock,
                0x82 => Kind::Parameters,
                0x83 => Kind::Escape,
                0x84 => Kind::DataRateAndClockFrequency,
                _ => Kind::SlotStatus,
            };
            self.push(
                now,
                &Response {
                    kind,
                    slot,
                    seq,
                    icc,
                    outcome: Outcome::Failed(SlotError::Mute),
                    specific: 0,
                    data: &[],
                },
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

    fn push(&mut self, at: Duration, response: &Response<'_>) {
        if self.outbox.len() >= OUTBOX {
            return;
        }
        let mut bytes = Vec::from_iter((0..HEADER_SIZE + response.data.len()).map(|_| 0));
        if response.encode(&mut bytes).is_none() {
            return;
        }
        if self.oddities.over_announce > 0 {
            let length = (response.data.len() as u32).saturating_add(self.oddities.over_announce);
            bytes[1..5].copy_from_slice(&length.to_le_bytes());
        }
        bytes.extend((0..self.oddities.trailing).map(|_| 0xEE));
        let reply = Reply {
            at,
            slot: response.slot,
            bytes,
            sent: 0,
        };
        // Replies of several slots leave in the order in which they are ready.
        let place = self.outbox.partition_point(|other| other.at <= at);
        self.outbox.insert(place, reply);
    }

    /// A whole message from the host.
    fn receive(&mut self, message: &[u8]) {
        let Some(&[kind, _, _, _, _, slot, seq, ..]) = message.first_chunk::<HEADER_SIZE>() else {
            return;
        };
        let answered_by = match kind {
            0x62 | 0x6F | 0x69 => Kind::DataBlock,
            0x61 | 0x6C | 0x6D => Kind::Parameters,
            0x6B => Kind::Escape,
            0x73 => Kind::DataRateAndClockFrequency,
            _ => Kind::SlotStatus,
        };
        let refuse = |device: &mut Device, error| {
            let answer = Done::failed(error);
            device.reply(answered_by, slot, seq, answer);
        };
        if usize::from(slot) >= self.slots.len() {
            return refuse(self, SlotError::Parameter(5));
        }
        let too_long = message.len() > self.model.longest_message();
        let command = match Command::decode(message) {
            _ if too_long => return refuse(self, SlotError::Parameter(1)),
            Ok((command, ..)) => command,
            Err(Malformed::Truncated) => return refuse(self, SlotError::Parameter(1)),
            Err(Malformed::Kind(_)) => return refuse(self, SlotError::CommandUnsupported),
            Err(Malformed::Value { offset }) => return refuse(self, SlotError::Parameter(offset)),
        };
        if command == Command::Abort {
            return self.abort(slot, None, Some(seq));
        }
        if let Some(abort) = self.aborts.get(usize::from(slot)) {
            if abort.requested.is_some() || abort.message.is_some() {
                return refuse(self, SlotError::Aborted);
            }
        }
        if self.is_busy(slot) {
            return refuse(self, SlotError::SlotBusy);
        }
        self.carry_out(slot, seq, command);
    }

    /// Whether a slot's command is going on, or as many slots' as the reader can serve.
    fn is_busy(&self, slot: u8) -> bool {
        let mut busy: Vec<u8> = self
            .outbox
            .iter()
            .filter(|reply| reply.at > self.now)
            .map(|reply| reply.slot)
            .collect();
        busy.sort_unstable();
        busy.dedup();
        busy.contains(&slot) || busy.len() >= usize::from(self.model.descriptor.max_busy_slots.max(1))
    }

    fn carry_out(&mut self, slot: u8, seq: u8, command: Command<'_>) {
        let kind = command.answered_by();
        let present_before = self.slots[usize::from(slot)].icc() != IccStatus::Absent;
        if self.in_auto_sequence(slot) && command != Command::GetSlotStatus {
            return self.reply(kind, slot, seq, Done::failed(SlotError::BusyWithAutoSequence));
        }
        let before = self.slots[usize::from(slot)].elapsed();
        let done = self.run(slot, command);
        let place = &mut self.slots[usize::from(slot)];
        let extensions = place.take_extensions();
        let after = place.elapsed();
        let is_there = place.notice();
        let start = self.now;
        for (at, times) in extensions {
            let icc = self.icc(slot);
            let response = Response {
                kind,
                slot,
                seq,
                icc,
                outcome: Outcome::TimeExtension(times),
                specific: 0,
                data: &[],
            };
            self.push(start + at.saturating_sub(before), &response);
        }
        if present_before && !is_there {
            self.note(slot, false);
        }
        let took = after.saturating_sub(before) + done.delay;
        let at = start + took;
        self.reply_at(at, kind, slot, seq, done);
    }

    fn in_auto_sequence(&self, slot: u8) -> bool {
        self.slots.get(usize::from(slot)).is_some_and(|place| {
            place.icc() != IccStatus::Absent
                && self.now.saturating_sub(place.inserted_at) < self.oddities.auto_sequence
        })
    }

    fn run(&mut self, slot: u8, command: Command<'_>) -> Done {
        let features = self.model.descriptor.features;
        let place = &mut self.slots[usize::from(slot)];
        let result = match command {
            Command::IccPowerOn(voltage) => place.power_on(voltage, &self.model).map(Done::data),
            Command::IccPowerOff => {
                place.power_off();
                Ok(Done::status(1))
            }
            Command::GetSlotStatus => {
                let mut done = Done::status(if place.icc() == IccStatus::Active && !place.clock_stopped {
                    0
                } else {
                    1
                });
                if !core::mem::replace(&mut self.status_asked, true) {
                    done.delay = self.oddities.first_status_delay;
                }
                Ok(done)
            }
            Command::XfrBlock { bwi, level, data } => place
                .xfr(Block { bwi, level, data }, &self.model, &self.oddities)
                .map(|(data, chain)| Done {
                    data,
                    specific: chain,
                    ..Done::default()
                }),
            Command::GetParameters => place.live().map(drop).map(|()| place.parameters_done()),
            Command::ResetParameters => place.reset_parameters().map(|()| place.parameters_done()),
            Command::SetParameters { protocol, data } => place
                .set_parameters(protocol, data, &self.model, self.oddities.baud_by_parameters)
                .map(|()| place.parameters_done()),
            Command::Escape(data) => self
                .escapes
                .iter()
                .find(|(request, _)| request == data)
                .map(|(_, answer)| Done::data(answer.clone()))
                .ok_or(SlotError::CommandUnsupported),
            Command::IccClock { stop } if features.has(Features::CLOCK_STOP) => {
                place.live().map(drop).map(|()| {
                    place.clock_stopped = stop;
                    Done::status(u8::from(stop))
                })
            }
            Command::T0Apdu { .. } if features.0 & 0x6_0000 != 0 => place.live().map(|_| Done::status(0)),
            Command::Secure { level, data, .. } if self.model.descriptor.pin_support & 3 != 0 => {
                place.secure(level, data, &self.model, &mut self.keypad)
            }
            Command::Mechanical(function) if self.model.descriptor.mechanical != 0 => match function {
                1..=5 => Ok(Done::status(0)),
                _ => Err(SlotError::Parameter(7)),
            },
            Command::SetDataRateAndClockFrequency { clock_khz, rate_bps } => place
                .set_rates(clock_khz, rate_bps, &self.model)
                .map(|(clock_khz, rate_bps)| {
                    let mut data = clock_khz.to_le_bytes().to_vec();
                    data.extend(rate_bps.to_le_bytes());
                    Done::data(data)
                }),
            Command::IccClock { .. }
            | Command::T0Apdu { .. }
            | Command::Secure { .. }
            | Command::Mechanical(_)
            | Command::Abort => Err(SlotError::CommandUnsupported),
        };
        result.unwrap_or_else(Done::failed)
    }

    fn reply(&mut self, kind: Kind, slot: u8, seq: u8, done: Done) {
        self.reply_at(self.now, kind, slot, seq, done);
    }

    fn reply_at(&mut self, at: Duration, kind: Kind, slot: u8, seq: u8, done: Done) {
        let icc = self.icc(slot);
        self.push(
            at,
            &Response {
                kind,
                slot,
                seq,
                icc,
                outcome: done.error.map_or(Outcome::Done, Outcome::Failed),
                specific: done.specific,
                data: &done.data,
            },
        );
    }

    /// ABORT on the control pipe, or PC_to_RDR_Abort: once both came with one sequence number, the slot
    /// is free (clauses 5.3.1 and 6.1.13).
    pub(super) fn abort(&mut self, slot: u8, requested: Option<u8>, message: Option<u8>) {
        let Some(abort) = self.aborts.get_mut(usize::from(slot)) else {
            return;
        };
        abort.requested = requested.or(abort.requested);
        abort.message = message.or(abort.message);
        let both = abort.requested.zip(abort.message);
        self.outbox.retain(|reply| reply.slot != slot || reply.sent > 0);
        match both {
            Some((requested, seq)) if requested == seq => {
                if let Some(abort) = self.aborts.get_mut(usize::from(slot)) {
                    *abort = Abort::default();
                }
                if let Some(place) = self.slots.get_mut(usize::from(slot)) {
                    place.abort();
                }
                self.reply(Kind::SlotStatus, slot, seq, Done::status(0));
            }
            Some((_, seq)) => self.reply(Kind::SlotStatus, slot, seq, Done::failed(SlotError::Aborted)),
            None => (),
        }
    }
}

/// How a command ended.
#[derive(Default)]
pub(super) struct Done {
    pub data: Vec<u8>,
    pub specific: u8,
    pub error: Option<SlotError>,
    /// Time beyond what went by on the contact.
    pub delay: Duration,
}

impl Done {
    pub fn data(data: Vec<u8>) -> Done {
        Done {
            data,
            ..Done::default()
        }
    }

    /// `bClockStatus`.
    pub fn status(clock: u8) -> Done {
        Done {
            specific: clock,
            ..Done::default()
        }
    }

    pub fn failed(error: SlotError) -> Done {
        Done {
            error: Some(error),
            ..Done::default()
        }
    }
}

impl Slot {
    fn parameters_done(&self) -> Done {
        Done {
            data: self.parameters.bytes().to_vec(),
            specific: self.parameters.protocol,
            ..Done::default()
        }
    }
}
