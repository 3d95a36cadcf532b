//! The cards in QEMU's readers: QEMU's `ccid-card-passthru` passes what the reader is sent over a socket, in
//! the protocol of SPICE's virtual smart cards (`vscard_common.h` of libcacard): type, reader and length in
//! 32 bits, big-endian, and as many bytes.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

/// Message types.
const INIT: u32 = 1;
const READER_ADD: u32 = 3;
const ATR: u32 = 5;
const CARD_REMOVE: u32 = 6;
const APDU: u32 = 7;
/// No reader's number yet.
const UNDEFINED: u32 = u32::MAX;
/// "VSCD", version 0.0.2, no capabilities.
const HELLO: &[u8] = b"VSCD\0\0\0\x02\0\0\0\0";

/// T=0 only, with historical bytes that identify the reader. Its waiting time is the shortest (WI 1),
/// since QEMU's reader does not answer a command whose card is taken out.
pub fn atr(number: usize) -> [u8; 6] {
    [0x3B, 0x82, 0x40, 0x01, 0x14, 0x50 + number as u8]
}

/// The connections of all cards, by reader.
pub type Cards = Arc<Vec<Mutex<Option<UnixStream>>>>;

/// What a card's command does to the readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Pulls out the card's reader.
    Unplug,
    /// Plugs in the first simulated reader.
    PlugSimulated,
}

/// A card's place.
pub struct Seat {
    number: usize,
    /// What GET RESPONSE has to give.
    pending: Vec<u8>,
    /// What ENVELOPE has brought.
    enveloped: Vec<u8>,
}

/// The connections, and as many places.
pub fn pairs(count: usize) -> (Cards, Vec<Seat>) {
    let cards = (0..count).map(|_| Mutex::new(None)).collect();
    let seats = (0..count).map(|number| Seat {
        number,
        pending: Vec::new(),
        enveloped: Vec::new(),
    });
    (Arc::new(cards), seats.collect())
}

fn send(stream: &mut UnixStream, kind: u32, reader: u32, data: &[u8]) {
    let mut message = Vec::new();
    for word in [kind, reader, data.len() as u32] {
        message.extend(word.to_be_bytes());
    }
    message.extend(data);
    // QEMU may have ended; the next read fails then.
    _ = stream.write_all(&message);
}

fn receive(stream: &mut UnixStream) -> Option<(u32, Vec<u8>)> {
    let mut header = [0; 12];
    match stream.read_exact(&mut header) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
            ) =>
        {
            return None
        }
        read => read.expect("a message's header"),
    }
    let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    let mut data = vec![0; word(8) as usize];
    stream.read_exact(&mut data).ok()?;
    Some((word(0), data))
}

impl Seat {
    /// Plays the card until QEMU ends.
    pub fn serve(mut self, listener: &UnixListener, cards: &Cards, act: &dyn Fn(Action)) {
        let (mut stream, _) = listener.accept().expect("QEMU");
        send(&mut stream, INIT, UNDEFINED, HELLO);
        send(&mut stream, READER_ADD, UNDEFINED, b"test\0");
        send(&mut stream, ATR, 0, &atr(self.number));
        *cards[self.number].lock().expect("the card") = Some(stream.try_clone().expect("a handle"));
        while let Some((kind, data)) = receive(&mut stream) {
            if kind != APDU {
                continue;
            }
            match data.as_slice() {
                [0x80, 0x01, ..] => send(&mut stream, CARD_REMOVE, 0, &[]),
                [0x80, 0x02, ..] => {
                    if let Some(first) = cards[0].lock().expect("the card").as_mut() {
                        send(first, ATR, 0, &atr(0));
                    }
                    send(&mut stream, APDU, 0, &[0x90, 0x00]);
                }
                [0x80, 0x03, ..] => act(Action::Unplug),
                [0x80, 0x04, ..] => {
                    act(Action::PlugSimulated);
                    send(&mut stream, APDU, 0, &[0x90, 0x00]);
                }
                command => {
                    let answer = self.answer(command);
                    send(&mut stream, APDU, 0, &answer);
                }
            }
        }
    }

    /// The response TPDU to a command TPDU of T=0 (ISO 7816-3, clause 12.2).
    fn answer(&mut self, tpdu: &[u8]) -> Vec<u8> {
        let &[cla, ins, _, _, p3, ref data @ ..] = tpdu else {
            return vec![0x67, 0x00];
        };
        let wanted = if p3 == 0 { 256 } else { usize::from(p3) };
        match (cla, ins) {
            (0x00, 0xA4) | (0x80, 0x11) => vec![0x90, 0x00],
            // The applet of hello.efi. It answers case 1 with data, as cards that are programs do.
            (0x00, 0x00) => b"Hello world!\x90\x00".to_vec(),
            (0x80, 0x10) => [(1..=p3).collect(), vec![0x90, 0x00]].concat(),
            (0x80, 0x12) => self.offer(data.to_vec()),
            (_, 0xC0) => {
                let rest = self.pending.split_off(wanted.min(self.pending.len()));
                let part = std::mem::replace(&mut self.pending, rest);
                [part, self.status()].concat()
            }
            (_, 0xC2) => {
                self.enveloped.extend(data);
                match self.enveloped[..] {
                    // An extended APDU with Lc and Le.
                    [0x80, 0x12, _, _, 0, high, low, ref data @ ..] => {
                        let length = usize::from(u16::from_be_bytes([high, low]));
                        match data.get(..length).filter(|_| data.len() == length + 2) {
                            Some(echo) => {
                                let echo = echo.to_vec();
                                self.enveloped.clear();
                                self.offer(echo)
                            }
                            None => vec![0x90, 0x00],
                        }
                    }
                    _ => vec![0x67, 0x00],
                }
            }
            _ => vec![0x6D, 0x00],
        }
    }

    /// Data to be fetched by GET RESPONSE.
    fn offer(&mut self, data: Vec<u8>) -> Vec<u8> {
        self.pending = data;
        self.status()
    }

    fn status(&self) -> Vec<u8> {
        match self.pending.len() {
            0 => vec![0x90, 0x00],
            // '00' is 256 or more.
            length => vec![0x61, u8::try_from(length).unwrap_or(0)],
        }
    }
}
