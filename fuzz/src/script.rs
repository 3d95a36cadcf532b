//! A transport whose device does what an input says. Its replies are as right as the input wants them: a
//! fuzzer that had to guess sequence numbers and check bytes would never see what comes after.

use std::collections::VecDeque;
use std::time::Duration;

use pcsc_ccid::transport::{Transport, TransportError};

use crate::Input;

/// No call of the driver may make more transfers.
pub const MAX_TRANSFERS: u32 = 1_000_000;
/// Nor may it make more than this many after the device is gone.
const MAX_AFTER_GONE: u32 = 8;

/// What comes once the input is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing.
    Silence,
    /// The last reply, for ever.
    Last,
    /// All replies from the first one on, until the device goes.
    Again,
    /// The device goes.
    Gone,
}

/// The number of transfers after which the device of an endless script is unplugged.
const PATIENCE: u32 = 20_000;

/// The device.
pub struct Script {
    replies: Vec<u8>,
    at: usize,
    last: usize,
    end: End,
    /// Which transfer from now fails, and how; 0 for none.
    fault: (u8, u8),
    /// The last message or control data from the host.
    heard: Vec<u8>,
    pending: VecDeque<Vec<u8>>,
    now: Duration,
    is_gone: bool,
    after_gone: u32,
    total: u32,
    transfers: u32,
    /// How many calls go on at a time, at the most.
    calls: u32,
    /// What each transfer takes.
    transfer_time: Duration,
}

impl Script {
    pub fn new(replies: &[u8], end: End, fault: (u8, u8)) -> Script {
        Script {
            replies: replies.to_vec(),
            at: 0,
            last: 0,
            end,
            fault,
            heard: Vec::new(),
            pending: VecDeque::new(),
            now: Duration::ZERO,
            is_gone: false,
            after_gone: 0,
            total: 0,
            transfers: 0,
            calls: 1,
            transfer_time: Duration::ZERO,
        }
    }

    /// A device that several threads use, each of which makes one call at a time. Its transfers take a frame
    /// of the bus: what arrives for other slots ends no wait for an answer, and without an end it is the time
    /// that ends the wait.
    pub fn shared_by(mut self, calls: u32) -> Script {
        self.calls = calls;
        self.transfer_time = Duration::from_millis(1);
        self
    }

    /// The driver is called once more.
    pub fn begin_call(&mut self) {
        self.transfers = 0;
        self.after_gone = 0;
    }

    /// Transfers of the call that goes on.
    pub fn transfers(&self) -> u32 {
        self.transfers
    }

    fn transfer(&mut self) -> Result<(), TransportError> {
        self.total += 1;
        self.transfers += 1;
        self.now += self.transfer_time;
        assert!(
            self.transfers <= MAX_TRANSFERS * self.calls,
            "the call does not end"
        );
        if self.end == End::Again && self.total > PATIENCE {
            self.is_gone = true;
        }
        if self.is_gone {
            self.after_gone += 1;
            assert!(
                self.after_gone <= MAX_AFTER_GONE * self.calls,
                "the call goes on without a device"
            );
            return Err(TransportError::Gone);
        }
        if self.fault.0 > 0 {
            self.fault.0 -= 1;
            if self.fault.0 == 0 {
                return Err(self.error(self.fault.1));
            }
        }
        Ok(())
    }

    fn error(&mut self, kind: u8) -> TransportError {
        match kind % 5 {
            0 => TransportError::Timeout,
            1 => TransportError::Cancelled,
            2 => TransportError::Stall,
            3 => TransportError::Fault,
            _ => {
                self.is_gone = true;
                TransportError::Gone
            }
        }
    }

