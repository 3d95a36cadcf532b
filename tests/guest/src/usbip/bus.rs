//! The state of an attached device: takes requests, gives replies. No I/O.

use super::protocol::{self, Request, Status, Submit};
use super::{Stall, UsbFunction};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// The capacity of the log. The oldest entries are dropped first.
const LOG: usize = 100_000;

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With the data as given.
    Done,
    /// The device refused it, or its endpoint was halted.
    Stalled,
    /// The device had more data than the host asked for (babble).
    Overflow,
    /// The host cancelled it.
    Unlinked,
}

/// A transfer that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// When it ended, counted from the device's plugging in.
    pub at: Duration,
    /// The endpoint's address; bit 7 is the direction, for control transfers too.
    pub endpoint: u8,
    /// The request, for control transfers.
    pub setup: Option<[u8; 8]>,
    /// The data.
    pub data: Vec<u8>,
    /// How it ended.
    pub outcome: Outcome,
}

/// An IN transfer that waits for the device.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    sequence: u32,
    endpoint: u8,
    max: usize,
}

/// A device, its halted endpoints and its pending transfers.
#[derive(Debug)]
pub(super) struct Bus<F> {
    pub(super) function: F,
    /// Addresses of the endpoints, and whether each is an interrupt endpoint.
    interrupts: BTreeMap<u8, bool>,
    waiting: VecDeque<Waiting>,
    halted: BTreeSet<u8>,
    configuration: u8,
    alternates: BTreeMap<u8, u8>,
    counts: BTreeMap<u8, u64>,
    log: VecDeque<Transfer>,
    plugged: Instant,
}

impl<F: UsbFunction> Bus<F> {
    pub(super) fn new(function: F) -> Self {
        Self {
            interrupts: endpoints(&function.configuration()),
            function,
            waiting: VecDeque::new(),
            halted: BTreeSet::new(),
            configuration: 0,
            alternates: BTreeMap::new(),
            counts: BTreeMap::new(),
            log: VecDeque::new(),
            plugged: Instant::now(),
        }
    }

    /// Whether the host has selected the configuration.
    pub(super) fn configured(&self) -> bool {
        self.configuration != 0
    }

    /// When pending transfers are to be offered to the device again, if there are any.
    pub(super) fn ready_in(&self) -> Option<Duration> {
        let waits = |waiting: &Waiting| self.interrupts.get(&waiting.endpoint) == Some(&false);
        self.waiting.iter().any(waits).then(|| self.function.ready_in())?
    }

    pub(super) fn count(&self, endpoint: u8) -> u64 {
        self.counts.get(&endpoint).copied().unwrap_or(0)
    }

    pub(super) fn log(&self) -> Vec<Transfer> {
        self.log.iter().cloned().collect()
    }

    pub(super) fn take_log(&mut self) -> Vec<Transfer> {
        std::mem::take(&mut self.log).into()
    }

    /// Handles a request and the data that followed it.
    pub(super) fn request(&mut self, request: &Request, data: &[u8], reply: &mut Vec<u8>) {
        match request {
            Request::Submit(submit) if submit.endpoint & 0x0F == 0 => {
                let result = self.control(submit.setup, data);
                let mut sent = result.as_deref().unwrap_or_default();
                sent = sent.get(..submit.length).unwrap_or(sent);
                let status = if result.is_ok() {
                    Status::Done
                } else {
                    Status::Stalled
                };
                let (moved, sent) = if submit.endpoint & 0x80 == 0 {
                    (data, &[][..])
                } else {
                    (sent, sent)
                };
                self.end(submit.endpoint, Some(submit.setup), moved, outcome(status));
                protocol::submitted(submit.sequence, status, moved.len(), sent, reply);
            }
            Request::Submit(submit) if submit.endpoint & 0x80 == 0 => self.out(submit, data, reply),
            Request::Submit(submit) => self.waiting.push_back(Waiting {
                sequence: submit.sequence,
                endpoint: submit.endpoint,
                max: submit.length,
            }),
            Request::Unlink { sequence, victim } => {
                let found = self
                    .waiting
                    .iter()
                    .position(|waiting| waiting.sequence == *victim);
                let found = found.and_then(|index| self.waiting.remove(index));
                if let Some(waiting) = found {
                    self.end(waiting.endpoint, None, &[], Outcome::Unlinked);
                }
                protocol::unlinked(*sequence, found.is_some(), reply);
            }
        }
        self.progress(reply);
    }

    /// Offers every pending transfer to the device again, in order on each endpoint.
    pub(super) fn progress(&mut self, reply: &mut Vec<u8>) {
        let mut busy = BTreeSet::new();
        let mut index = 0;
        while let Some(&waiting) = self.waiting.get(index) {
            let answer = if busy.contains(&waiting.endpoint) {
                None
            } else {
                self.offer(waiting)
            };
            let Some(result) = answer else {
                busy.insert(waiting.endpoint);
                index += 1;
                continue;
            };
            self.waiting.remove(index);
            let (status, data) = match result {
                Ok(data) if data.len() > waiting.max => (Status::Overflow, Vec::new()),
                Ok(data) => (Status::Done, data),
                Err(Stall) => (Status::Stalled, Vec::new()),
            };
            if status == Status::Stalled {
                self.halted.insert(waiting.endpoint);
            }
            self.end(waiting.endpoint, None, &data, outcome(status));
            protocol::submitted(waiting.sequence, status, data.len(), &data, reply);
        }
    }

