//! The applet that the "hello" example of every PC/SC binding talks to.

use super::{status, App};
use pcsc_ccid::apdu::Command;

/// SELECT A0 00 00 00 62 03 01 0C 06 01, then 00 00 00 00 answers "Hello world!".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hello {
    selected: bool,
}

impl Hello {
    /// The applet's identifier.
    pub const AID: [u8; 10] = [0xA0, 0x00, 0x00, 0x00, 0x62, 0x03, 0x01, 0x0C, 0x06, 0x01];
    /// What it says.
    pub const TEXT: &'static [u8; 12] = b"Hello world!";
}

impl App for Hello {
    fn reset(&mut self) {
        self.selected = false;
    }

    fn process(&mut self, command: &Command<'_>, response: &mut Vec<u8>) {
        match command.header {
            [0x00, 0xA4, 0x04, _] => {
                self.selected = command.data == Self::AID;
                status(response, if self.selected { 0x9000 } else { 0x6A82 });
            }
            [0x00, 0xA4, ..] => {
                self.selected = false;
                status(response, 0x6A82);
            }
            [0x00, 0x00, 0x00, 0x00] if self.selected => {
                response.extend_from_slice(Self::TEXT);
                status(response, 0x9000);
            }
            _ => status(response, 0x6D00),
        }
    }
}