    /// The next reply: transfers to the host.
    fn reply(&mut self, timeout: Duration, is_bulk: bool) -> Result<(), TransportError> {
        if self.at >= self.replies.len() {
            match self.end {
                _ if self.replies.is_empty() => return self.silence(timeout),
                End::Silence => return self.silence(timeout),
                End::Last => self.at = self.last,
                End::Again => self.at = 0,
                End::Gone => return Err(self.error(4)),
            }
        }
        self.last = self.at;
        let replies = std::mem::take(&mut self.replies);
        let mut input = Input(&replies[self.at..]);
        let head = input.byte();
        // The device may take nearly as long as the host waits.
        self.now += timeout / 16 * u32::from(head >> 4);
        let echo = |heard: &[u8]| heard.get(if is_bulk { 10 } else { 0 }..).unwrap_or(&[]).to_vec();
        let mut failure = None;
        let mut cut = None;
        let transfer = match head & 0x07 {
            0 => self.answer(is_bulk, [0; 3], input.piece()),
            1 => {
                let status = [input.byte(), input.byte(), input.byte()];
                self.answer(is_bulk, status, input.piece())
            }
            2 => {
                let block = input.piece();
                let check = block.iter().fold(0, |sum, byte| sum ^ byte);
                self.answer(is_bulk, [0; 3], &[block, &[check]].concat())
            }
            3 => {
                let data = echo(&self.heard);
                self.answer(is_bulk, [0; 3], &data)
            }
            4 => input.piece().to_vec(),
            5 => {
                failure = Some(input.byte());
                Vec::new()
            }
            6 => {
                cut = Some(usize::from(input.byte()));
                self.answer(is_bulk, [0; 3], input.piece())
            }
            _ => Vec::new(),
        };
        self.at = replies.len() - input.0.len();
        self.replies = replies;
        if let Some(kind) = failure {
            if kind % 5 == 0 {
                return self.silence(timeout);
            }
            return Err(self.error(kind));
        }
        let mut transfer = transfer;
        if head & 0x08 != 0 && is_bulk {
            // One that is late: of the command before.
            let mut both = self.answer(is_bulk, [0; 3], &[0x90, 0x00]);
            both[6] = both[6].wrapping_sub(1);
            both.append(&mut transfer);
            transfer = both;
        }
        match cut.filter(|&cut| cut < transfer.len()) {
            Some(cut) => {
                let rest = transfer.split_off(cut);
                self.pending.extend([transfer, rest]);
            }
            None => self.pending.push_back(transfer),
        }
        Ok(())
    }

    fn silence(&mut self, timeout: Duration) -> Result<(), TransportError> {
        self.now += timeout;
        Err(TransportError::Timeout)
    }

    /// The message of the right type, slot and sequence number.
    fn answer(&self, is_bulk: bool, status: [u8; 3], data: &[u8]) -> Vec<u8> {
        if !is_bulk {
            return data.to_vec();
        }
        let of = |at: usize| self.heard.get(at).copied().unwrap_or(0);
        let kind = match of(0) {
            0x62 | 0x69 | 0x6F => 0x80,
            0x61 | 0x6C | 0x6D => 0x82,
            0x6B => 0x83,
            0x73 => 0x84,
            _ => 0x81,
        };
        let mut message = vec![kind];
        message.extend((data.len() as u32).to_le_bytes());
        message.extend([of(5), of(6)]);
        message.extend(status);
        message.extend(data);
        message
    }

    fn deliver(
        &mut self,
        buffer: &mut [u8],
        timeout: Duration,
        is_bulk: bool,
    ) -> Result<usize, TransportError> {
        self.transfer()?;
        if self.pending.is_empty() {
            self.reply(timeout, is_bulk)?;
        }
        let transfer = self.pending.pop_front().unwrap_or_default();
        let length = transfer.len().min(buffer.len());
        buffer[..length].copy_from_slice(&transfer[..length]);
        if is_bulk && length < transfer.len() {
            self.pending.push_front(transfer[length..].to_vec());
        }
        Ok(length)
    }
}

impl Transport for Script {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        assert!(message.len() >= 10 && timeout > Duration::ZERO);
        self.transfer()?;
        self.heard.clear();
        self.heard.extend_from_slice(message);
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        assert!(!buffer.is_empty() && timeout > Duration::ZERO);
        self.deliver(buffer, timeout, true)
    }

    fn control_out(&mut self, _: u8, _: u16, data: &[u8], _: Duration) -> Result<(), TransportError> {
        self.transfer()?;
        self.heard.clear();
        self.heard.extend_from_slice(data);
        Ok(())
    }

    fn control_in(
        &mut self,
        _: u8,
        _: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        self.deliver(buffer, timeout, false)
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        self.transfer()?;
        self.pending.clear();
        Ok(())
    }

    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        self.now += time;
        if self.is_gone {
            return Err(TransportError::Gone);
        }
        Ok(())
    }

    fn now(&self) -> Duration {
        self.now
    }
}
