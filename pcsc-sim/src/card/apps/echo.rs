//! Data of any length, both ways.

use super::{status, sw, App};
use pcsc_ccid::apdu::CommandApdu;

/// 80 EC echoes its data; 80 EE P1 P2 answers with P1-P2 bytes (65,536 for 0) of a known pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Echo;

impl Echo {
    /// Byte `i` of the pattern.
    pub fn pattern(i: usize) -> u8 {
        (i ^ (i >> 8)) as u8
    }
}

impl App for Echo {
    fn process(&mut self, command: &CommandApdu<'_>, response: &mut Vec<u8>) {
        match command.header {
            [0x80, 0xEC, ..] => {
                response.extend_from_slice(command.data);
                status(response, sw::OK);
            }
            [0x80, 0xEE, p1, p2] => {
                let n = match u16::from_be_bytes([p1, p2]) {
                    0 => 65_536,
                    n => usize::from(n),
                };
                response.extend((0..n).map(Echo::pattern));
                status(response, sw::OK);
            }
            [0x80, ..] => status(response, sw::WRONG_INSTRUCTION),
            _ => status(response, sw::WRONG_CLASS),
        }
    }
}
