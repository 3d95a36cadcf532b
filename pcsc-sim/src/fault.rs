//! A transport that damages what comes from the device, by a script drawn from a seed.

use std::collections::VecDeque;
use std::time::Duration;

use pcsc_ccid::transport::{copy, Transport, TransportError};

use crate::random::Random;

/// What happens to one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Its end is missing.
    Short,
    /// Bytes follow it that belong to nothing.
    Long,
    /// It comes only when the host has given up on it.
    Late,
    /// It comes twice.
    Duplicated,
    /// It comes after the reply that follows it.
    Reordered,
    /// It never comes.
    Lost,
    /// One byte is another.
    Corrupted,
    /// All bytes but the first, which is the message's type, are others, and their number is.
    Garbage,
    /// The pipe halts; the reply comes after the halt is cleared.
    Stalled,
    /// The command before it never reaches the device.
    Unheard,
}

/// A decorator that damages replies.
pub struct FaultTransport<T> {
    inner: T,
    random: Random,
    per_mille: u16,
    left: u32,
    kinds: &'static [Fault],
    struck: Vec<Fault>,
    /// Replies that the host gets next, before any from the device.
    due: VecDeque<Vec<u8>>,
    /// A reply that is delivered after the next one.
    held: Option<Vec<u8>>,
    halted: bool,
}

impl<T: Transport> FaultTransport<T> {
    /// Every kind that a driver notices: [`Fault::Garbage`] can be another right reply.
    pub const ALL: &'static [Fault] = &[
        Fault::Short,
        Fault::Long,
        Fault::Late,
        Fault::Duplicated,
        Fault::Reordered,
        Fault::Lost,
        Fault::Corrupted,
        Fault::Stalled,
        Fault::Unheard,
    ];

    /// Damages `per_mille` of the replies, `limit` at most in all.
    pub fn new(inner: T, seed: u64, per_mille: u16, limit: u32, kinds: &'static [Fault]) -> Self {
        FaultTransport {
            inner,
            random: Random::new(seed),
            per_mille,
            left: limit,
            kinds,
            struck: Vec::new(),
            due: VecDeque::new(),
            held: None,
            halted: false,
        }
    }

    /// What has happened so far.
    pub fn struck(&self) -> &[Fault] {
        &self.struck
    }

    /// The transport beneath.
    pub fn inner(&mut self) -> &mut T {
        &mut self.inner
    }

    /// How many more there may be.
    pub fn set_limit(&mut self, limit: u32) {
        self.left = limit;
    }

    fn draw(&mut self, is_send: bool) -> Option<Fault> {
        if self.left == 0 || self.kinds.is_empty() || self.random.below(1000) >= usize::from(self.per_mille) {
            return None;
        }
        let at = self.random.below(self.kinds.len());
        let fault = self.kinds[at];
        if is_send != (fault == Fault::Unheard) {
            return None;
        }
        self.left -= 1;
        self.struck.push(fault);
        Some(fault)
    }

    /// Changes a reply as the fault does. The host has room for `longest` bytes.
    fn damage(&mut self, fault: Fault, reply: &mut Vec<u8>, longest: usize) {
        match fault {
            Fault::Short => {
                let keep = self.random.below(reply.len());
                reply.truncate(keep);
            }
            Fault::Long => {
                let more = 1 + self.random.below(70);
                reply.extend((0..more).map(|_| self.random.below(256) as u8));
            }
            Fault::Corrupted => {
                let at = self.random.below(reply.len());
                let mask = 1 + self.random.below(255) as u8;
                if let Some(byte) = reply.get_mut(at) {
                    *byte ^= mask;
                }
            }
            Fault::Garbage => {
                reply.resize(self.random.below(longest + 1), 0);
                for byte in reply.iter_mut().skip(1) {
                    *byte = self.random.below(256) as u8;
                }
            }
            // These change when the reply comes, and not its bytes.
            Fault::Late
            | Fault::Duplicated
            | Fault::Reordered
            | Fault::Lost
            | Fault::Stalled
            | Fault::Unheard => (),
        }
    }
}

impl<T: Transport> Transport for FaultTransport<T> {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        if self.draw(true).is_some() {
            return Ok(());
        }
        self.inner.send(message, timeout)
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        if self.halted {
            return Err(TransportError::Stall);
        }
        if let Some(reply) = self.due.pop_front() {
            return Ok(copy(&reply, buffer));
        }
        let length = match self.inner.receive(buffer, timeout) {
            Ok(length) => length.min(buffer.len()),
            // What was held back comes after all.
            Err(TransportError::Timeout) => match self.held.take() {
                Some(reply) => return Ok(copy(&reply, buffer)),
                None => return Err(TransportError::Timeout),
            },
            Err(error) => return Err(error),
        };
        let mut reply = buffer[..length].to_vec();
        if let Some(held) = self.held.take() {
            self.due.push_back(held);
        }
        match self.draw(false) {
            Some(Fault::Duplicated) => self.due.push_back(reply.clone()),
            Some(fault @ (Fault::Late | Fault::Lost)) => {
                if fault == Fault::Late {
                    self.due.push_back(reply);
                }
                self.inner.pause(timeout)?;
                return Err(TransportError::Timeout);
            }
            Some(Fault::Reordered) => {
                self.held = Some(reply);
                return self.receive(buffer, timeout);
            }
            Some(Fault::Stalled) => {
                self.due.push_back(reply);
                self.halted = true;
                return Err(TransportError::Stall);
            }
            Some(fault) => self.damage(fault, &mut reply, buffer.len()),
            None => (),
        }
        Ok(copy(&reply, buffer))
    }

    fn control_out(
        &mut self,
        request: u8,
        value: u16,
        data: &[u8],
        timeout: Duration,
    ) -> Result<(), TransportError> {
        if self.draw(true).is_some() {
            return Ok(());
        }
        self.inner.control_out(request, value, data, timeout)
    }

    /// A request has one answer, at once: it cannot come twice, late or after another.
    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        let length = self.inner.control_in(request, value, buffer, timeout)?;
        let length = length.min(buffer.len());
        match self.draw(false) {
            Some(Fault::Late | Fault::Lost) => {
                self.inner.pause(timeout)?;
                Err(TransportError::Timeout)
            }
            Some(Fault::Stalled) => Err(TransportError::Stall),
            Some(fault) => {
                let mut reply = buffer[..length].to_vec();
                self.damage(fault, &mut reply, buffer.len());
                Ok(copy(&reply, buffer))
            }
            None => Ok(length),
        }
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        self.halted = false;
        self.inner.clear_halt()
    }

    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        self.inner.pause(time)
    }

    fn now(&self) -> Duration {
        self.inner.now()
    }
}
