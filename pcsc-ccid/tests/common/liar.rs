//! A transport that changes replies.

use std::time::Duration;

use pcsc_ccid::transport::{Transport, TransportError};
use pcsc_sim::SimTransport;

/// Changes replies: what it is given is the command and the reply to it.
pub struct Liar<F> {
    inner: SimTransport,
    lie: F,
    command: Vec<u8>,
    refused: Option<u8>,
}

impl<F> Liar<F>
where
    F: FnMut(&[u8], Vec<u8>) -> Result<Vec<u8>, TransportError> + Send,
{
    pub fn new(inner: SimTransport, lie: F) -> Liar<F> {
        Liar {
            inner,
            lie,
            command: Vec::new(),
            refused: None,
        }
    }

    /// The device does not take commands of this type (NAK) until the timeout.
    pub fn refusing(mut self, kind: u8) -> Self {
        self.refused = Some(kind);
        self
    }
}

impl<F> Transport for Liar<F>
where
    F: FnMut(&[u8], Vec<u8>) -> Result<Vec<u8>, TransportError> + Send,
{
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        if self.refused.is_some() && self.refused == message.first().copied() {
            self.inner.pause(timeout)?;
            return Err(TransportError::Timeout);
        }
        self.command = message.to_vec();
        self.inner.send(message, timeout)
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        let length = self.inner.receive(buffer, timeout)?;
        let reply = match (self.lie)(&self.command, buffer[..length].to_vec()) {
            Err(TransportError::Timeout) => {
                self.inner.pause(timeout)?;
                return Err(TransportError::Timeout);
            }
            result => result?,
        };
        let length = reply.len().min(buffer.len());
        buffer[..length].copy_from_slice(&reply[..length]);
        Ok(length)
    }

    fn control_out(
        &mut self,
        request: u8,
        value: u16,
        data: &[u8],
        timeout: Duration,
    ) -> Result<(), TransportError> {
        self.inner.control_out(request, value, data, timeout)
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        self.inner.control_in(request, value, buffer, timeout)
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        self.inner.clear_halt()
    }

    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        self.inner.pause(time)
    }

    fn now(&self) -> Duration {
        self.inner.now()
    }
}
