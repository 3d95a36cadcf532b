//! A reader as the entry points use it. It has one slot.

#![forbid(unsafe_code)]

use crate::abi::{self, Dword, IoHeader, ResponseCode};
use crate::reader::{self, Reader};
use std::time::Duration;

/// Longer than any test: see [`Channel::wait`].
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// An open reader.
pub struct Channel {
    number: usize,
    reader: &'static Reader,
}

impl Channel {
    /// Opens reader `number`.
    pub fn open(number: usize) -> Result<Channel, ResponseCode> {
        let reader = reader::reader(number).ok_or(abi::NO_SUCH_DEVICE)?;
        check(reader.open())?;
        Ok(Channel { number, reader })
    }

    pub fn slots(&self) -> u8 {
        1
    }

    pub fn close_slot(&self, _slot: u8) {
        self.reader.close();
    }

    pub fn has_waits(&self) -> bool {
        true
    }

    /// Ends when something has happened, and not after pcscd's time: that is the time after which an unused
    /// card loses its power, and a test on a busy machine may take longer from an insertion to the
    /// connection.
    pub fn wait(&self, _slot: u8, _timeout: Duration) {
        self.reader.poll(FOR_EVER);
    }

    pub fn interrupt(&self, _slot: u8) {
        self.reader.interrupt();
    }

    pub fn presence(&self, _slot: u8) -> ResponseCode {
        self.reader.presence()
    }

    pub fn power(&self, _slot: u8, action: Dword, atr: &mut [u8]) -> Result<usize, ResponseCode> {
        deliver(&self.reader.power(action)?, atr)
    }

    pub fn set_protocol(&self, _slot: u8, protocol: Dword) -> Result<(), ResponseCode> {
        check(self.reader.set_protocol(protocol))
    }

    pub fn transmit(
        &self,
        _slot: u8,
        _protocol: Dword,
        command: &[u8],
        response: &mut [u8],
    ) -> Result<usize, ResponseCode> {
        deliver(&self.reader.transmit(command)?, response)
    }

    /// libccid leaves the header alone. It is written here so that a client shows where it reads it.
    pub fn header(&self, send: IoHeader) -> Option<IoHeader> {
        Some(send)
    }

    pub fn control(
        &self,
        _slot: u8,
        code: Dword,
        data: &[u8],
        answer: &mut [u8],
    ) -> Result<usize, ResponseCode> {
        deliver(&self.reader.control(code, data)?, answer)
    }

    pub fn attribute(&self, _slot: u8, tag: Dword) -> Result<Vec<u8>, ResponseCode> {
        self.reader.attribute(self.number, tag).ok_or(abi::ERROR_TAG)
    }

    pub fn set_attribute(&self, tag: Dword, value: &[u8]) -> Result<(), ResponseCode> {
        check(self.reader.set_attribute(self.number, tag, value))
    }
}

fn check(code: ResponseCode) -> Result<(), ResponseCode> {
    match code {
        abi::SUCCESS => Ok(()),
        code => Err(code),
    }
}

/// Puts an answer into the room for it. Returns its length.
fn deliver(answer: &[u8], room: &mut [u8]) -> Result<usize, ResponseCode> {
    let room = room
        .get_mut(..answer.len())
        .ok_or(abi::ERROR_INSUFFICIENT_BUFFER)?;
    room.copy_from_slice(answer);
    Ok(answer.len())
}
