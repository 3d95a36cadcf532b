//! The state of a replay: what was played, and what comes next.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pcsc_ccid::message::{Notification, HEADER_SIZE};
use pcsc_ccid::transport::TransportError;

use super::matching::{describe, Sent, GET_SLOT_STATUS, ICC_POWER_OFF, LISTS, SEQ, SLOT};
use super::parse::{Message, RecordedAnswer, RecordedExchange};
use super::secrets::Secrets;
use super::UsbRecord;
use crate::Mismatch;

const SLOT_STATUS: u8 = 0x81;
/// `bmICCStatus`.
const INACTIVE: u8 = 1;
const ABSENT: u8 = 2;
/// The longest delay before a recorded insertion or removal: who made the record may have looked for a card
/// for minutes.
const LONGEST_DELAY: Duration = Duration::from_secs(1);

pub(super) struct ReplayState {
    record: UsbRecord,
    /// Of each exchange, whether it was played, or left out.
    is_done: Vec<bool>,
    /// The first exchange that was neither.
    begin: usize,
    pub mismatch: Option<Mismatch>,
    /// The answers to come on the bulk IN pipe, and the exchange they are from.
    answers: VecDeque<(Duration, RecordedAnswer)>,
    pub current: Option<usize>,
    /// What is added to the `bSeq` of its answers.
    shift: u8,
    /// How many bytes of a message are still to come.
    rest: usize,
    pub now: Duration,
    last_at: Instant,
    /// `bmICCStatus` by slot.
    icc: [u8; 256],
    /// How many messages of the interrupt pipe were given.
    interrupts_given: usize,
    /// How many may be given at once, because what was recorded after them has come.
    interrupts_due: usize,
    pub is_gone: bool,
    /// The wait for the interrupt pipe in progress, or the next one, is to end.
    pub is_interrupted: bool,
    pub secrets: Secrets,
}

impl ReplayState {
    /// Before the first message.
    pub fn new(record: UsbRecord) -> ReplayState {
        ReplayState {
            is_done: vec![false; record.exchanges.len()],
            record,
            begin: 0,
            mismatch: None,
            answers: VecDeque::new(),
            current: None,
            shift: 0,
            rest: 0,
            now: Duration::ZERO,
            last_at: Instant::now(),
            icc: [ABSENT; 256],
            interrupts_given: 0,
            interrupts_due: 0,
            is_gone: false,
            is_interrupted: false,
            secrets: Secrets::default(),
        }
    }

    /// The first exchange that did not come and should have.
    pub fn first_left(&self) -> Option<usize> {
        let is_left = |(at, exchange): &(usize, &RecordedExchange)| !self.is_done[*at] && !exchange.is_free();
        self.ahead().find(is_left).map(|(at, _)| at)
    }

    fn ahead(&self) -> impl Iterator<Item = (usize, &RecordedExchange)> {
        self.record.exchanges.iter().enumerate().skip(self.begin)
    }

    pub fn mismatch(&self, recorded: Option<usize>, found: Option<String>) -> Mismatch {
        let exchange = recorded.and_then(|at| self.record.exchanges.get(at));
        Mismatch {
            number: recorded.unwrap_or(self.record.exchanges.len()) + 1,
            line: exchange.map(|exchange| exchange.line),
            expected: exchange.map(|exchange| match (exchange.setup, &exchange.message) {
                (setup, Message::Out(data, _)) => describe(setup, false, data),
                (setup, Message::In(_)) => describe(setup, true, &[]),
            }),
            found,
        }
    }

    /// How many messages of the interrupt pipe are before an exchange in the record.
    fn interrupts_before(&self, exchange: usize) -> usize {
        let interrupts = &self.record.interrupts;
        interrupts.partition_point(|interrupt| interrupt.after <= exchange)
    }

    /// The exchange that this one of the host is; `None` if none was recorded that it could be.
    fn find(&mut self, sent: Sent<'_>) -> Option<usize> {
        let is_free = match sent {
            Sent::Bulk(message) => matches!(message.first(), Some(&(GET_SLOT_STATUS | ICC_POWER_OFF))),
            Sent::Out(..) => false,
            Sent::In(setup) => LISTS.contains(&setup.request),
        };
        let mut skipped = Vec::new();
        let mut found = None;
        for (at, exchange) in self.ahead() {
            if self.is_done[at] || !exchange.is_of(sent) {
                continue;
            }
            let interrupts = self.interrupts_before(at);
            if is_free && interrupts > self.interrupts_given {
                // It is of a time when another card was in, or none.
                return None;
            }
            skipped.push(at);
            if exchange.is_like(sent) {
                found = Some((at, interrupts));
                break;
            }
            if !exchange.is_free() || matches!(sent, Sent::Bulk([GET_SLOT_STATUS, ..])) {
                break;
            }
        }
        let (at, interrupts) = found?;
        self.take(skipped, interrupts);
        Some(at)
    }

    /// Notes that these exchanges were played or left out, and how many messages of the interrupt pipe come
    /// before the last one.
    fn take(&mut self, done: Vec<usize>, interrupts: usize) {
        for at in done {
            self.is_done[at] = true;
        }
        while self.is_done.get(self.begin) == Some(&true) {
            self.begin += 1;
        }
        self.interrupts_due = self.interrupts_due.max(interrupts);
    }

