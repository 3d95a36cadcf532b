//! The card's side of T=0 (ISO 7816-3 clauses 10.3 and 12.2): procedure bytes, GET RESPONSE, ENVELOPE.

use super::apps::ANY_NE;
use super::program::Program;
use super::Behaviour;
use pcsc_ccid::apdu::{split_response, CommandApdu};

/// The procedure byte of a card that needs more time (clause 10.3.3).
pub(super) const NULL: u8 = 0x60;

#[derive(Default)]
pub(super) struct Protocol {
    /// The header of a command, and its data as far as they have come.
    input: Vec<u8>,
    /// The card has asked for the data.
    expects_data: bool,
    /// Whether the card acknowledges single bytes of this command (INS exclusive-or 'FF') rather than all.
    is_byte_by_byte: bool,
    /// The header of a command that was answered with '6CXX'. Its response is stored, and is sent if the
    /// command comes again with that length.
    kept: Option<[u8; 4]>,
    /// What GET RESPONSE may fetch, and the status to end it with.
    stored: Vec<u8>,
    status: [u8; 2],
    enveloped: Vec<u8>,
}

impl Protocol {
    /// What the card says to these characters.
    pub fn hear(&mut self, bytes: &[u8], behaviour: &Behaviour, app: &mut Program) -> Vec<u8> {
        let mut out = Vec::new();
        for &byte in bytes {
            self.input.push(byte);
            match (self.expects_data, self.input.len()) {
                (false, 5) => self.on_header(behaviour, app, &mut out),
                (true, length) if length == 5 + usize::from(self.input[4]) => self.run(app, &mut out),
                (true, _) if self.is_byte_by_byte => out.push(!self.input[1]),
                _ => {}
            }
        }
        out
    }

    fn on_header(&mut self, behaviour: &Behaviour, app: &mut Program, out: &mut Vec<u8>) {
        self.is_byte_by_byte = behaviour.byte_by_byte;
        out.extend((0..behaviour.null_bytes()).map(|_| NULL));
        let header = [self.input[0], self.input[1], self.input[2], self.input[3]];
        let (ins, p3) = (self.input[1], self.input[4]);
        let kept = self.kept.take();
        if kept == Some(header) && usize::from(p3) == self.stored.len() {
            return self.deliver(ins, p3.into(), out);
        }
        if kept.is_some() {
            self.stored.clear();
        }
        match ins {
            0x60..=0x6F | 0x90..=0x9F => self.end(out, [0x6D, 0x00]),
            0xC0 if self.stored.is_empty() && app.is_virtual_card() => self.run(app, out),
            0xC0 => self.get_response(p3, out),
            0xC2 if behaviour.no_envelope => self.end(out, [0x6D, 0x00]),
            _ if p3 > 0 && (ins == 0xC2 || app.carries_data(&header)) => {
                self.expects_data = true;
                out.push(if self.is_byte_by_byte { !ins } else { ins });
            }
            _ => self.run(app, out),
        }
    }

    /// Header and data are complete.
    fn run(&mut self, app: &mut Program, out: &mut Vec<u8>) {
        let input = std::mem::take(&mut self.input);
        let header = [input[0], input[1], input[2], input[3]];
        let (p3, data) = (input[4], &input[5..]);
        if header[1] == 0xC2 {
            return self.envelope(data, app, out);
        }
        let carries_data = app.carries_data(&header);
        let ne = match (carries_data, p3) {
            (true, _) => ANY_NE,
            (false, 0) => 256,
            (false, p3) => p3.into(),
        };
        let response = app.tpdu(&CommandApdu {
            header,
            data,
            ne: Some(ne),
            extended: false,
        });
        self.keep(&response);
        match self.stored.len() {
            n if carries_data || n == 0 => self.end_kept(out),
            n if n < ne => {
                match app.is_virtual_card() {
                    true => self.kept = Some(header),
                    false => self.stored.clear(),
                }
                self.end(out, [0x6C, n as u8]);
            }
            _ => self.deliver(header[1], ne, out),
        }
    }

    fn keep(&mut self, response: &[u8]) {
        self.stored.clear();
        self.status = [0x6F, 0x00];
        if let Some((body, status)) = split_response(response) {
            self.stored.extend_from_slice(body);
            self.status = status.to_be_bytes();
        }
    }

    /// Ends a command with the status word, or with how much there is for GET RESPONSE.
    fn end_kept(&mut self, out: &mut Vec<u8>) {
        let status = match self.stored.len() {
            0 => self.status,
            n => [0x61, if n > 255 { 0 } else { n as u8 }],
        };
        self.end(out, status);
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
            if self.is_byte_by_byte {
                out.push(!ins);
            } else if i == 0 {
                out.push(ins);
            }
            out.push(byte);
        }
        self.end_kept(out);
    }

    fn envelope(&mut self, part: &[u8], app: &mut Program, out: &mut Vec<u8>) {
        self.enveloped.extend_from_slice(part);
        if self.enveloped.len() < announced(&self.enveloped) {
            return self.end(out, [0x90, 0x00]);
        }
        let apdu = std::mem::take(&mut self.enveloped);
        self.keep(&app.apdu(&apdu));
        self.end_kept(out);
    }

    fn end(&mut self, out: &mut Vec<u8>, status: [u8; 2]) {
        self.input.clear();
        self.expects_data = false;
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
