//! A transport that gives what a test has written down, byte by byte.

use std::collections::VecDeque;
use std::time::Duration;

use pcsc_ccid::descriptor::Interface;
use pcsc_ccid::reader::{DeviceInfo, Reader, ReaderOptions};
use pcsc_ccid::transport::{copy, Transport, TransportError};

/// What comes of one call to receive.
pub enum In {
    /// A transfer. In its byte 6, the sequence number, FF stands for that of the last command.
    Bytes(Vec<u8>),
    Nothing(TransportError),
}

/// What a reader answers to a command.
pub type Answer = fn(&[u8]) -> Vec<u8>;

/// Returns the scripted answers, and records what it is sent.
#[derive(Default)]
pub struct Script {
    pub incoming: VecDeque<In>,
    /// What it answers to a command when `incoming` is empty.
    pub answer: Option<Answer>,
    pub outgoing: Vec<Vec<u8>>,
    pub requests: Vec<(u8, u16)>,
    /// Answers to control IN requests; all later ones stall.
    pub controls: VecDeque<Result<Vec<u8>, TransportError>>,
    /// The data of each control OUT request.
    pub control_data: Vec<Vec<u8>>,
    pub halts_cleared: u32,
    pub now: Duration,
}

impl Script {
    /// These transfers come.
    pub fn answering(incoming: impl IntoIterator<Item = Vec<u8>>) -> Script {
        Script {
            incoming: incoming.into_iter().map(In::Bytes).collect(),
            ..Script::default()
        }
    }

    /// A reader with this interface, which answers so.
    pub fn open(self, interface: &Interface) -> Reader<Script> {
        Reader::open(self, DeviceInfo::default(), interface, ReaderOptions::default()).unwrap()
    }

    pub fn last_seq(&self) -> u8 {
        self.outgoing.last().map_or(0, |message| message[6])
    }
}

impl Transport for Script {
    fn send(&mut self, message: &[u8], _timeout: Duration) -> Result<(), TransportError> {
        self.outgoing.push(message.to_vec());
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        let seq = self.last_seq();
        let answer = || Some(In::Bytes(self.answer?(self.outgoing.last()?)));
        match self.incoming.pop_front().or_else(answer) {
            Some(In::Bytes(mut bytes)) => {
                if bytes.get(6) == Some(&0xFF) {
                    bytes[6] = seq;
                }
                Ok(copy(&bytes, buffer))
            }
            Some(In::Nothing(TransportError::Timeout)) | None => {
                self.now += timeout;
                Err(TransportError::Timeout)
            }
            Some(In::Nothing(error)) => Err(error),
        }
    }

    fn control_out(
        &mut self,
        request: u8,
        value: u16,
        data: &[u8],
        _: Duration,
    ) -> Result<(), TransportError> {
        self.requests.push((request, value));
        self.control_data.push(data.to_vec());
        Ok(())
    }

    fn control_in(
        &mut self,
        request: u8,
        _: u16,
        buffer: &mut [u8],
        _: Duration,
    ) -> Result<usize, TransportError> {
        self.requests.push((request, 0));
        let bytes = self.controls.pop_front().unwrap_or(Err(TransportError::Stall))?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        self.halts_cleared += 1;
        Ok(())
    }

    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        self.now += time;
        Ok(())
    }

    fn now(&self) -> Duration {
        self.now
    }
}
