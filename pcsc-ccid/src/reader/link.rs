//! One command and its answer over bulk pipes: sequence numbers, time extensions, aborts, and recovery from
//! what readers do wrong with them (CCID 1.1, clauses 3.1 to 3.3).

use alloc::vec::Vec;
use core::time::Duration;

use zeroize::Zeroize;

use super::limit::Limit;
use super::reply::Reply;
use super::ReaderError;
use crate::message::{
    CommandMessage, CommandStatus, IccStatus, Malformed, ResponseMessage, SlotErrorCode, HEADER_SIZE,
};
use crate::transport::{Transport, TransportError};

/// The longest message that a reader may send: a header and an extended response APDU.
const MAX_MESSAGE: usize = 65_538 + HEADER_SIZE;
/// The buffer's length is a multiple of this: real readers append bytes to their messages. It is one of the
/// longest bulk packet too (USB 3.2, clause 9.6.6), so that a longer message goes on in the next transfer.
const BUFFER_UNIT: usize = 1024;
/// How long to wait for the next transfer of an answer that has begun to arrive.
const REST: Duration = Duration::from_millis(500);
/// How long all transfers of an answer may take: many times what the longest message needs in packets of 64
/// bytes at one a millisecond.
const WHOLE: Duration = Duration::from_secs(10);
/// How long the bulk OUT transfer of a command may take.
const SEND: Duration = Duration::from_secs(5);
/// How long the answer to an abort may take.
const ABORT: Duration = Duration::from_secs(1);
/// How long to wait for data that an earlier failure left in the pipe.
const DRAIN: Duration = Duration::from_millis(20);
/// The longest wait for one answer, time extensions included.
const MAX_TOTAL: Duration = Duration::from_secs(300);
/// How many other messages may come before the answer.
const MAX_STRAYS: u32 = 16;
/// How many transfers may come for one command: enough for the longest answer in the smallest packets.
const MAX_TRANSFERS: u32 = 16_384;
/// How many times in a row a slot may be busy with something of its own, such as activating a new card.
const PATIENCE: u8 = 8;
/// How many time extensions one command may ask for.
const MAX_EXTENSIONS: u32 = 4096;

/// Bytes in a packet of the bulk pipes at full speed (USB 2.0, clause 5.8.3).
const PACKET: usize = 64;

/// Whether the bytes are exactly one message.
fn is_whole(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80..=0x84, ..]) && ResponseMessage::announced(bytes) == Some(bytes.len())
}

/// ABORT (clause 5.3.1).
const REQUEST_ABORT: u8 = 0x01;

/// The bulk pipes of a reader, with the state of the conversation.
pub struct Link<T> {
    pub transport: T,
    seq: u8,
    out: Vec<u8>,
    /// Holds the data of the last reply.
    pub buffer: Vec<u8>,
    /// The longest message to the reader.
    max_message: usize,
    /// See [`crate::quirks::Quirks::loses_whole_packets`].
    loses_whole_packets: bool,
    /// Answers can be of no other slot.
    has_one_slot: bool,
    /// The bulk IN pipe may still hold messages of an earlier command.
    is_dirty: bool,
    /// The slot whose abort was not acknowledged: until it is, the reader refuses the slot's commands (clause
    /// 5.3.1).
    unfinished_abort: Option<u8>,
    /// The slot whose last command was given up after a bad answer: the reader may still execute it.
    given_up: Option<u8>,
    /// How often in a row a slot was busy though this driver had no command there.
    refusals: u8,
}

impl<T: Transport> Link<T> {
    pub fn new(transport: T, announced_max: u32, loses_whole_packets: bool, has_one_slot: bool) -> Link<T> {
        let max_message = usize::try_from(announced_max)
            .unwrap_or(MAX_MESSAGE)
            .clamp(HEADER_SIZE + 5, MAX_MESSAGE);
        Link {
            transport,
            seq: 0,
            out: Vec::with_capacity(max_message),
            buffer: alloc::vec![0; max_message.next_multiple_of(BUFFER_UNIT)],
            max_message,
            loses_whole_packets,
            has_one_slot,
            is_dirty: false,
            unfinished_abort: None,
            given_up: None,
            refusals: 0,
        }
    }

