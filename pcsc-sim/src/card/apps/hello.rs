//! The applet that the "hello" example of every PC/SC binding talks to.

use super::{status, sw, App};
use pcsc_ccid::apdu::CommandApdu;

/// SELECT A0 00 00 00 62 03 01 0C 06 01, then 00 00 00 00 answers "Hello world!", with Le or, as the examples
/// send it, without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hello {
    selected: bool,
}

impl Hello {
    /// The applet's identifier.
    pub const AID: [u8; 10] = [0xA0, 0x00, 0x00, 0x00, 0x62, 0x03, 0x01, 0x0C, 0x06, 0x01];
    /// What it says.
    pub const TEXT: &'static [u8; 12] = b"Hello world!";

    /// SELECT by DF name (clause 11.1.1), the only command that the applet supports. It has no control
    /// information.
    fn select(&mut self, command: &CommandApdu<'_>) -> u16 {
        match command.header {
            [_, _, 0x04, p2] if p2 & 0xF0 != 0 => sw::WRONG_P1_P2,
            [_, _, 0x04, p2] if command.data == Self::AID && p2 & 0x02 == 0 => {
                self.selected = true;
                sw::OK
            }
            _ => sw::NOT_FOUND,
        }
    }

    fn text(command: &CommandApdu<'_>, response: &mut Vec<u8>) -> u16 {
        if command.header[2..] != [0, 0] {
            return sw::WRONG_P1_P2;
        }
        if !command.data.is_empty() {
            return sw::WRONG_LENGTH;
        }
        if command.ne.is_some_and(|ne| ne < Self::TEXT.len()) {
            return sw::WRONG_LE | Self::TEXT.len() as u16;
        }
        response.extend_from_slice(Self::TEXT);
        sw::OK
    }
}

impl App for Hello {
    fn reset(&mut self) {
        self.selected = false;
    }

    fn deselect(&mut self) {
        self.selected = false;
    }

    fn process(&mut self, command: &CommandApdu<'_>, response: &mut Vec<u8>) {
        let sw = match command.header {
            [0x80..=0xFF, ..] => sw::WRONG_CLASS,
            [_, 0xA4, ..] => self.select(command),
            [_, 0x00, ..] if self.selected => Self::text(command, response),
            _ => sw::WRONG_INSTRUCTION,
        };
        status(response, sw);
    }
}