    /// What comes of a message or a request that was not recorded at this place, if that may be.
    fn answer_freely(&mut self, sent: Sent<'_>) -> Option<Result<Vec<u8>, TransportError>> {
        match sent {
            Sent::Bulk(message @ [kind @ (GET_SLOT_STATUS | ICC_POWER_OFF), ..])
                if message.len() == HEADER_SIZE =>
            {
                let icc = &mut self.icc[usize::from(message[SLOT])];
                if *kind == ICC_POWER_OFF {
                    *icc = (*icc).max(INACTIVE);
                }
                Some(Ok(vec![
                    SLOT_STATUS,
                    0,
                    0,
                    0,
                    0,
                    message[SLOT],
                    message[SEQ],
                    *icc,
                    0,
                    0,
                ]))
            }
            Sent::In(setup) if LISTS.contains(&setup.request) => {
                let known = self
                    .record
                    .exchanges
                    .iter()
                    .find(|exchange| exchange.is_like(sent))?;
                match &known.message {
                    Message::In(result) => Some(result.clone()),
                    Message::Out(..) => None,
                }
            }
            _ => None,
        }
    }

    /// Plays what was recorded of a message or a request, and gives its outcome.
    pub fn play(&mut self, sent: Sent<'_>, shown: &[Option<u8>]) -> Result<Vec<u8>, TransportError> {
        if let Some(at) = self.find(sent) {
            self.last_at = Instant::now();
            let exchange = &self.record.exchanges[at];
            if let Sent::Bulk(message) = sent {
                let recorded = match &exchange.message {
                    Message::Out(recorded, _) => recorded.get(SEQ).copied().flatten(),
                    Message::In(_) => None,
                };
                let seqs = message.get(SEQ).zip(recorded);
                self.shift = seqs.map_or(0, |(sent, recorded)| sent.wrapping_sub(recorded));
                self.answers = exchange.answers.iter().cloned().collect();
                self.current = Some(at);
                self.rest = 0;
            }
            return match &exchange.message {
                Message::Out(_, result) => result.map(|()| Vec::new()),
                Message::In(result) => result.clone(),
            };
        }
        if let Some(answer) = self.answer_freely(sent) {
            if !matches!(sent, Sent::Bulk(_)) {
                return answer;
            }
            self.answers = VecDeque::from([(Duration::ZERO, RecordedAnswer::In(answer))]);
            (self.current, self.shift, self.rest) = (None, 0, 0);
            return Ok(Vec::new());
        }
        let is_next = |(at, exchange): &(usize, &RecordedExchange)| {
            !self.is_done[*at] && exchange.is_of(sent) && !exchange.is_free()
        };
        let next = self.ahead().find(is_next).map(|(at, _)| at);
        self.mismatch = Some(self.mismatch(next, Some(sent.text(shown))));
        Err(TransportError::Fault)
    }

    /// The next answer on the bulk IN pipe, or the end of a halt.
    pub fn next_answer(&mut self, what: &str) -> Result<RecordedAnswer, TransportError> {
        match self.answers.pop_front() {
            Some((delay, answer)) => {
                self.now += delay;
                self.last_at = Instant::now();
                Ok(answer)
            }
            None => {
                self.mismatch =
                    Some(self.mismatch(self.current, Some(format!("{what} after its last answer"))));
                Err(TransportError::Fault)
            }
        }
    }

    pub fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        let before = self.now;
        let result = match self.next_answer("a wait for one more answer")? {
            RecordedAnswer::In(result) => result,
            RecordedAnswer::ClearHalt(_) => {
                self.mismatch = Some(self.mismatch(self.current, Some("no end of the halt".to_owned())));
                return Err(TransportError::Fault);
            }
        };
        let mut transfer = match result {
            Ok(transfer) => transfer,
            Err(error) => {
                if error == TransportError::Timeout {
                    self.now = self.now.max(before.saturating_add(timeout));
                }
                return Err(error);
            }
        };
        self.follow(&mut transfer);
        let length = transfer.len().min(buffer.len());
        let more = transfer.split_off(length);
        buffer[..length].copy_from_slice(&transfer);
        if !more.is_empty() {
            // The driver has a shorter buffer than it had then.
            self.answers
                .push_front((Duration::ZERO, RecordedAnswer::In(Ok(more))));
        }
        Ok(length)
    }

    /// Adapts `bSeq` where a message begins, and notes what it says of the card.
    fn follow(&mut self, transfer: &mut [u8]) {
        if self.rest > 0 {
            self.rest = self.rest.saturating_sub(transfer.len());
            return;
        }
        let length = transfer.len();
        if let [_, l0, l1, l2, l3, slot, seq, status, ..] = transfer {
            *seq = seq.wrapping_add(self.shift);
            self.icc[usize::from(*slot)] = *status & 3;
            let announced = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
            self.rest = announced.saturating_add(HEADER_SIZE).saturating_sub(length);
        }
    }

    /// When the next message of the interrupt pipe is due: at once, at a time, or once more was played.
    pub fn interrupt_due(&self) -> Option<Instant> {
        let interrupt = self.record.interrupts.get(self.interrupts_given)?;
        if self.interrupts_given < self.interrupts_due {
            return Some(self.last_at);
        }
        let is_left = |left: usize| left < interrupt.after;
        match self.first_left().is_some_and(is_left) || self.mismatch.is_some() {
            true => None,
            false => Some(self.last_at + interrupt.delay.min(LONGEST_DELAY)),
        }
    }

    pub fn give_interrupt(&mut self) -> Result<Vec<u8>, TransportError> {
        let result = self.record.interrupts[self.interrupts_given].result.clone();
        self.interrupts_given += 1;
        self.last_at = Instant::now();
        if let Some(notification) = result.as_deref().ok().and_then(Notification::decode) {
            for slot in 0..=u8::MAX {
                let icc = &mut self.icc[usize::from(slot)];
                match notification.slot(slot) {
                    Some((false, _)) => *icc = ABSENT,
                    Some((true, _)) if *icc == ABSENT => *icc = INACTIVE,
                    _ => (),
                }
            }
        }
        self.is_gone |= result == Err(TransportError::Gone);
        result
    }
}
