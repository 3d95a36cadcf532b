//! The card's side of T=0 (ISO 7816-3 clauses 10.3 and 12.2): procedure bytes, GET RESPONSE, ENVELOPE.

use super::apps::ANY_NE;
use super::program::Program;
use pcsc_ccid::apdu::{split_response, CommandApdu};

/// How the card uses procedure bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Habits {
    /// NULL bytes before anything else is said on a command.
    pub nulls: u32,
    /// Acknowledges single bytes (INS exclusive-or 'FF') rather than all.
    pub byte_by_byte: bool,
    /// Does not support ENVELOPE.
    pub no_envelope: bool,
}

#[derive(Default)]
enum Expected {
    #[default]
    Header,
    /// Data of the command are coming in.
    Data,
}

#[derive(Default)]
pub(super) struct Protocol {
    habits: Habits,
    state: Expected,
    input: Vec<u8>,
    /// What GET RESPONSE may fetch, and the status to end it with.
    stored: Vec<u8>,
    status: [u8; 2],
    enveloped: Vec<u8>,
}

impl Protocol {
    pub fn new(habits: Habits) -> Self {
        Protocol {
            habits,
            status: [0x90, 0x00],
            ..Protocol::default()
        }
    }

    /// Changes its habits.
    pub fn set_habits(&mut self, habits: Habits) {
        self.habits = habits;
    }

    /// What the card says to these characters.
    pub fn hear(&mut self, bytes: &[u8], app: &mut dyn Program) -> Vec<u8> {
        let mut out = Vec::new();
        for &byte in bytes {
            self.input.push(byte);
            match self.state {
                Expected::Header if self.input.len() == 5 => self.on_header(app, &mut out),
                Expected::Data if self.input.len() == 5 + usize::from(self.input[4]) => {
                    self.run(app, &mut out)
                }
                Expected::Data if self.habits.byte_by_byte => out.push(!self.input[1]),
                _ => {}
            }
        }
        out
    }

    fn on_header(&mut self, app: &mut dyn Program, out: &mut Vec<u8>) {
        out.extend((0..self.habits.nulls).map(|_| 0x60));
        let header = [self.input[0], self.input[1], self.input[2], self.input[3]];
        let (ins, p3) = (self.input[1], self.input[4]);
        match ins {
            0x60..=0x6F | 0x90..=0x9F => self.end(out, [0x6D, 0x00]),
            0xC0 if self.stored.is_empty() && app.answers_get_response() => self.run(app, out),
            0xC0 => self.get_response(p3, out),
            0xC2 if self.habits.no_envelope => self.end(out, [0x6D, 0x00]),
            _ if p3 > 0 && (ins == 0xC2 || app.carries_data(&header)) => {
                self.state = Expected::Data;
                out.push(self.acknowledge(ins));
            }
            _ => self.run(app, out),
        }
    }

    fn acknowledge(&self, ins: u8) -> u8 {
        if self.habits.byte_by_byte {
            !ins
        } else {
            ins
        }
    }

    /// Header and data are complete.
    fn run(&mut self, app: &mut dyn Program, out: &mut Vec<u8>) {
        let input = std::mem::take(&mut self.input);
        self.state = Expected::Header;
        let header = [input[0], input[1], input[2], input[3]];
        let (p3, data) = (input[4], &input[5..]);
        if header[1] == 0xC2 {
            return self.envelope(data, app, out);
        }
        if app.carries_data(&header) {
            let ne = Some(ANY_NE);
            let response = app.tpdu(&CommandApdu {
                header,
                data,
                ne,
                extended: false,
            });
            return self.store(&response, out);
        }
        let ne = if p3 == 0 { 256 } else { usize::from(p3) };
        let command = CommandApdu {
            header,
            data: &[],
            ne: Some(ne),
            extended: false,
        };
        let response = app.tpdu(&command);
        let Some((body, _)) = split_response(&response) else {
            return self.end(out, [0x6F, 0x00]);
        };
        match body.len() {
            0 => self.end(out, [response[0], response[1]]),
            n if n < ne => self.end(out, [0x6C, n as u8]),
            _ => {
                self.keep(&response);
                self.deliver(header[1], ne, out);
            }
        }
    }

    /// Keeps a response for GET RESPONSE and says how much there is.
    fn store(&mut self, response: &[u8], out: &mut Vec<u8>) {
        self.keep(response);
        let status = self.remaining();
        self.end(out, status);
    }

    fn keep(&mut self, response: &[u8]) {
        self.stored.clear();
        self.status = [0x6F, 0x00];
        if let Some((body, status)) = split_response(response) {
            self.stored.extend_from_slice(body);
            self.status = status.to_be_bytes();
        }
    }

    fn remaining(&self) -> [u8; 2] {
        match self.stored.len() {
            0 => self.status,
            n => [0x61, if n > 255 { 0 } else { n as u8 }],
        }
    }

    fn get_response(&mut self, p3: u8, out: &mut Vec<u8>) {
        let ne = if p3 == 0 { 256 } else { usize::from(p3) };
        match self.stored.len() {
            0 => self.end(out, [0x69, 0x85]),
            n if n < ne => self.end(out, [0x6C, n as u8]),
            _ => self.deliver(0xC0, ne, out),
        }
    }

    /// Sends `n` bytes of what is stored, then how much is left.
    fn deliver(&mut self, ins: u8, n: usize, out: &mut Vec<u8>) {
        for (i, byte) in self.stored.drain(..n).enumerate() {
            if self.habits.byte_by_byte {
                out.push(!ins);
            } else if i == 0 {
                out.push(ins);
            }
            out.push(byte);
        }
        let status = self.remaining();
        self.end(out, status);
    }

    fn envelope(&mut self, part: &[u8], app: &mut dyn Program, out: &mut Vec<u8>) {
        self.enveloped.extend_from_slice(part);
        if self.enveloped.len() < announced(&self.enveloped) {
            return self.end(out, [0x90, 0x00]);
        }
        let apdu = std::mem::take(&mut self.enveloped);
        let response = app.apdu(&apdu);
        self.store(&response, out);
    }

    fn end(&mut self, out: &mut Vec<u8>, status: [u8; 2]) {
        self.input.clear();
        self.state = Expected::Header;
        out.extend(status);
    }
}

/// How long the extended command APDU is at least, judged by its Lc; an Le may follow in the same
/// ENVELOPE.
fn announced(apdu: &[u8]) -> usize {
    match *apdu {
        [_, _, _, _, 0, high, low, ..] => 7 + usize::from(u16::from_be_bytes([high, low])),
        _ => 7,
    }
}