    /// How many bytes of data one message can carry to the reader.
    pub fn max_data(&self) -> usize {
        self.max_message - HEADER_SIZE
    }

    /// How many of the expected characters to ask for: no more than a message holds.
    pub fn part(&self, expected: usize) -> usize {
        let expected = expected.min(self.max_data());
        let fills = (HEADER_SIZE + expected) % PACKET == 0;
        expected - usize::from(self.loses_whole_packets && fills)
    }

    /// Sends a command and receives its answer. The wait is `timeout`, or as many times that as the reader
    /// asks for by time extensions; the caller's `deadline`, on the transport's clock, cancels it.
    pub fn call(
        &mut self,
        slot: u8,
        command: &CommandMessage<'_>,
        timeout: Duration,
        deadline: Option<Duration>,
    ) -> Result<Reply, ReaderError> {
        // Once more, and whatever comes of it: a reader that never acknowledges must not be asked before
        // every command.
        if let Some(slot) = self.unfinished_abort.take() {
            self.abort(slot)?;
        }
        if self.is_dirty {
            self.drain()?;
        }
        let seq = self.next_seq();
        let result = self
            .send(slot, seq, command, deadline)
            .and_then(|()| self.answer(slot, seq, command, timeout, deadline));
        self.refusals = match result {
            Err(ReaderError::Slot(SlotErrorCode::SlotBusy)) => self.refusals + 1,
            _ => 0,
        };
        match result {
            Err(ReaderError::Transport(TransportError::Timeout | TransportError::Cancelled)) => {
                self.unfinished_abort = (!self.abort(slot)?).then_some(slot);
            }
            Err(ReaderError::Slot(SlotErrorCode::SlotBusy))
                if self.given_up == Some(slot) || self.refusals > PATIENCE =>
            {
                (self.given_up, self.refusals) = (None, 0);
                self.unfinished_abort = (!self.abort(slot)?).then_some(slot);
            }
            // By this driver, or by the process that had the reader before.
            Err(ReaderError::Slot(SlotErrorCode::Aborted)) => self.unfinished_abort = Some(slot),
            Err(ReaderError::Transport(TransportError::Stall)) => {
                self.is_dirty = true;
                self.given_up = Some(slot);
                self.transport.clear_halt()?;
            }
            Err(
                ReaderError::Transport(_)
                | ReaderError::Malformed(_)
                | ReaderError::WrongReply
                | ReaderError::TooSlow,
            ) => {
                self.is_dirty = true;
                self.given_up = Some(slot);
            }
            _ => self.given_up = self.given_up.filter(|other| *other != slot),
        }
        result
    }

    fn next_seq(&mut self) -> u8 {
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        seq
    }

    fn send(
        &mut self,
        slot: u8,
        seq: u8,
        command: &CommandMessage<'_>,
        deadline: Option<Duration>,
    ) -> Result<(), ReaderError> {
        // Within its first capacity: a buffer that grew would leave a copy of what it held, which may be a
        // PIN.
        self.out.resize(self.max_message, 0);
        let length = command
            .encode(slot, seq, &mut self.out)
            .ok_or(ReaderError::CommandTooLong {
                max: self.max_message - HEADER_SIZE,
            })?;
        let left = deadline.map(|deadline| deadline.saturating_sub(self.transport.now()));
        let limit = Limit::new(SEND, left);
        let sent = self.transport.send(&self.out[..length], limit.at);
        // It may be a PIN.
        self.out[..length].zeroize();
        sent.map_err(|error| match error {
            TransportError::Timeout => limit.error(error.into()),
            error => error.into(),
        })
    }