    fn offer(&mut self, waiting: Waiting) -> Option<Result<Vec<u8>, Stall>> {
        if self.halted.contains(&waiting.endpoint) {
            return Some(Err(Stall));
        }
        match self.interrupts.get(&waiting.endpoint) {
            Some(true) => self.function.interrupt_in(waiting.endpoint).map(Ok),
            Some(false) => self.function.bulk_in(waiting.endpoint, waiting.max),
            None => Some(Err(Stall)),
        }
    }

    fn out(&mut self, submit: &Submit, data: &[u8], reply: &mut Vec<u8>) {
        let known = self.interrupts.contains_key(&submit.endpoint) && !self.halted.contains(&submit.endpoint);
        let result = if known {
            self.function.bulk_out(submit.endpoint, data)
        } else {
            Err(Stall)
        };
        let (status, moved) = match result {
            Ok(()) => (Status::Done, data),
            Err(Stall) => (Status::Stalled, &[][..]),
        };
        if status == Status::Stalled {
            self.halted.insert(submit.endpoint);
        }
        self.end(submit.endpoint, None, data, outcome(status));
        protocol::submitted(submit.sequence, status, moved.len(), &[], reply);
    }

    fn end(&mut self, endpoint: u8, setup: Option<[u8; 8]>, data: &[u8], outcome: Outcome) {
        *self.counts.entry(endpoint).or_default() += 1;
        if self.log.len() >= LOG {
            self.log.pop_front();
        }
        self.log.push_back(Transfer {
            at: self.plugged.elapsed(),
            endpoint,
            setup,
            data: data.to_vec(),
            outcome,
        });
    }

    /// A request on the control endpoint: a standard one (USB 2.0, clause 9.4) or the function's own.
    fn control(&mut self, setup: [u8; 8], data: &[u8]) -> Result<Vec<u8>, Stall> {
        let [kind, request, value, value_high, index, ..] = setup;
        match (kind, request) {
            // GET_STATUS: bus powered; for an endpoint, whether it is halted.
            (0x80 | 0x81, 0) => Ok(vec![0, 0]),
            (0x82, 0) => Ok(vec![u8::from(self.halted.contains(&index)), 0]),
            // CLEAR_FEATURE and SET_FEATURE: only ENDPOINT_HALT is supported.
            (0x02, 1) if value == 0 => {
                self.halted.remove(&index);
                self.function.halt_cleared(index);
                Ok(Vec::new())
            }
            (0x02, 3) if value == 0 => {
                self.halted.insert(index);
                Ok(Vec::new())
            }
            (0x00, 1 | 3) => Ok(Vec::new()),
            (0x80, 6) => self.descriptor(value_high, value),
            (0x80, 8) => Ok(vec![self.configuration]),
            (0x00, 9) => {
                self.configuration = value;
                self.halted.clear();
                self.alternates.clear();
                self.function.configured(value);
                Ok(Vec::new())
            }
            (0x81, 10) => Ok(vec![self.alternates.get(&index).copied().unwrap_or(0)]),
            (0x01, 11) => {
                self.alternates.insert(index, value);
                self.halted.clear();
                self.function.interface_set(index, value);
                Ok(Vec::new())
            }
            // Any other standard request; bits 5 and 6 are the kind.
            (kind, _) if kind & 0x60 == 0 => Err(Stall),
            _ => self.function.control(setup, data),
        }
    }

    fn descriptor(&self, kind: u8, index: u8) -> Result<Vec<u8>, Stall> {
        match (kind, index) {
            (1, _) => Ok(self.function.device_descriptor().to_vec()),
            (2, 0) => Ok(self.function.configuration()),
            // The languages: English, United States.
            (3, 0) => Ok(vec![4, 3, 0x09, 0x04]),
            (3, index) => {
                let text = self.function.string(index).ok_or(Stall)?;
                let mut bytes = vec![0, 3];
                // The length is a byte, and even.
                bytes.extend(text.encode_utf16().take(126).flat_map(u16::to_le_bytes));
                let length = u8::try_from(bytes.len()).map_err(|_| Stall)?;
                if let Some(first) = bytes.first_mut() {
                    *first = length;
                }
                Ok(bytes)
            }
            _ => Err(Stall),
        }
    }
}

fn outcome(status: Status) -> Outcome {
    match status {
        Status::Done => Outcome::Done,
        Status::Stalled => Outcome::Stalled,
        Status::Overflow => Outcome::Overflow,
    }
}

/// The endpoints of every interface and alternate setting, and whether each is an interrupt endpoint.
fn endpoints(configuration: &[u8]) -> BTreeMap<u8, bool> {
    let mut found = BTreeMap::new();
    let mut rest = configuration;
    while let [length, kind, ..] = *rest {
        let (Some(descriptor), Some(after)) = (rest.get(..length.into()), rest.get(length.max(2).into()..))
        else {
            break;
        };
        if let (5, [_, _, address, attributes, ..]) = (kind, descriptor) {
            found.insert(*address, attributes & 3 == 3);
        }
        rest = after;
    }
    found
}
