//! What the firmware does with a message: commands, their order, their times (CCID 1.1, clause 6.1).

use std::time::Duration;

use super::device::SimDevice;
use super::exchange::Block;
use super::reply::Reply;
use super::slot::Slot;
use pcsc_ccid::descriptor::Features;
use pcsc_ccid::message::{
    CommandMessage, CommandStatus, IccStatus, Malformed, ResponseKind, ResponseMessage, SlotErrorCode,
    HEADER_SIZE,
};

impl SimDevice {
    /// A whole message from the host.
    pub(super) fn receive(&mut self, message: &[u8]) {
        let Some(&[kind, _, _, _, _, slot, seq, ..]) = message.first_chunk::<HEADER_SIZE>() else {
            return;
        };
        let answered_by = ResponseKind::answering(kind);
        let refuse = |device: &mut SimDevice, error| {
            let answer = Reply::failed(error);
            device.reply(answered_by, slot, seq, answer);
        };
        if usize::from(slot) >= self.slots.len() {
            return refuse(self, SlotErrorCode::Parameter(5));
        }
        let too_long = message.len() > self.longest_message();
        let command = match CommandMessage::decode(message) {
            _ if too_long => return refuse(self, SlotErrorCode::Parameter(1)),
            Ok((command, ..)) => command,
            Err(Malformed::Truncated) => return refuse(self, SlotErrorCode::Parameter(1)),
            Err(Malformed::Value { offset }) => return refuse(self, SlotErrorCode::Parameter(offset)),
            Err(_) => return refuse(self, SlotErrorCode::CommandUnsupported),
        };
        if command == CommandMessage::Abort {
            return self.abort(slot, None, Some(seq));
        }
        let place = &self.slots[usize::from(slot)];
        if place.abort_request.is_some() || place.abort_message.is_some() {
            return refuse(self, SlotErrorCode::Aborted);
        }
        if self.is_busy(slot) {
            return refuse(self, SlotErrorCode::SlotBusy);
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

    fn carry_out(&mut self, slot: u8, seq: u8, command: CommandMessage<'_>) {
        let kind = command.answered_by();
        let present_before = self.slots[usize::from(slot)].icc() != IccStatus::Absent;
        if self.in_auto_sequence(slot) && command != CommandMessage::GetSlotStatus {
            return self.reply(
                kind,
                slot,
                seq,
                Reply::failed(SlotErrorCode::BusyWithAutoSequence),
            );
        }
        let before = self.slots[usize::from(slot)].elapsed();
        let done = self.run(slot, command);
        let place = &mut self.slots[usize::from(slot)];
        let extensions = place.take_extensions();
        let after = place.elapsed();
        let is_there = place.notice();
        let start = self.now;
        for (at, times) in extensions {
            let asked_at = start.saturating_add(at.saturating_sub(before));
            self.reply_at(asked_at, kind, slot, seq, Reply::extension(times));
        }
        if present_before && !is_there {
            self.note(slot, false);
        }
        let took = after.saturating_sub(before).saturating_add(done.delay);
        self.reply_at(start.saturating_add(took), kind, slot, seq, done);
    }

    fn in_auto_sequence(&self, slot: u8) -> bool {
        self.slots.get(usize::from(slot)).is_some_and(|place| {
            place.icc() != IccStatus::Absent
                && self.now.saturating_sub(place.inserted_at) < self.oddities.auto_sequence
        })
    }

    fn run(&mut self, slot: u8, command: CommandMessage<'_>) -> Reply {
        let features = self.model.descriptor.features;
        let place = &mut self.slots[usize::from(slot)];
        let result = match command {
            CommandMessage::IccPowerOn(voltage) => place.power_on(voltage, &self.model).map(Reply::data),
            CommandMessage::IccPowerOff => {
                place.power_off();
                Ok(Reply::status(1))
            }
            CommandMessage::GetSlotStatus => {
                let mut done = Reply::status(if place.icc() == IccStatus::Active && !place.clock_stopped {
                    0
                } else {
                    1
                });
                if !std::mem::replace(&mut self.status_asked, true) {
                    done.delay = self.oddities.first_status_delay;
                }
                Ok(done)
            }
            CommandMessage::XfrBlock { bwi, level, data } => place
                .xfr(Block { bwi, level, data }, &self.model, &self.oddities)
                .map(|(data, chain)| Reply {
                    data,
                    specific: chain,
                    ..Reply::default()
                }),
            CommandMessage::GetParameters => place.live().map(drop).map(|()| place.parameters_reply()),
            CommandMessage::ResetParameters => place.reset_parameters().map(|()| place.parameters_reply()),
            CommandMessage::SetParameters { protocol, data } => place
                .set_parameters(protocol, data, &self.model)
                .map(|()| place.parameters_reply()),
            CommandMessage::Escape(data) => self
                .escapes
                .iter()
                .find(|(request, _)| request == data)
                .map(|(_, answer)| Reply::data(answer.clone()))
                .ok_or(SlotErrorCode::CommandUnsupported),
            CommandMessage::IccClock { stop } if features.has(Features::CLOCK_STOP) => {
                place.live().map(drop).map(|()| {
                    place.clock_stopped = stop;
                    Reply::status(u8::from(stop))
                })
            }
            CommandMessage::T0Apdu { .. } if features.0 & 0x6_0000 != 0 => {
                place.live().map(|_| Reply::status(0))
            }
            CommandMessage::Secure { level, data, .. } if self.model.descriptor.pin_support & 3 != 0 => {
                Ok(place.secure(level, data, (&self.model, &self.oddities), &mut self.keypad))
            }
            CommandMessage::Mechanical(function) if self.model.descriptor.mechanical != 0 => match function {
                1..=5 => Ok(Reply::status(0)),
                _ => Err(SlotErrorCode::Parameter(7)),
            },
            CommandMessage::SetDataRateAndClockFrequency { clock_khz, rate_bps } => place
                .set_rates(clock_khz, rate_bps, &self.model)
                .map(|(clock_khz, rate_bps)| {
                    let mut data = clock_khz.to_le_bytes().to_vec();
                    data.extend(rate_bps.to_le_bytes());
                    Reply::data(data)
                }),
            // Commands that the descriptor does not promise.
            _ => Err(SlotErrorCode::CommandUnsupported),
        };
        result.unwrap_or_else(Reply::failed)
    }

    fn reply(&mut self, kind: ResponseKind, slot: u8, seq: u8, done: Reply) {
        self.reply_at(self.now, kind, slot, seq, done);
    }

    pub(super) fn reply_at(&mut self, at: Duration, kind: ResponseKind, slot: u8, seq: u8, done: Reply) {
        let icc = self.icc(slot);
        self.push(
            at,
            &ResponseMessage {
                kind,
                slot,
                seq,
                icc,
                outcome: done.outcome.unwrap_or(CommandStatus::Done),
                specific: done.specific,
                data: &done.data,
            },
        );
    }

    /// ABORT on the control pipe, or PC_to_RDR_Abort: once both came with one sequence number, the slot
    /// is free (clauses 5.3.1 and 6.1.13).
    pub(super) fn abort(&mut self, slot: u8, requested: Option<u8>, message: Option<u8>) {
        let Some(place) = self.slots.get_mut(usize::from(slot)) else {
            return;
        };
        place.abort_request = requested.or(place.abort_request);
        place.abort_message = message.or(place.abort_message);
        self.outbox.retain(|reply| reply.slot != slot || reply.sent > 0);
        match place.abort_request.zip(place.abort_message) {
            Some((requested, seq)) if requested == seq => {
                (place.abort_request, place.abort_message) = (None, None);
                place.abort();
                self.reply(ResponseKind::SlotStatus, slot, seq, Reply::status(0));
            }
            Some((_, seq)) => self.reply(
                ResponseKind::SlotStatus,
                slot,
                seq,
                Reply::failed(SlotErrorCode::Aborted),
            ),
            None => (),
        }
    }
}

impl Slot {
    fn parameters_reply(&self) -> Reply {
        Reply {
            data: self.parameters.bytes().to_vec(),
            specific: self.parameters.protocol,
            ..Reply::default()
        }
    }
}
