//! A transport that changes replies.

use std::time::Duration;

use pcsc_ccid::transport::{copy, Transport, TransportError};
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
        Ok(copy(&reply, buffer))
    }

    pass_on!(inner);
}