    fn answer(
        &mut self,
        slot: u8,
        seq: u8,
        command: &CommandMessage<'_>,
        timeout: Duration,
        deadline: Option<Duration>,
    ) -> Result<Reply, ReaderError> {
        let begin = self.transport.now();
        // A message that is not the answer must not restart the timeout.
        let mut until = begin.saturating_add(timeout);
        let (mut strays, mut extensions, mut transfers) = (0, 0, MAX_TRANSFERS);
        // The part of the buffer that was received and not decoded yet.
        let (mut start, mut end) = (0, 0);
        let mut now = Some(begin);
        loop {
            let limit = Limit::new(until, deadline);
            let received = self.message(start, end, limit.at, now.take(), &mut transfers);
            (start, end) = received.map_err(|error| match error {
                ReaderError::Transport(TransportError::Timeout) => limit.error(error),
                error => error,
            })?;
            let bytes = &self.buffer[start..end];
            let length =
                ResponseMessage::announced(bytes).ok_or(ReaderError::Malformed(Malformed::Truncated))?;
            let response = match ResponseMessage::decode(bytes) {
                // Like libccid, this compares `bSlot` only if there are several slots.
                Ok(response) if response.seq == seq && (self.has_one_slot || response.slot == slot) => {
                    response
                }
                // The answer to an earlier command, or garbage: the answer to this one may still come.
                Ok(_) | Err(Malformed::Kind(_)) if strays < MAX_STRAYS => {
                    strays += 1;
                    start += length;
                    continue;
                }
                Ok(_) => return Err(ReaderError::WrongReply),
                Err(malformed) => return Err(ReaderError::Malformed(malformed)),
            };
            let icc = response.icc;
            match response.outcome {
                CommandStatus::TimeExtension(times) => {
                    extensions += 1;
                    if extensions > MAX_EXTENSIONS {
                        return Err(ReaderError::TooSlow);
                    }
                    let wait = timeout.saturating_mul(u32::from(times.max(1)));
                    let end = self.transport.now().saturating_add(wait);
                    // From now and not from the old end: the extension is counted from the moment at which it
                    // is asked for. For some readers `timeout` is longer than MAX_TOTAL. An extension must
                    // not shorten their wait.
                    until = end.min(begin.saturating_add(MAX_TOTAL.max(timeout)));
                    start += length;
                }
                // Readers report a card that was pulled out in the middle of a command as mute.
                CommandStatus::Failed(SlotErrorCode::Mute) if icc == IccStatus::Absent => {
                    return Err(ReaderError::NoCard)
                }
                // Some readers fail GetSlotStatus if the card does not answer. The status in that reply is
                // right.
                CommandStatus::Failed(SlotErrorCode::Mute) if *command == CommandMessage::GetSlotStatus => {
                    return Ok(Reply::new(icc, 0, start, start));
                }
                CommandStatus::Failed(error) => return Err(ReaderError::Slot(error)),
                // By its sequence number it is the answer. Like libccid, this does not compare its type.
                CommandStatus::Done => {
                    let data = start + HEADER_SIZE;
                    return Ok(Reply::new(icc, response.specific, data, start + length));
                }
            }
        }
    }

    /// Receives until a whole message is at `start` of the buffer; returns the range of all bytes from there.
    ///
    /// Readers split messages over several transfers, put several messages into one, and end them with empty
    /// transfers.
    fn message(
        &mut self,
        mut start: usize,
        mut end: usize,
        until: Duration,
        mut now: Option<Duration>,
        transfers: &mut u32,
    ) -> Result<(usize, usize), ReaderError> {
        // Behind a message there is another one, or garbage that the reader appends.
        if !matches!(self.buffer.get(start..end), Some([0x80..=0x84, ..])) {
            (start, end) = (0, 0);
        }
        let mut useless = 0;
        let mut begun = None;
        loop {
            let length = end - start;
            match ResponseMessage::announced(&self.buffer[start..end]) {
                Some(announced) if announced <= length => return Ok((start, end)),
                // No reader sends that much. To wait for it would cost the whole timeout.
                Some(announced) if announced > MAX_MESSAGE => return Err(ReaderError::WrongReply),
                // `dwMaxCCIDMessageLength` limits what a reader takes and sends; like libccid, this takes
                // more.
                Some(announced) if announced > self.buffer.len() => {
                    self.buffer.resize(announced.next_multiple_of(BUFFER_UNIT), 0);
                }
                _ => (),
            }
            self.buffer.copy_within(start..end, 0);
            (start, end) = (0, length);
            // Most answers take one system call for the clock: the caller's reading is used first.
            let now = now.take().unwrap_or_else(|| self.transport.now());
            let has_begun = length > 0;
            let wait = if has_begun {
                let begun: Duration = *begun.get_or_insert(now);
                begun.saturating_add(WHOLE).saturating_sub(now).min(REST)
            } else {
                until.saturating_sub(now)
            };
            if wait.is_zero() {
                let late = TransportError::Timeout.into();
                return Err(if has_begun {
                    ReaderError::Malformed(Malformed::Truncated)
                } else {
                    late
                });
            }
            *transfers = transfers.checked_sub(1).ok_or(ReaderError::WrongReply)?;
            match self.transport.receive(&mut self.buffer[end..], wait) {
                // No message begins with this byte, so later transfers cannot complete it.
                Ok(_) if !matches!(self.buffer.first(), Some(0x80..=0x84)) => useless += 1,
                Ok(0) => useless += 1,
                Ok(more) => {
                    let before = end;
                    end = (end + more).min(self.buffer.len());
                    // This transfer is a whole message by itself, so the rest of the one that has begun is
                    // lost.
                    if has_begun && is_whole(&self.buffer[before..end]) {
                        return Err(ReaderError::Malformed(Malformed::Truncated));
                    }
                }
                Err(TransportError::Timeout) if has_begun => {
                    return Err(ReaderError::Malformed(Malformed::Truncated))
                }
                Err(error) => return Err(error.into()),
            }
            if useless > MAX_STRAYS {
                return Err(ReaderError::WrongReply);
            }
        }
    }

    /// Aborts the command that a slot is executing (clause 5.3.1): by a control request and a bulk message,
    /// after which all messages up to the abort's answer are skipped. False if that answer does not come.
    fn abort(&mut self, slot: u8) -> Result<bool, ReaderError> {
        self.is_dirty = true;
        let seq = self.next_seq();
        // bSlot in the low byte, bSeq in the high one. The bulk message has to have the same number (clause
        // 5.3.1).
        let value = u16::from_le_bytes([slot, seq]);
        match self.transport.control_out(REQUEST_ABORT, value, &[], ABORT) {
            Ok(()) => (),
            Err(TransportError::Gone) => return Err(TransportError::Gone.into()),
            // Not every reader supports the request. Then the sequence number distinguishes a late answer
            // from that of the next command.
            Err(_) => return Ok(true),
        }
        let result = self
            .send(slot, seq, &CommandMessage::Abort, None)
            .and_then(|()| self.answer(slot, seq, &CommandMessage::Abort, ABORT, None));
        match result {
            // Everything before the abort's answer was skipped by its number, so that the pipe is empty.
            Ok(_) => self.is_dirty = false,
            Err(error) if error.is_gone() => return Err(error),
            Err(_) => (),
        }
        Ok(!self.is_dirty)
    }

    /// Discards what an earlier failure left in the bulk IN pipe.
    fn drain(&mut self) -> Result<(), ReaderError> {
        // Bounded, for a reader that sends without end.
        for _ in 0..MAX_STRAYS {
            match self.transport.receive(&mut self.buffer, DRAIN) {
                Ok(_) => (),
                Err(TransportError::Stall) => self.transport.clear_halt()?,
                Err(TransportError::Timeout) => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.is_dirty = false;
        Ok(())
    }
}
